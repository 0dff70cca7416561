"""Reward functions: any callable that gives each (prompt, response) a score."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, Protocol, TypeGuard, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

RewardFunction = Callable[[Sequence[str], Sequence[str]], ArrayLike]
Named = str | os.PathLike[str]  # the name of a reward function, which a text environment resolves
Scores = NDArray[np.float64]
Answer = TypeVar("Answer")


@runtime_checkable
class Parted(Protocol):
    """A reward function made of several named ones."""

    def parts(self, prompts: Sequence[str], responses: Sequence[str]) -> Mapping[str, ArrayLike]:
        """Each part's scores by name."""

    def combine(self, parts: Mapping[str, Scores]) -> ArrayLike:
        """Combine the parts' scores into one."""


class Partial(Protocol):
    """A reward function that also scores the beginnings of responses, for `credit="token"` of text environments."""

    def partial_scores(
        self, prompts: Sequence[str], responses: Sequence[str], ends: Sequence[Sequence[int]]
    ) -> tuple[Sequence[ArrayLike], ArrayLike | None]:
        """The scores of `responses[i][:end]` for each of `ends[i]`, an array per response.

        Also those of the whole responses where they come without extra work, else None.
        """


class RewardFunctionError(RuntimeError):
    """A reward function raised, or returned something that is not a finite score for each response."""


def call_reward(
    reward_function: RewardFunction, prompts: Sequence[str], responses: Sequence[str], name: str = "reward_model"
) -> Scores:
    """Call a reward function and return one finite score per response; errors begin with `name`."""
    return checked_scores(_call(reward_function, prompts, responses, name), responses, name)


def call_reward_parts(
    reward_function: Parted, prompts: Sequence[str], responses: Sequence[str], name: str = "reward_model"
) -> dict[str, Scores]:
    """Call a reward function of several parts and return the scores of each, checked as by `call_reward`."""
    parts = _call(reward_function.parts, prompts, responses, name)
    return {part: checked_scores(scores, responses, part) for part, scores in parts.items()}


def gives_partial_scores(reward_function: object) -> TypeGuard[Partial]:
    """Whether a reward function scores beginnings: it has `partial_scores`, and `partial` is not False."""
    return callable(getattr(reward_function, "partial_scores", None)) and bool(
        getattr(reward_function, "partial", True)
    )


def call_partial_scores(
    reward_function: Partial,
    prompts: Sequence[str],
    responses: Sequence[str],
    ends: Sequence[Sequence[int]],
    name: str = "reward_model",
) -> tuple[list[Scores], Scores | None]:
    """Call `partial_scores` and return finite scores: one array per response, and one score each if it gives them."""
    name = f"{name}.partial_scores"
    asked = lambda texts, written: reward_function.partial_scores(texts, written, ends)  # noqa: E731
    answer = _call(asked, prompts, responses, name)
    if not (isinstance(answer, tuple) and len(answer) == 2 and len(answer[0]) == len(responses)):
        raise RewardFunctionError(
            f"{name} returned {answer!r:.200}: expected (an array for each of {len(responses)} responses, the scores "
            "of the whole responses or None)"
        )
    places = [[response[:end] for end in some] for response, some in zip(responses, ends, strict=True)]
    beginnings = [checked_scores(one, some, name) for one, some in zip(answer[0], places, strict=True)]
    return beginnings, None if answer[1] is None else checked_scores(answer[1], responses, name)


def _call(
    function: Callable[[Sequence[str], Sequence[str]], Answer],
    prompts: Sequence[str],
    responses: Sequence[str],
    name: str,
) -> Answer:
    try:
        return function(prompts, responses)
    except RewardFunctionError:
        raise  # a part of it has already reported what is wrong
    except Exception as error:
        first = f", the first {responses[0]!r} to the prompt {prompts[0]!r}" if len(responses) and len(prompts) else ""
        raise RewardFunctionError(
            f"{name} raised {type(error).__name__}: {error}; it was called with {len(responses)} responses{first}"
        ) from error


def checked_scores(answer: ArrayLike, responses: Sequence[str], name: str = "reward_model") -> Scores:
    """Return scores as (n,) float64; raise `RewardFunctionError` where they are not n finite numbers."""
    try:
        if answer is None:
            raise TypeError("is a return missing?")
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
    """Return a tensor of any device and precision as a float64 array, anything else as it is."""
    return values.detach().cpu().double().numpy() if hasattr(values, "detach") else values


def sigmoid(values: ArrayLike) -> Scores:
    """Log-odds to probabilities, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(values, np.float64)))


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number; True and False are not."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False
