"""What a reward function is: anything that gives each (prompt, response) a number."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

RewardFunction = Callable[[Sequence[str], Sequence[str]], ArrayLike]
Named = str | os.PathLike[str]  # a reward function by its name, for a text environment to find
Scores = NDArray[np.float64]
Answer = TypeVar("Answer")


@runtime_checkable
class Parted(Protocol):
    """A reward function made of several, each with a name of its own."""

    def parts(self, prompts: Sequence[str], responses: Sequence[str]) -> Mapping[str, ArrayLike]:
        """Each part's scores by name."""

    def combine(self, parts: Mapping[str, Scores]) -> ArrayLike:
        """Combine the parts' scores into one."""


class RewardFunctionError(RuntimeError):
    """A reward function failed, or what it returned is no score."""


def call_reward(
    reward_function: RewardFunction, prompts: Sequence[str], responses: Sequence[str], name: str = "reward_model"
) -> Scores:
    """Ask a reward function; return one finite score a response, or say what was wrong."""
    return checked_scores(_asked(reward_function, prompts, responses, name), responses, name)


def call_reward_parts(
    reward_function: Parted, prompts: Sequence[str], responses: Sequence[str], name: str = "reward_model"
) -> dict[str, Scores]:
    """Ask a reward function of several parts; return the scores of each by name, as `call_reward` does."""
    parts = _asked(reward_function.parts, prompts, responses, name)
    return {part: checked_scores(scores, responses, part) for part, scores in parts.items()}


def _asked(
    ask: Callable[[Sequence[str], Sequence[str]], Answer], prompts: Sequence[str], responses: Sequence[str], name: str
) -> Answer:
    try:
        return ask(prompts, responses)
    except RewardFunctionError:
        raise  # a part has said what was wrong
    except Exception as error:
        first = f", the first {responses[0]!r} to the prompt {prompts[0]!r}" if len(responses) and len(prompts) else ""
        raise RewardFunctionError(
            f"{name} raised {type(error).__name__}: {error}; it was asked about {len(responses)} responses{first}"
        ) from error


def checked_scores(answer: ArrayLike, responses: Sequence[str], name: str = "reward_model") -> Scores:
    """Scores as (n,) floats, or an error that says what is wrong with them."""
    try:
        scores = np.asarray(on_host(answer), np.float64)
    except (TypeError, ValueError) as error:
        raise RewardFunctionError(f"{name} returned {answer!r}: expected {len(responses)} numbers ({error})") from error
    if scores.shape != (len(responses),):
        raise RewardFunctionError(
            f"{name} returned scores of shape {scores.shape}: expected ({len(responses)},), one for each response"
        )
    if not np.isfinite(scores).all():
        worst = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise RewardFunctionError(
            f"{name} returned {scores[worst]} for the response {responses[worst]!r}: every score must be finite"
        )
    return scores


def on_host(values: Any) -> Any:
    """A tensor, wherever it is and of whatever precision, as an array; anything else as it is."""
    return values.detach().cpu().double().numpy() if hasattr(values, "detach") else values
