"""Text environments small enough to step thousands of times: random models of 40 words, tasks of a line or two."""

from __future__ import annotations

import numpy as np

from textrlhf.envs.text import Prompt, Task
from tiny_models import V, tiny_lm


class Counting(Task):
    """Prompts of a few words; gold is the share of words with an even number."""

    name = "counting"
    max_new_tokens = 8

    def prompts(self, split):
        rng = np.random.default_rng(split == "train")
        return [
            Prompt(" ".join(f"a{i}" for i in rng.integers(2, V, rng.integers(1, 6))), facts={"number": k})
            for k in range(23)
        ]

    def measure(self, prompts, responses):
        gold = np.array([np.mean([int(w[1:]) % 2 == 0 for w in r.split()] or [0]) for r in map(plain, responses)])
        return {"gold": gold, "words": np.array([float(len(r.split())) for r in responses])}


class Chatting(Counting):
    """Three turns; the user answers with one or two words of his own."""

    name = "chatting"
    turns = 3
    max_new_tokens = 12

    def reply(self, prompt, turns, rng):
        return " " + " ".join(f"a{i}" for i in rng.integers(2, V, rng.integers(1, 3)))

    def feedback(self, prompt, turns):
        return float(len(turns[-1].split())) / 10


def plain(text):
    return " ".join(word for word in text.split() if word[1:].isdigit())


def text_env(task=None, family="gpt2", **changes):
    """Arguments for a tiny environment."""
    return {"task": task or Counting(), "model": tiny_lm(family), "context": 24, **changes}
