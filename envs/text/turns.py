"""The turns of a dialogue: the agent's texts, their rewards, and the user's replies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...language import CausalLM, Conversation
from ...language.conversation import Message
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
                f"turns is {turns}, but the task {task.name!r} is no dialogue (it has no reply): leave turns out"
            )
        self.texts: list[list[str]] = [[] for _ in range(n)]  # the agent's turns so far
        self._replies: list[list[str]] = [[] for _ in range(n)]  # the user's messages, where a chat template writes
        self._starts = [0] * n  # position in the context where the current turn begins

    def begin(self, row: int, start: int, *, first: bool = False) -> None:
        """Begin a turn, with `first` that of a new text."""
        self._starts[row] = start
        if first:
            self.texts[row], self._replies[row] = [], []

    def end(self, row: int, record: Prompt, lm: CausalLM, tokens: NDArray[np.int64]) -> float | None:
        """End the turn and return its reward, if it has one."""
        start = self._starts[row]
        self.texts[row].append(lm.continuation(tokens[:start], tokens[start:]))
        try:
            given = self.feedback(record, tuple(self.texts[row]))
        except Exception as error:
            raise RewardFunctionError(
                f"feedback raised {type(error).__name__}: {error}; it was called with the turn {self.texts[row][-1]!r}"
            ) from error
        if given is None:
            return None
        try:
            reward = float(given)
        except (TypeError, ValueError):
            reward = math.nan
        if not math.isfinite(reward):
            raise ValueError(
                f"feedback returned {given!r} for {self.texts[row][-1]!r}: expected a finite number or None"
            )
        return reward

    def is_over(self, row: int, record: Prompt) -> bool:
        """Whether that was the last turn."""
        return len(self.texts[row]) >= self.limit or self.task.is_over(record, self.texts[row])

    def reply(self, row: int, record: Prompt, lm: CausalLM, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the tokens of the user's reply."""
        reply = self.task.reply(record, self.texts[row], rng)
        if not isinstance(reply, str):
            raise TypeError(f"reply of the task {self.task.name!r} returned {reply!r}: expected a string")
        if not isinstance(record.text, Conversation):
            return lm.encode_more(reply)
        said = reply.messages[-1]["content"] if isinstance(reply, Conversation) else reply.strip()
        tokens = lm.chat.reply([*record.text.messages, *self._messages(row)], said)
        self._replies[row].append(said)
        return tokens

    def response(self, row: int, lm: CausalLM, tokens: NDArray[np.int64], prompt: int) -> Conversation:
        """All that follows the first `prompt` tokens, without the last end of turn, as messages and as text."""
        if len(self.texts[row]) == len(self._replies[row]):  # the last turn is not ended
            start = self._starts[row]
            unended = [lm.continuation(tokens[:start], tokens[start:])]
        else:
            unended = []
            tokens = tokens[:-1]
        before, whole = (lm.decode(part, special=True) for part in (tokens[:prompt], tokens))
        return Conversation(self._messages(row, unended), whole[len(before) :])

    def _messages(self, row: int, more: Sequence[str] = ()) -> list[Message]:
        """What agent and user have said since the prompt."""
        own = [{"role": "assistant", "content": text.strip()} for text in (*self.texts[row], *more)]
        replies = [{"role": "user", "content": text} for text in self._replies[row]]
        return [message for pair in itertools.zip_longest(own, replies) for message in pair if message]


def ask(prompt: Prompt, turns: Sequence[str]) -> float | None:
    """Ask a person at the terminal for the reward of the latest turn; usable as `feedback=`."""
    print(f"\n{prompt.text}{turns[-1]}")
    while True:
        answer = input("How good was that (a number, or empty for none)? ").strip()
        if not answer:
            return None
        try:
            return float(answer)
        except ValueError:
            print(f"{answer!r} is no number.")
