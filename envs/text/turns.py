"""The turns of a dialogue: what the agent has said in each, how it was judged, and what the user answers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...language import CausalLM
from ...reward_models import RewardFunctionError
from .options import Feedback
from .task import Prompt, Task


class Turns:
    """The turns so far of N texts."""

    def __init__(self, n: int, task: Task, turns: int | None, feedback: Feedback) -> None:
        self.task, self.limit, self.feedback = task, turns or task.turns, feedback
        self.many = self.limit > 1
        if self.many and type(task).reply is Task.reply:
            raise ValueError(
                f"turns is {turns}: the task {task.name!r} is no dialogue, it knows no reply; leave turns out"
            )
        self.said: list[list[str]] = [[] for _ in range(n)]  # by the agent
        self._starts = [0] * n  # where in the context the turn under way begins

    def begin(self, row: int, start: int, *, anew: bool = False) -> None:
        """Begin a turn; `anew`: the first of a text."""
        self._starts[row] = start
        if anew:
            self.said[row] = []

    def end(self, row: int, record: Prompt, lm: CausalLM, tokens: NDArray[np.int64]) -> float | None:
        """End the turn: how it was judged, if somebody said."""
        start = self._starts[row]
        self.said[row].append(lm.continuation(tokens[:start], tokens[start:]))
        try:
            judgement = self.feedback(record, tuple(self.said[row]))
        except Exception as error:
            raise RewardFunctionError(
                f"feedback raised {type(error).__name__}: {error}; it was asked about {self.said[row][-1]!r}"
            ) from error
        if judgement is None:
            return None
        try:
            worth = float(judgement)
        except (TypeError, ValueError):
            worth = math.nan
        if not math.isfinite(worth):
            raise ValueError(
                f"feedback returned {judgement!r} for {self.said[row][-1]!r}: expected a finite number or None"
            )
        return worth

    def over(self, row: int, record: Prompt) -> bool:
        """Whether that was the last turn."""
        return len(self.said[row]) >= self.limit or self.task.over(record, self.said[row])

    def reply(self, row: int, record: Prompt, lm: CausalLM, rng: np.random.Generator) -> NDArray[np.int64]:
        """What the user answers, as tokens that go on from the agent's."""
        reply = self.task.reply(record, self.said[row], rng)
        if not isinstance(reply, str):
            raise TypeError(
                f"the task {self.task.name!r} replied {reply!r} to {self.said[row][-1]!r}: expected a string"
            )
        return lm.encode_more(reply)


def ask(prompt: Prompt, turns: Sequence[str]) -> float | None:
    """Let a person at the terminal reward model the latest turn: a number, or nothing."""
    print(f"\n{prompt.text}{turns[-1]}")
    while True:
        answer = input("How good was that (a number, empty to say nothing)? ").strip()
        if not answer:
            return None
        try:
            return float(answer)
        except ValueError:
            print(f"{answer!r} is no number.")
