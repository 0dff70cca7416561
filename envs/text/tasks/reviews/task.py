"""The built-in task `reviews`: continue a review of a film, a book, a meal or a hotel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .....records.checks import SPLITS, one_of
from ...task import Prompt, Scores, Task
from . import writer
from .grammar import grammatical
from .sentiment import sentiment


class Reviews(Task):
    """Continue the opening of a review; a good response praises.

    `measure` returns "gold", the sentiment of the response in (-1, 1) (see `sentiment`), and "grammatical", 1 where
    prompt and response together are a review that the grammar can write, else 0.
    """

    name = "reviews"
    model = "reviews"
    reward_model = "reviews"
    max_new_tokens = 32

    def prompts(self, split: str) -> Sequence[Prompt]:
        """All prompts of a split ("train" or "heldout"), always in the same order; no prompt is in both."""
        one_of("split", split, SPLITS)
        return writer.prompts()[split]

    def measure(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Mapping[str, Scores]:
        """Score each response: "gold" is its sentiment, "grammatical" whether it completes a review."""
        pairs = [(prompt.asked, response) for prompt, response in zip(prompts, responses, strict=True)]
        gold = [sentiment(prompt, response) for prompt, response in pairs]
        right = [grammatical(prompt + response) for prompt, response in pairs]
        return {"gold": np.array(gold, dtype=np.float64), "grammatical": np.array(right, dtype=np.float64)}

    def demonstrate(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """Return a response drawn from the grammar, positive or negative."""
        return writer.continue_review(prompt.asked, rng)
