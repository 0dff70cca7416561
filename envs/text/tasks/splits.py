"""Tasks that generate their prompts from a seed, and the split of each prompt."""

from __future__ import annotations

import json
import zlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any, ClassVar, TypeVar

from ....records.checks import SPLITS, one_of
from ..task import Prompt, Scores, Task
from .scores import Measure, score_each

T = TypeVar("T")
SIZES = {"train": 3150, "heldout": 350}
MOST_REPEATS = 10_000  # in a row, before the task counts as having too few prompts


def data_file(name: str) -> dict[str, Any]:
    """Return the words of a task, from the JSON file beside this module or in a folder there."""
    data: dict[str, Any] = json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))
    return data


class Draws:
    """Random choices that are the same on every machine.

    They use `Random.random` alone, the one method whose sequence Python promises to keep in later versions.
    """

    def __init__(self, seed: str):
        self.random = Random(seed).random

    def one(self, options: Sequence[T]) -> T:
        """Any of the options."""
        return options[int(self.random() * len(options))]

    def some(self, options: Sequence[T], n: int) -> list[T]:
        """Return n different options in random order."""
        left = list(options)
        return [left.pop(int(self.random() * len(left))) for _ in range(n)]

    def chance(self, p: float = 0.5) -> bool:
        """True with probability p."""
        return self.random() < p


class SeededTask(Task):
    """A task that makes 3,150 training and 350 held-out prompts from `seed`, all with different texts.

    A prompt has the same split whatever the seed: one in the training split is never held out with another seed.
    """

    sizes: ClassVar[dict[str, int]] = SIZES
    measures: ClassVar[Mapping[str, Measure]]  # by name: (prompt, response) -> score

    def __init__(self, seed: int = 0):
        self.seed = seed

    @abstractmethod
    def make(self, draws: Draws) -> Prompt:
        """Make one random prompt; it may repeat an earlier one."""

    def family(self, prompt: Prompt) -> str:
        """Prompts of one family share a split; by default each is its own family."""
        return prompt.text

    def prompts(self, split: str) -> Sequence[Prompt]:
        """Return the prompts of "train" or "heldout", generated at the first call."""
        one_of("split", split, SPLITS)
        return _made(type(self), self.seed)[split]

    def measure(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Mapping[str, Scores]:
        """Score each response by each of `measures`."""
        return {name: score_each(score, prompts, responses) for name, score in self.measures.items()}

    def words(self) -> list[str]:
        """Texts that together have every word of this task's data, whatever the seed."""
        splits = _made(type(self), 0)
        return [prompt.text + (prompt.reference or "") for split in SPLITS for prompt in splits[split]]


@lru_cache(maxsize=16)
def _made(kind: type[SeededTask], seed: int) -> dict[str, tuple[Prompt, ...]]:
    task = kind(seed)
    draws = Draws(f"{task.name} {seed}")
    kept: dict[str, dict[str, Prompt]] = {split: {} for split in SPLITS}
    repeats = 0
    while any(len(kept[split]) < task.sizes[split] for split in SPLITS):
        prompt = task.make(draws)
        split = "heldout" if zlib.crc32(task.family(prompt).encode()) % 10 == 0 else "train"
        if prompt.text in kept[split] or len(kept[split]) == task.sizes[split]:
            repeats += 1
            if repeats > MOST_REPEATS:
                raise RuntimeError(f"the task {task.name!r} makes too few different prompts for sizes={task.sizes}")
        else:
            repeats = 0
            kept[split][prompt.text] = prompt
    return {split: tuple(found.values()) for split, found in kept.items()}
