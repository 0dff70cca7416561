"""The built-in task `reviews`: go on with a review of a film, a book, a meal or a hotel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from ...task import SPLITS, Prompt, Scores, Task
from . import writer
from .grammar import start
from .recogniser import Recogniser
from .sentiment import sentiment


class Reviews(Task):
    """Continue the opening of a review; a good response praises.

    `measure` gives "gold", the sentiment of the response in (-1, 1) (see `sentiment`), whether it is grammatical or
    not, and "grammatical", 1 where prompt and response together are a review that the grammar can write, else 0.
    """

    name = "reviews"
    model = "reviews"
    reward_model = "reviews"
    max_new_tokens = 32

    def prompts(self, split: str) -> Sequence[Prompt]:
        """All prompts of a split ("train" or "heldout"), always in the same order; no prompt is in both."""
        if split not in SPLITS:
            raise ValueError(f"split: got {split!r}; the task 'reviews' has the splits {', '.join(map(repr, SPLITS))}")
        return _prompts(split)

    def measure(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Mapping[str, Scores]:
        """Reward model each response: "gold" is its sentiment, "grammatical" whether it completes a review."""
        pairs = [(prompt.text, response) for prompt, response in zip(prompts, responses, strict=True)]
        gold = [sentiment(prompt, response) for prompt, response in pairs]
        right = [grammatical(prompt + response) for prompt, response in pairs]
        return {"gold": np.array(gold, dtype=np.float64), "grammatical": np.array(right, dtype=np.float64)}

    def demonstrate(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """Return a natural end to this prompt, good or bad, drawn from the grammar."""
        return writer.carry_on(prompt.text, rng)


def grammatical(text: str) -> bool:
    """Whether the grammar can write exactly this review, from its capital letter to its full stop."""
    return _recogniser().accepts(text)


@cache
def _recogniser() -> Recogniser:
    return Recogniser(start())


@cache
def _prompts(split: str) -> tuple[Prompt, ...]:
    return tuple(Prompt(text) for text in writer.prompts(split))
