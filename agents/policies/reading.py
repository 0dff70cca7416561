"""What a language-model policy keeps of texts: in its memory while it acts, in its log for learning.

A text is an observation of token ids, right-padded with negative numbers; only what is there counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...language import CausalLM, make_memory
from ...language.logprobs import by_length, read_whole
from ...language.memory import padded
from ..rollout import Segments
from ..spaces import Leaves

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Reading:
    """N texts as far as they have been read, by one trunk or several. Written in place."""

    def __init__(self, lms: Sequence[CausalLM], n: int, context: int) -> None:
        self.lms, self.n = lms, n
        self.caches = [make_memory(lm, n) for lm in lms]
        self.tokens: Ints = np.full((n, context), -1, np.int64)  # what was read
        self.columns = np.arange(context)

    @property
    def lengths(self) -> Ints:
        """How many tokens of each text have been read."""
        return self.caches[0].lengths

    def forget(self, rows: Ints) -> None:
        """These rows have read nothing."""
        for cache in self.caches:
            cache.reset(rows)

    def read(self, tokens: Ints, starts: Flags) -> list[Tensor]:  # (N, context) -> a (N, d) a trunk
        """Read what is new, or all of a text that is new, and return the states at the last tokens."""
        rows, ends = np.arange(self.n), self._ends(tokens)
        self.forget(np.flatnonzero(starts | ~self._go_on(tokens, rows)))
        self.tokens = tokens.copy()
        return [cache.catch_up(rows, tokens, ends) for cache in self.caches]

    def peek(self, tokens: Ints, rows: Ints) -> Tensor:  # (R, context) -> (R, d)
        """The last trunk's states at the last tokens, with the memory left as it was."""
        lm, cache, ends = self.lms[-1], self.caches[-1], self._ends(tokens)
        on = self._go_on(tokens, rows) & (self.lengths[rows] > 0)
        state = torch.zeros(len(rows), lm.head_width, device=lm.device)
        if on.any():
            going = np.flatnonzero(on)
            going = going[np.argsort(rows[going])]  # in the order of the rows, as caches take them
            texts, every_end = np.full_like(self.tokens, -1), np.zeros(self.n, np.int64)
            texts[rows[going]], every_end[rows[going]] = tokens[going], ends[going]
            before = cache.lengths.copy()
            state[torch.from_numpy(going)] = cache.catch_up(rows[going], texts, every_end).to(state)
            cache.lengths[:] = before
        if not on.all():
            fresh = [text[:end] for text, end in zip(tokens[~on], ends[~on], strict=True)]
            state[torch.from_numpy(~on)] = last_states(lm, fresh).to(state)
        return state

    def _ends(self, tokens: Ints) -> Ints:
        """How many tokens each text has."""
        real = tokens >= 0
        ends: Ints = real.sum(1)
        wrong = (real != (self.columns < ends[:, None])).any(1) | (ends == 0)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise ValueError(
                f"observation {row} is {tokens[row].tolist()}: accepted is a text of at least one token, padded on the "
                "right with -1"
            )
        return ends

    def _go_on(self, tokens: Ints, rows: Ints) -> Flags:
        """Which texts begin with what was read of their rows."""
        read = self.columns < self.lengths[rows, None]
        same: Flags = ((tokens == self.tokens[rows]) | ~read).all(1)
        return same


@torch.no_grad()
def last_states(lm: CausalLM, texts: Sequence[Ints]) -> Tensor:  # -> (len(texts), d)
    """The states at the last tokens of whole texts."""
    states = read_whole(lm, torch.from_numpy(padded(texts)).to(lm.device))
    return states[torch.arange(len(texts)), torch.tensor([len(text) - 1 for text in texts])]


@dataclass(frozen=True)
class Texts:
    """Texts to be read whole, and the places in them (text, token) whose states are wanted."""

    texts: Sequence[Ints]
    rows: Ints  # (M,)
    columns: Ints  # (M,)

    def states(self, lm: CausalLM) -> Tensor:  # -> (M, d)
        """Read the texts in one forward; gradients flow."""
        states = read_whole(lm, torch.from_numpy(padded(self.texts)).to(lm.device))  # (S, longest, d)
        at = torch.from_numpy(self.rows * states.shape[1] + self.columns).to(lm.device)
        return states.flatten(0, 1)[at]

    def parts(self, at_once: int) -> Iterator[tuple[Texts, Ints]]:
        """Texts of like length together, about `at_once` tokens a part, and which of the M places are theirs."""
        for group in by_length([len(text) for text in self.texts], at_once):
            new = np.full(len(self.texts), -1)
            new[group] = np.arange(len(group))
            places = np.flatnonzero(new[self.rows] >= 0)
            part = Texts([self.texts[i] for i in group], new[self.rows[places]], self.columns[places])
            yield part, places


class TextLog:
    """Keeps of each text the tokens once, and of each step how many of them there were.

    An observation that does not begin with the one before it opens a text of its own, also within an episode (where a
    world shows the latest tokens only), as it does in a `Reading`.
    """

    def __init__(self) -> None:
        self._lengths: list[Ints] = []  # by step (N,)
        self._began: list[Ints] = []  # by step (N,): at which step the slot's text was first seen
        self._texts: dict[tuple[int, int], Ints] = {}  # by slot and that step
        self._last: Ints = np.empty((0, 0), np.int64)
        self._stacked: tuple[Ints, Ints] | None = None  # both as (T, N)

    def add(self, observation: Leaves, starts: Flags) -> None:
        """Record one step."""
        tokens, t = observation[0], len(self._lengths)
        began = self._began[-1].copy() if t else np.zeros(len(tokens), np.int64)
        if t:
            anew = starts | ~((tokens == self._last) | (self._last < 0)).all(1)
            self._keep(np.flatnonzero(anew))
            began[anew] = t
        self._last, self._stacked = tokens, None
        self._began.append(began)
        self._lengths.append((tokens >= 0).sum(1))

    def take(self, steps: Tensor, segments: Segments | None) -> Texts:
        """The texts of those segments; the last observation of a text holds all that its steps have seen."""
        assert segments is not None
        if self._stacked is None:
            self._keep(np.arange(len(self._last)))
            self._stacked = np.stack(self._lengths), np.stack(self._began)
        lengths, began = self._stacked
        texts, columns = [], []
        for slot, first, stop in segments.tolist():
            of = began[first:stop, slot]
            for number in np.unique(of).tolist():
                ends = lengths[first:stop, slot][of == number]
                texts.append(self._texts[slot, number][: ends[-1]])
                columns.append(ends - 1)
        return Texts(
            texts, np.repeat(np.arange(len(texts)), [len(steps) for steps in columns]), np.concatenate(columns)
        )

    def _keep(self, slots: Ints) -> None:
        for slot in slots.tolist():
            tokens = self._last[slot]
            self._texts[slot, int(self._began[-1][slot])] = tokens[tokens >= 0]
