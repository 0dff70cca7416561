"""The texts of a language-model policy: its memory while acting, its observation log for training.

A text is an observation of token ids, right-padded with negative numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...language import CausalLM, make_memory
from ...language.device_copies import PackedUpload
from ...language.growing_texts import copy_new_tokens, growing_lengths, is_new_text
from ...language.logprobs import by_length, read_layers, read_whole
from ...language.memory import padded
from ..environment.spaces import Flags, Ints, Leaves
from ..experience.rollout import Segments, steps_of
from .critic_reader import CriticReader
from .text_critic import TextCritic


class TextMemory:
    """The KV cache of N texts and the tokens in it. Modified in place."""

    def __init__(self, lm: CausalLM, n: int, context: int) -> None:
        self.n, self.cache = n, make_memory(lm, n)
        self.tokens: Ints = np.full((n, context), -1, np.int64)  # those in the cache
        self.reader: CriticReader | None = None

    def watch(self, critic: TextCritic) -> None:
        """From now on keep what the critic needs of each text; call it while all rows are empty."""
        if self.cache.reader is None:
            self.reader = self.cache.reader = CriticReader(critic, self.n, self.cache.lm.device)

    def values(self, tokens: Ints, rows: Ints) -> Tensor:  # (N, context) -> (N,)
        """The critic's values of the texts in these rows, of which new tokens are read; other rows' are older ones."""
        assert self.reader is not None
        self.forget(rows[~is_continuation(self.tokens[rows], tokens[rows])])
        self.tokens[rows] = tokens[rows]
        if len(rows):
            self.cache.catch_up(rows, tokens, (tokens >= 0).sum(1))
        return self.reader.values()

    def forget(self, rows: Ints) -> None:
        """Empty these rows."""
        self.cache.reset(rows)
        self.tokens[rows] = -1

    def read(self, tokens: Ints, starts: Flags, upload: PackedUpload | None = None) -> Tensor:  # (N, context) -> (N, d)
        """Read the new tokens of each text, or a new text, and return the hidden states at the last tokens."""
        ends = growing_lengths(tokens)
        if ends is None:
            ends = checked_lengths(tokens)
            self.forget(np.flatnonzero(starts | ~is_continuation(self.tokens, tokens)))
            self.tokens = tokens.copy()
        else:
            self.forget(np.flatnonzero(is_new_text(self.tokens, self.cache.lengths, tokens, ends, starts)))
            copy_new_tokens(self.tokens, self.cache.lengths, tokens, ends)
        return self.cache.catch_up(np.arange(self.n), tokens, ends, upload)


def is_continuation(before: Ints, now: Ints) -> Any:  # (…, context) each -> (…,) bool
    """Whether texts start with what they were before."""
    return ((before < 0) | (before == now)).all(-1)


def checked_lengths(tokens: Ints) -> Ints:  # (R, context) -> (R,)
    """The number of tokens of each text; ValueError if one is empty or not padded on the right."""
    real = tokens >= 0
    ends: Ints = real.sum(1)
    wrong = (real != (np.arange(tokens.shape[1]) < ends[:, None])).any(1) | (ends == 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"observation {row} is {tokens[row].tolist()}: accepted is at least one token, padded on the right with -1"
        )
    return ends


@dataclass(frozen=True)
class Texts:
    """Texts to read in one forward, and the positions in them (text, token) whose hidden states are needed."""

    texts: Sequence[Ints]
    rows: Ints  # (M,)
    columns: Ints  # (M,)

    @classmethod
    def at_their_ends(cls, tokens: Ints) -> Texts:  # (R, context)
        """The positions of the observations' last tokens."""
        ends = checked_lengths(tokens)
        return cls.at([text[:end] for text, end in zip(tokens, ends, strict=True)], ends[:, None] - 1)

    @classmethod
    def at(cls, texts: Sequence[Ints], columns: Sequence[Ints] | Ints) -> Texts:
        """Several positions in each text."""
        rows = np.repeat(np.arange(len(texts)), [len(some) for some in columns])
        return cls(texts, rows, np.concatenate([*columns]))

    def states(self, lm: CausalLM) -> Tensor:  # -> (M, d)
        """The hidden states at the positions, from one forward; gradients flow."""
        return read_whole(lm, self.grid(lm)).flatten(0, 1)[self.places(lm)]

    def layers(self, lm: CausalLM) -> list[Tensor]:  # -> (S, longest, d) each
        """The hidden states of several layers, at all tokens."""
        return read_layers(lm, self.grid(lm))

    def grid(self, lm: CausalLM) -> Tensor:  # -> (S, longest)
        """The texts as a padded batch."""
        return torch.from_numpy(padded(self.texts)).to(lm.device)

    def places(self, lm: CausalLM) -> Tensor:  # -> (M,)
        """The positions in the flattened batch."""
        longest = max(map(len, self.texts))
        return torch.from_numpy(self.rows * longest + self.columns).to(lm.device)

    def parts(self, at_once: int) -> Iterator[tuple[Texts, Ints]]:
        """Parts of about `at_once` tokens, with texts of similar length, and which of the M positions are in each."""
        for group in by_length([len(text) for text in self.texts], at_once):
            new = np.full(len(self.texts), -1)
            new[group] = np.arange(len(group))
            places = np.flatnonzero(new[self.rows] >= 0)
            part = Texts([self.texts[i] for i in group], new[self.rows[places]], self.columns[places])
            yield part, places


class TextLog:
    """Stores the tokens of each text once, and the length of the text at each step.

    As in `TextMemory`, an observation that does not start with the previous one is a new text, even within an episode
    (if the environment shows only the latest tokens).
    """

    def __init__(self) -> None:
        self._lengths: list[Ints] = []  # by step (N,)
        self._began: list[Ints] = []  # by step (N,): the step at which the slot's text began
        self._texts: dict[tuple[int, int], Ints] = {}  # by slot and first step
        self._last: Ints = np.empty((0, 0), np.int64)
        self._own = False  # whether `_last` is a copy of the log's own, to which new tokens are added
        self._opens: Flags = np.empty(0, bool)
        self._stacked: tuple[Ints, Ints] | None = None  # both as (T, N)

    def add(self, observation: Leaves, starts: Flags) -> None:
        """Record the observation of the next step."""
        tokens, t = observation[0], len(self._lengths)
        growing = growing_lengths(tokens)
        lengths = (tokens >= 0).sum(1) if growing is None else growing
        before, began = (self._lengths[-1], self._began[-1].copy()) if t else (0 * lengths, 0 * lengths)
        new = np.zeros(len(tokens), bool)
        if t:
            if growing is None:
                new = starts | ~is_continuation(self._last, tokens)
            else:
                new = is_new_text(self._last, before, tokens, lengths, starts)
            self._keep(np.flatnonzero(new))
            began[new] = t
        if growing is not None and self._own:
            copy_new_tokens(self._last, np.where(new, 0, before), tokens, lengths)
        else:
            self._own = growing is not None
            self._last = np.array(tokens) if self._own else tokens
        self._opens, self._stacked = starts, None
        self._began.append(began)
        self._lengths.append(lengths)

    def take(self, steps: Tensor, segments: Segments | None) -> Texts:
        """The texts of those segments; the last observation of a text contains all earlier ones."""
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
        return Texts.at(texts, columns)

    @property
    def shape(self) -> tuple[int, int]:
        """The number of steps and slots."""
        return len(self._lengths), len(self._last)

    @property
    def final(self) -> tuple[Ints, Flags]:
        """The last observations, and which of them start an episode."""
        return self._last, self._opens

    def whole(self) -> tuple[Texts, Ints]:
        """All texts at all steps, and these as flat indices t·N + n; without texts that start at the last step."""
        n_steps, n_slots = self.shape
        slots = np.arange(n_slots)
        segments = np.stack([slots, np.zeros_like(slots), n_steps - self._opens], 1)
        return self.take(torch.empty(0), segments), steps_of(segments, n_slots)

    def _keep(self, slots: Ints) -> None:
        for slot in slots.tolist():
            tokens = self._last[slot]
            self._texts[slot, int(self._began[-1][slot])] = tokens[tokens >= 0]
