"""The score of each text as rewards: at its end or shaped token by token, at once or when the caller settles.

With `credit="token"` rewards are shaped by a potential (Ng et al., 1999, with γ = 1), which changes no optimum: a step
adds Φ(text after it) − Φ(text before it), where Φ of a beginning is its score less that of the prompt alone. At the end
of a text that is scored the potential is 0, so its last step adds score − Φ(text before it), and its rewards add up to
the score. Those of a text that is cut before that add up to its last potential, `info["credit"]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scoring import Scorer
from .task import Prompt

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Read = Callable[[int, Sequence[int]], tuple[Prompt, str, list[int]]]
"""(row, numbers of tokens) -> prompt, response, and how many of its characters there are in so many tokens"""


@dataclass
class Progress:
    """Where a text is, over all its spans."""

    potential: float | None = None  # Φ of the text so far; None until the score of the prompt alone is known
    prompt_score: float = 0.0
    kl: float = 0.0  # as far as `settle` has computed it


@dataclass
class Ending:
    """How a text ended, as far as its score is concerned."""

    scored: bool
    penalty: float = 0.0  # subtracted from the score
    feedback: float | None = None  # of the turns of a dialogue, which is in their rewards


@dataclass
class Span:
    """Consecutive steps of one text whose rewards are still without the score."""

    progress: Progress
    prompt: Prompt
    response: str  # as far as it is written
    ends: list[int]  # how many of its characters there are after each step
    ending: Ending | None = None  # None where the text continues, or was cut by a reset
    rewards: Floats = field(default_factory=lambda: np.empty(0))
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def scored(self) -> bool:
        """Whether its last step ends the text, and that is scored."""
        return self.ending is not None and self.ending.scored


class Credit:
    """Which steps of N texts the scores reward, and when."""

    def __init__(self, n: int, scorer: Scorer, by_token: bool, read: Read) -> None:
        self.n, self.scorer, self.by_token, self.read = n, scorer, by_token, read
        self.progress = [Progress() for _ in range(n)]
        self.may_wait = True  # whether scores wait for `settle`, once it has been called
        self.forget()

    def forget(self) -> None:
        """All slots start over: drop what is pending, and expect no `settle()`."""
        self.caller_settles = False
        self._steps: list[list[int]] = [[] for _ in range(self.n)]  # the tokens after each step of the current text
        self._spans: list[list[Span]] = [[] for _ in range(self.n)]  # pending, of texts that are over

    def begin(self, row: int) -> None:
        """The text in this row will be replaced: if the caller settles, steps of one cut short stay pending."""
        if self.caller_settles and self._steps[row]:
            self._spans[row].append(self._span(row, None))
        self._steps[row] = []
        self.progress[row] = Progress()

    def step(self, rows: Ints, lengths: Ints, endings: dict[int, Ending]) -> list[tuple[int, Span]]:
        """A step was taken in `rows`; return the spans that are rewarded now, by position in `rows`."""
        for row, length in zip(rows.tolist(), lengths.tolist(), strict=True):
            self._steps[row].append(length)
        if self.caller_settles:
            for row in endings:
                self._spans[row].append(self._span(row, endings[row]))
            return []
        spans = []
        for i, row in enumerate(rows.tolist()):
            ending = endings.get(row)
            if self.by_token or (ending is not None and ending.scored):
                spans.append((i, self._span(row, ending)))
            self._steps[row] = []
        self._reward([span for _, span in spans])
        return spans

    def settle(self) -> list[list[Span]]:
        """Reward the pending steps of each slot, in order; from now on the caller is expected to settle.

        If the reward function raises, everything stays pending.
        """
        if not self.may_wait:
            return [[] for _ in range(self.n)]
        if self.caller_settles:
            running = [[self._span(row, None)] if self._steps[row] else [] for row in range(self.n)]
        else:
            running = [[] for _ in range(self.n)]  # its steps have been rewarded
        pending = [[*ended, *last] for ended, last in zip(self._spans, running, strict=True)]
        self._reward([span for slot in pending for span in slot])
        self.caller_settles = True
        self._steps, self._spans = [[] for _ in range(self.n)], [[] for _ in range(self.n)]
        return pending

    def _span(self, row: int, ending: Ending | None) -> Span:
        steps, self._steps[row] = self._steps[row], self._steps[row] if ending is None else []
        if not self.by_token and (ending is None or not ending.scored):
            return Span(self.progress[row], Prompt(""), "", steps, ending)
        prompt, response, ends = self.read(row, steps if self.by_token else [])
        return Span(self.progress[row], prompt, response, ends or steps, ending)

    def _reward(self, spans: Sequence[Span]) -> None:
        """Fill in the rewards and infos of spans, asking the reward function once."""
        beginnings, scores = self._beginnings(spans) if self.by_token and spans else ([], None)
        whole = [i for i, span in enumerate(spans) if span.scored]
        found: Floats = np.empty(0)
        known: dict[str, Floats] = {}
        if whole:
            prompts, responses = [spans[i].prompt for i in whole], [spans[i].response for i in whole]
            found, known = self.scorer(prompts, responses, None if scores is None else scores[whole])
        for span in spans:  # from here on nothing raises
            span.rewards = np.zeros(len(span.ends))
        for span, partial in zip(spans, beginnings, strict=False):
            _add_shaping(span, partial)
        for k, i in enumerate(whole):
            measures = {name: float(values[k]) for name, values in known.items() if not np.isnan(values[k])}
            self._add_score(spans[i], float(found[k]), measures)

    def _beginnings(self, spans: Sequence[Span]) -> tuple[list[Floats], Floats | None]:
        """The scores of the texts before and after each step; the last step of a scored text needs none."""
        ends = [
            [*([0] if span.progress.potential is None else []), *(span.ends[:-1] if span.scored else span.ends)]
            for span in spans
        ]
        return self.scorer.partial([span.prompt for span in spans], [span.response for span in spans], ends)

    def _add_score(self, span: Span, score: float, measures: dict[str, float]) -> None:
        assert span.ending is not None
        score -= span.ending.penalty
        span.rewards[-1] = score - (span.progress.potential or 0.0)
        if self.scorer.scores or span.ending.feedback is not None:
            span.info["score"] = score + (span.ending.feedback or 0.0)
        span.info.update(measures)


def _add_shaping(span: Span, partial: Floats) -> None:
    """Reward each step by the change of the potential, all but the last step of a scored text."""
    progress = span.progress
    if progress.potential is None:
        progress.potential, progress.prompt_score, partial = 0.0, float(partial[0]), partial[1:]
    potentials = np.concatenate([[progress.potential], partial - progress.prompt_score])
    span.rewards[: len(partial)] = np.diff(potentials)
    progress.potential = float(potentials[-1])
    if not span.scored:  # also of a text that goes on: a wrapper may cut it here
        span.info["credit"] = progress.potential
