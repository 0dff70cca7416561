"""The arguments of every text environment, checked before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ...language import CausalLM
from ...reward_models import RewardFunction
from ...reward_models.reward_function import Named
from .data import Rows
from .kl_penalty import KL_PENALTIES
from .task import SPLITS, Prompt, Task

ON_LENGTH = ("score", "truncate")
OVERFLOWS = ("error", "drop", "truncate")
Feedback = Callable[[Prompt, Sequence[str]], "float | None"]


@dataclass(frozen=True)
class TextOptions:
    """What `gym.make` and `gym.make_vec` take for a text environment, all of it optional."""

    task: str | Task | None = None  # what to write about; None: "reviews", or with `prompts` just those
    model: str | CausalLM | None = None  # path, hub id, shipped model or handle; None: the one shipped for the task
    reward_model: RewardFunction | Named | None = (
        None  # "gold": the task's true score; None: the task's usual reward model
    )
    prompts: Rows | None = None  # a JSONL file or a list in place of the task's own; or by split
    split: str = "train"
    max_new_tokens: int | None = None  # the budget of a text; None: the task's
    min_new_tokens: int = 0  # no end of text before so many tokens
    allowed_tokens: Sequence[int] | None = None  # the only tokens that may be written, beside the end of text
    context: int | None = None  # width of the observation; None: the model's positions, at most 512
    kl_coef: float = 0.05  # β
    kl_penalty: str = "token"
    on_length: str = "score"  # what becomes of a text whose budget is used up
    missing_eos_penalty: float = 0.0  # taken from the score of a text that did not end itself
    prompt_overflow: str = "error"  # what becomes of a prompt that leaves no room for the budget
    turns: int | None = None  # of a dialogue; None: the task's
    feedback: Feedback | None = (
        None  # reward models each turn of a dialogue; None: the task's simulated user, if it has one
    )
    device: str = "auto"
    max_episode_steps: int | None = None

    def __post_init__(self) -> None:
        _one_of("split", self.split, SPLITS)
        _one_of("kl_penalty", self.kl_penalty, tuple(KL_PENALTIES))
        _one_of("on_length", self.on_length, ON_LENGTH)
        _one_of("prompt_overflow", self.prompt_overflow, OVERFLOWS)
        if self.max_episode_steps == -1:  # as gymnasium says that there is no limit
            object.__setattr__(self, "max_episode_steps", None)
        for name in ("max_new_tokens", "context", "turns", "max_episode_steps"):
            if getattr(self, name) is not None:
                _count(name, getattr(self, name), 1)
        _count("min_new_tokens", self.min_new_tokens, 0)
        if not (isinstance(self.missing_eos_penalty, int | float) and math.isfinite(self.missing_eos_penalty)):
            raise ValueError(f"missing_eos_penalty is {self.missing_eos_penalty!r}: expected a finite number")


def make_options(given: Mapping[str, Any]) -> TextOptions:
    """Build options from keywords, or name the one that is none."""
    known = [field.name for field in fields(TextOptions)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise TypeError(f"unknown argument {unknown[0]!r}: a text environment takes {', '.join(known)}")
    return TextOptions(**given)


def _one_of(name: str, value: object, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise ValueError(f"{name} is {value!r}: expected one of {', '.join(map(repr, accepted))}")


def _count(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} is {value!r}: expected a whole number of at least {least}")
