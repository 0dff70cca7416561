"""People's ratings of film-review snippets, split by text, and each text's ratings into ratings A and ratings B.

    learn    texts of the reward model: their ratings A
    check    other texts, of the second reward model: their ratings B
    write    other texts, which the language model is cloned on; their ratings are not used
    test     texts that nothing learns from: their ratings test the reward models, their first words are the prompts

The files have no rater ids. So A and B are different ratings, not different people.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textrlhf.reward_models.feedback.vader import SCALE, read_vader

SHARES = {"learn": 0.40, "check": 0.25, "write": 0.15, "test": 0.20}
OPENING = 3  # words of a prompt
WEIGHT = 8.0  # of a mean rating beside a comparison: 1 / (2 σ²), σ = .25 being the error of what is learned on [-1, 1]
PAIRS = 600  # comparisons beside the ratings, from which one number is learned


@dataclass(frozen=True)
class Snippet:
    """A text with every rating it got."""

    text: str
    ratings: tuple[int, ...]
    part: str  # a key of SHARES

    def half(self, name: str) -> tuple[int, ...]:
        """Ratings "A" or "B": every other one, from an order drawn by the text."""
        order = np.random.default_rng(_number(self.text)).permutation(len(self.ratings))
        return tuple(self.ratings[i] for i in order[("A", "B").index(name) :: 2])

    @property
    def opening(self) -> str:
        """Its first words."""
        return " ".join(self.text.split()[:OPENING])


def read_snippets(snippets: Path) -> list[Snippet]:
    """Read the rated texts in the order of their file; the few that occur twice are kept once."""
    found: dict[str, Snippet] = {}
    for _, row in read_vader(snippets):
        text, ratings = " ".join(row["text"].split()), tuple(int(one) for one in row["ratings"])
        found.setdefault(text, Snippet(text, ratings, part_of(text)))
    return list(found.values())


def part_of(text: str) -> str:
    """The part that a text belongs to, by its hash."""
    place, reached = (_number(text) % 10_000) / 10_000, 0.0
    for part, share in SHARES.items():
        reached += share
        if place < reached - 1e-9:
            return part
    return part


def judgements(snippets: list[Snippet], half: str | None, seed: int, pairs: int = PAIRS) -> list[dict[str, Any]]:
    """Rows to train a reward model on: each text's mean rating, and `pairs` comparisons of single ratings of two texts.

    The pairs tell how far apart scores must be for one text to be preferred with some probability.
    """
    rated = [(one.text, one.ratings if half is None else one.half(half)) for one in snippets]
    rows: list[dict[str, Any]] = [
        {"prompt": "", "completion": text, "rating": float(np.mean(own)), "scale": SCALE, "weight": WEIGHT}
        for text, own in rated
    ]
    rng = np.random.default_rng(seed)
    while len(rows) < len(rated) + pairs:
        first, second = rng.choice(len(rated), 2, replace=False)
        one, other = (int(rng.choice(rated[i][1])) for i in (first, second))
        better, worse = (rated[i][0] for i in ((first, second) if one >= other else (second, first)))
        if one == other:
            rows.append({"prompt": "", "responses": [better, worse], "tie": True})
        else:
            rows.append({"prompt": "", "chosen": better, "rejected": worse})
    return rows


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
