"""What a text environment is about: prompts, and what is known about a good response to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...language.conversation import Conversation

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Prompt:
    """A text to be continued, and what the task knows about it.

    `text + response` is the whole text: a response brings its own leading space. A `Conversation` is written by the
    model's chat template, if it has one; a task may give one with a plain text for models without.
    """

    text: str
    reference: str | None = None  # a good response
    facts: Mapping[str, Any] = field(default_factory=dict)  # whatever else its gold score needs

    @property
    def asked(self) -> str:
        """The text without a template's tokens: of a conversation, what the user said last."""
        return self.text.messages[-1]["content"] if isinstance(self.text, Conversation) else self.text


class Task(ABC):
    """Prompts by split, and measures of a response to them.

    Built-in tasks generate their data from `seed`, the same data every time.
    """

    name: ClassVar[str]
    model: ClassVar[str] = "tasks"  # the shipped language model that knows this task's words
    max_new_tokens: ClassVar[int]  # enough for a good response and its end of text
    turns: ClassVar[int] = 1  # above 1 a dialogue, in which `reply` is the user's answer
    reward_model: ClassVar[str | None] = None  # the saved reward model used by default; None: the gold score
    has_gold: ClassVar[bool] = True  # whether `measure` knows the true score
    needs: ClassVar[tuple[str, ...]] = ()  # fields that `measure` cannot do without: "reference" or keys of `facts`

    @abstractmethod
    def prompts(self, split: str) -> Sequence[Prompt]:
        """All prompts of a split ("train" or "heldout"), always in the same order; no prompt is in both."""

    @abstractmethod
    def measure(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Mapping[str, Scores]:
        """Score each response without a model: "gold" is the true score, other keys are reported beside it."""

    def can_measure(self, prompt: Prompt) -> bool:
        """Whether a prompt has what `measure` needs."""
        known = {**prompt.facts, "reference": prompt.reference}
        return all(known.get(need) is not None for need in self.needs)

    def demonstrate(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """Return a response that a model may learn from."""
        if prompt.reference is None:
            raise NotImplementedError(f"the task {self.name!r} has no reference for {prompt.text!r}")
        return prompt.reference

    def demonstrate_turn(self, prompt: Prompt, turns: Sequence[str], rng: np.random.Generator) -> str:
        """In a dialogue, return a good turn of the agent after its `turns`."""
        raise NotImplementedError(
            f"the task {self.name!r} is a dialogue without demonstrate_turn(prompt, turns, rng): add one that returns "
            "a good turn of the agent after its `turns`"
        )

    def demonstrate_dialogue(self, prompt: Prompt, rng: np.random.Generator, limit: int | None = None) -> list[str]:
        """In a dialogue, return good turns of the agent, at most `limit`, with the user's replies between them."""
        own = [self.demonstrate_turn(prompt, (), rng)]
        turns = [own[0]]
        while len(own) != limit and not self.is_over(prompt, own):
            turns.append(self.reply(prompt, own, rng))
            own.append(self.demonstrate_turn(prompt, own, rng))
            turns.append(own[-1])
        return turns

    def reply(self, prompt: Prompt, turns: Sequence[str], rng: np.random.Generator) -> str:
        """In a dialogue, return the user's answer to the agent's `turns` so far, with the markers between turns.

        Where the prompt is a conversation the chat template writes the turns, and the answer has no markers; for both a
        `Conversation` of the user's message, with markers in its text.
        """
        raise NotImplementedError(f"the task {self.name!r} is no dialogue")

    def feedback(self, prompt: Prompt, turns: Sequence[str]) -> float | None:
        """In a dialogue, return the reward of the agent's latest turn; None for no reward."""
        return None

    def is_over(self, prompt: Prompt, turns: Sequence[str]) -> bool:
        """In a dialogue, whether it ends before the last turn."""
        return False
