"""The key-value cache of a language model for N texts, each with a length of its own.

`reset` empties any rows while the others stay. `read` appends tokens to rows, a whole prompt or one token each, and
returns the hidden state at each row's last token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .causal_lm import CausalLM
from .device_copies import PackedUpload
from .layer_states import layer_states

Ints = NDArray[np.int64]


class Reader(Protocol):
    """Reads along: is shown the hidden states of all tokens that a memory reads."""

    def expect(self, rows: Ints, firsts: Ints, counts: Ints, at: Ints | None, upload: PackedUpload) -> None:
        """`rows` (R,) are about to read `counts` tokens after their first `firsts`.

        `at` has the flat positions of these tokens, row by row, in what `read` will get; None: all of them.
        """

    def read(self, states: Sequence[Tensor], upload: PackedUpload) -> None:  # (…, q, d) each
        """They have been read: the states of each layer."""


class TokenMemory(ABC):
    """The state of N texts after the tokens read so far. It changes in place: do not copy it."""

    def __init__(self, lm: CausalLM, n: int) -> None:
        self.lm, self.n = lm, n
        self.lengths: Ints = np.zeros(n, np.int64)  # tokens read
        self.reader: Reader | None = None

    def reset(self, rows: ArrayLike) -> None:
        """Empty these rows."""
        self.lengths[np.asarray(rows)] = 0

    # -> (len(rows), d)
    def read(self, rows: Ints, tokens: Sequence[Ints], upload: PackedUpload | None = None) -> Tensor:
        """Read one or more `tokens` after what each of `rows` holds; hidden states at the last of them.

        What the caller has put in a `upload` goes to the device with what is read.
        """
        upload = upload or PackedUpload(self.lm.device)
        counts = np.fromiter(map(len, tokens), np.int64, len(tokens))
        if not counts.all():
            raise ValueError(f"row {int(rows[counts == 0][0])} was given no tokens: read() needs at least one a row")
        short = counts == 1
        if short.all():
            return self.step(rows, np.concatenate(tokens), upload)
        several = [new for new, one in zip(tokens, short, strict=True) if not one]
        if not short.any():
            return self._extend(rows, several, upload)
        back = upload.add(np.argsort(np.argsort(short, kind="stable")))  # several tokens first, then one
        hidden = self._extend(rows[~short], several, upload)
        ones = np.concatenate([new for new, one in zip(tokens, short, strict=True) if one])
        return torch.cat([hidden, self.step(rows[short], ones, upload)])[upload[back]]

    def catch_up(
        self, rows: Ints, texts: Ints, ends: Ints, upload: PackedUpload | None = None
    ) -> Tensor:  # (N, context), (N,) -> (len(rows), d)
        """Read what each of `rows` has in `texts` before its end beyond what was read.

        A row that holds a new text must have been `reset`. One with nothing new is read again from its last token.
        """
        old = self.lengths[rows]
        if (ends[rows] < old).any():
            row = int(rows[ends[rows] < old][0])
            raise ValueError(
                f"row {row} holds {self.lengths[row]} tokens, its text has {ends[row]}: reset() a row whose text is new"
            )
        self.lengths[rows] = np.where(ends[rows] > old, old, np.maximum(ends[rows] - 1, 0))
        return self.read(rows, [texts[row, self.lengths[row] : ends[row]] for row in rows], upload)

    def _expect(self, rows: Ints, firsts: Ints, counts: Ints, at: Ints | None, upload: PackedUpload) -> None:
        """Tell the reader what the next forward reads; see `Reader.expect`."""
        if self.reader is not None:
            self.reader.expect(rows, firsts, counts, at, upload)

    def _read(self, upload: PackedUpload, **inputs: Any) -> Tensor:  # -> (R, q, d)
        """A forward of the trunk: the last hidden states."""
        if self.reader is None:
            hidden: Tensor = self.lm.trunk(**inputs).last_hidden_state
            return hidden
        states = layer_states(self.lm, **inputs)
        self.reader.read(states, upload)
        return states[-1]

    @abstractmethod
    def step(self, rows: Ints, tokens: Ints, upload: PackedUpload | None = None) -> Tensor:  # -> (len(rows), d)
        """Read one token in each of `rows`."""

    @abstractmethod
    def _extend(self, rows: Ints, tokens: Sequence[Ints], upload: PackedUpload) -> Tensor:  # -> (len(rows), d)
        """Read several tokens in each of `rows`."""


def padded(tokens: Sequence[Ints], fill: int = 0, *, left: bool = False) -> Ints:  # -> (rows, longest)
    """Stack texts of different lengths."""
    grid = np.full((len(tokens), max(map(len, tokens))), fill, np.int64)
    for row, new in zip(grid, tokens, strict=True):
        if left:
            row[len(row) - len(new) :] = new
        else:
            row[: len(new)] = new
    return grid
