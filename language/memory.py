"""The key-value cache of a language model for N texts, each with a length of its own.

`reset` empties any rows while the others stay. `read` appends tokens to rows, a whole prompt or one token each, and
returns the hidden state at each row's last token.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .causal_lm import CausalLM

Ints = NDArray[np.int64]


class TokenMemory(ABC):
    """The state of N texts after the tokens read so far. It changes in place: do not copy it."""

    def __init__(self, lm: CausalLM, n: int) -> None:
        self.lm, self.n = lm, n
        self.lengths: Ints = np.zeros(n, np.int64)  # tokens read

    def reset(self, rows: ArrayLike) -> None:
        """Empty these rows."""
        self.lengths[np.asarray(rows)] = 0

    def read(self, rows: Ints, tokens: Sequence[Ints]) -> Tensor:  # -> (len(rows), d)
        """Read one or more `tokens` after what each of `rows` holds; hidden states at the last of them."""
        counts = np.fromiter(map(len, tokens), np.int64, len(tokens))
        if not counts.all():
            raise ValueError(f"row {int(rows[counts == 0][0])} was given no tokens: read() needs at least one a row")
        short = counts == 1
        if short.all():
            return self.step(rows, np.concatenate(tokens))
        hidden = self._extend(rows[~short], [new for new, one in zip(tokens, short, strict=True) if not one])
        if not short.any():
            return hidden
        every = hidden.new_empty(len(rows), hidden.shape[1])
        every[torch.from_numpy(~short)] = hidden
        ones = np.concatenate([new for new, one in zip(tokens, short, strict=True) if one])
        every[torch.from_numpy(short)] = self.step(rows[short], ones)
        return every

    def catch_up(self, rows: Ints, texts: Ints, ends: Ints) -> Tensor:  # (N, context), (N,) -> (len(rows), d)
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
        return self.read(rows, [texts[row, self.lengths[row] : ends[row]] for row in rows])

    @abstractmethod
    def step(self, rows: Ints, tokens: Ints) -> Tensor:  # -> (len(rows), d)
        """Read one token in each of `rows`."""

    @abstractmethod
    def _extend(self, rows: Ints, tokens: Sequence[Ints]) -> Tensor:  # -> (len(rows), d)
        """Read several tokens in each of `rows`."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Size of the cache."""


def padded(tokens: Sequence[Ints], fill: int = 0, *, left: bool = False) -> Ints:  # -> (rows, longest)
    """Stack texts of different lengths."""
    grid = np.full((len(tokens), max(map(len, tokens))), fill, np.int64)
    for row, new in zip(grid, tokens, strict=True):
        if left:
            row[len(row) - len(new) :] = new
        else:
            row[: len(new)] = new
    return grid
