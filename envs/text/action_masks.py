"""Action masks: only allowed tokens, and no end of text before the text is long enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

ANY, ALLOWED, NO_END = range(3)  # rows of the table
Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Rules:
    """Masks as rows of `table` (3, V), so that a step is stored with the number of its row, not with a mask."""

    def __init__(
        self, vocab_size: int, eos_ids: Sequence[int], allowed_tokens: ArrayLike | None, min_new_tokens: int
    ) -> None:
        self.min_new_tokens = min_new_tokens
        self.active = allowed_tokens is not None or min_new_tokens > 0
        self.table: Flags = np.ones((3, vocab_size), bool)
        if allowed_tokens is not None:
            ids = np.asarray(allowed_tokens).reshape(-1)
            if ids.size and ids.dtype.kind not in "iu":
                raise ValueError(
                    f"allowed_tokens has the dtype {ids.dtype}: expected integers, token ids (of a mask: "
                    "np.flatnonzero(mask))"
                )
            ids = ids.astype(np.int64)
            if ids.size and not (ids.min() >= 0 and ids.max() < vocab_size):
                raise ValueError(
                    f"allowed_tokens holds {int(ids.min() if ids.min() < 0 else ids.max())}: expected token ids from "
                    f"0 to {vocab_size - 1}"
                )
            self.table[ALLOWED:] = False
            self.table[ALLOWED:, ids] = True
            self.table[ALLOWED:, list(eos_ids)] = True  # a text must be able to end
        self.table[NO_END, list(eos_ids)] = False
        if not self.table[NO_END].any():
            raise ValueError("allowed_tokens leaves nothing to write: expected a token besides the end of text")

    def at(self, taken: Ints) -> Ints:
        """The row of the table for texts with so many tokens written."""
        return np.where(taken < self.min_new_tokens, NO_END, ALLOWED)

    def masks(self, taken: Ints) -> Flags:  # (N,) -> (N, V)
        """True where a token may be written."""
        return self.table[self.at(taken)]
