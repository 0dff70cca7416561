"""The arguments of every text environment, checked before anything is loaded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypedDict, TypeVar, get_args

from ...language import CausalLM
from ...records.checks import count, not_negative, one_of
from ...reward_models import RewardFunction
from ...reward_models.reward_function import Named
from .data import Rows
from .task import Prompt, Task

Split = Literal["train", "heldout"]
KLPenaltyMode = Literal["token", "deferred", "none"]
CreditMode = Literal["end", "token"]
OnLength = Literal["score", "truncate"]
Overflow = Literal["error", "drop", "truncate"]
Feedback = Callable[[Prompt, Sequence[str]], "float | None"]
CHOICES = {"split": Split, "kl_penalty": KLPenaltyMode, "on_length": OnLength, "prompt_overflow": Overflow}
CHOICES["credit"] = CreditMode
Init = TypeVar("Init", bound=Callable[..., None])


@dataclass(frozen=True)
class TextOptions:
    """The keyword arguments of every text environment, all of them optional."""

    task: str | Task | None = None
    """what to write about, a built-in task by name or a `Task`; None: "reviews", or just the `prompts` given"""
    model: str | CausalLM | None = None
    """the reference model: a path, hub id, shipped model or `CausalLM`; None: the one shipped for the task"""
    reward_model: RewardFunction | Named | None = None
    """a callable (prompts, responses) -> scores, a saved reward model by name, "gold", the task's true score, or
    "none", where nothing is to be scored; None: the task's own choice"""
    prompts: Rows | None = None
    """a data file (.jsonl, .json, .csv, …) or a list of rows in place of the task's prompts, or a mapping with one of
    these per split"""
    chat: bool | None = None
    """write prompts by the model's chat template: all of them, plain texts as the user's turn, or none; None: those
    that are messages"""
    system_prompt: str | None = None
    """the system message of conversations that have none"""
    split: Split = "train"
    """which prompts to use"""
    max_new_tokens: int | None = None
    """the token budget of a text; None: the task's"""
    min_new_tokens: int = 0
    """mask the end of text until the text has so many new tokens"""
    allowed_tokens: Sequence[int] | None = None
    """mask all other tokens, but never the end of text"""
    context: int | None = None
    """the width of the observation: prompt and response; None: the model's positions, at most 512"""
    kl_coef: float = 0.05
    """β, the coefficient of the KL penalty"""
    kl_penalty: KLPenaltyMode = "token"
    """pay the KL penalty with each token, "deferred" until `settle()`, or not at all"""
    credit: CreditMode = "end"
    """pay the score at a text's "end", or with each "token" the part of the score that it adds"""
    on_length: OnLength = "score"
    """what happens to a text that uses up its budget: scored and terminated, or truncated without a score"""
    missing_eos_penalty: float = 0.0
    """subtracted from the score of a text that uses up its budget"""
    prompt_overflow: Overflow = "error"
    """what happens to a prompt that leaves no room for the budget; truncation cuts its beginning"""
    turns: int | None = None
    """the agent's turns in a dialogue, at most; None: the task's"""
    feedback: Feedback | None = None
    """the reward of each turn of a dialogue, a callable (prompt, turns) -> float or None; None: the task's"""
    device: str = "auto"
    """the device of models that are loaded by name; "auto": the GPU where there is one"""
    max_episode_steps: int | None = None
    """truncate a text after so many steps; `gym.make` takes it for Gymnasium's `TimeLimit`"""

    def __post_init__(self) -> None:
        for name, choice in CHOICES.items():
            one_of(name, getattr(self, name), get_args(choice))
        if self.max_episode_steps == -1:  # Gymnasium's way to say that there is no limit
            object.__setattr__(self, "max_episode_steps", None)
        for name in ("max_new_tokens", "context", "turns", "max_episode_steps"):
            if getattr(self, name) is not None:
                count(name, getattr(self, name))
        if self.chat not in (None, True, False):
            raise ValueError(f"chat is {self.chat!r}: expected True, False or None")
        if self.system_prompt is not None and not (isinstance(self.system_prompt, str) and self.system_prompt.strip()):
            raise ValueError(f"system_prompt is {self.system_prompt!r}: expected a text, or None")
        count("min_new_tokens", self.min_new_tokens, least=0)
        not_negative("kl_coef", self.kl_coef)
        not_negative("missing_eos_penalty", self.missing_eos_penalty)


class TextKeywords(TypedDict, total=False):
    """The fields of `TextOptions`, for type checkers and editors."""

    task: str | Task | None
    model: str | CausalLM | None
    reward_model: RewardFunction | Named | None
    prompts: Rows | None
    chat: bool | None
    system_prompt: str | None
    split: Split
    max_new_tokens: int | None
    min_new_tokens: int
    allowed_tokens: Sequence[int] | None
    context: int | None
    kl_coef: float
    kl_penalty: KLPenaltyMode
    credit: CreditMode
    on_length: OnLength
    missing_eos_penalty: float
    prompt_overflow: Overflow
    turns: int | None
    feedback: Feedback | None
    device: str
    max_episode_steps: int | None


def make_options(given: Mapping[str, Any]) -> TextOptions:
    """Build options from keyword arguments; an unknown one is a TypeError."""
    known = [field.name for field in fields(TextOptions)]
    for name in given:
        if name not in known:
            raise TypeError(f"unknown argument {name!r}: a text environment takes {', '.join(known)}")
    return TextOptions(**given)


def shows_options(init: Init) -> Init:
    """Give an `__init__(self, …, **options)` the signature that it has with every option spelled out."""
    own = [one for one in inspect.signature(init).parameters.values() if one.kind is not one.VAR_KEYWORD]
    options = [one.replace(kind=one.KEYWORD_ONLY) for one in inspect.signature(TextOptions).parameters.values()]
    init.__signature__ = inspect.Signature([*own, *options], return_annotation=None)  # type: ignore[attr-defined]
    return init
