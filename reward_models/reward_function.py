"""What a judge is: anything that gives each (prompt, response) a number."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Judge = Callable[[Sequence[str], Sequence[str]], ArrayLike]
Named = str | os.PathLike[str]  # a judge by its name, for a text world to find
Scores = NDArray[np.float64]
Answer = TypeVar("Answer")


@runtime_checkable
class Parted(Protocol):
    """A judge made of several, each with a name of its own."""

    def parts(self, prompts: Sequence[str], responses: Sequence[str]) -> Mapping[str, ArrayLike]:
        """Each part's scores by name."""

    def combine(self, parts: Mapping[str, Scores]) -> ArrayLike:
        """Combine the parts' scores into one."""


class JudgeError(RuntimeError):
    """A judge failed, or what it returned is no score."""


def judged(judge: Judge, prompts: Sequence[str], responses: Sequence[str], name: str = "reward_model") -> Scores:
    """Ask a judge; return one finite score a response, or say what was wrong."""
    return checked_scores(_asked(judge, prompts, responses, name), responses, name)


def judged_parts(
    judge: Parted, prompts: Sequence[str], responses: Sequence[str], name: str = "reward_model"
) -> dict[str, Scores]:
    """Ask a judge of several parts; return the scores of each by name, as `judged` does."""
    parts = _asked(judge.parts, prompts, responses, name)
    return {part: checked_scores(scores, responses, part) for part, scores in parts.items()}


def _asked(
    ask: Callable[[Sequence[str], Sequence[str]], Answer], prompts: Sequence[str], responses: Sequence[str], name: str
) -> Answer:
    try:
        return ask(prompts, responses)
    except JudgeError:
        raise  # a part has said what was wrong
    except Exception as error:
        first = f", the first {responses[0]!r} to the prompt {prompts[0]!r}" if len(responses) and len(prompts) else ""
        raise JudgeError(
            f"{name} raised {type(error).__name__}: {error}; it was asked about {len(responses)} responses{first}"
        ) from error


def checked_scores(answer: ArrayLike, responses: Sequence[str], name: str = "reward_model") -> Scores:
    """Scores as (n,) floats, or an error that says what is wrong with them."""
    try:
        scores = np.asarray(on_host(answer), np.float64)
    except (TypeError, ValueError) as error:
        raise JudgeError(f"{name} returned {answer!r}: expected {len(responses)} numbers ({error})") from error
    if scores.shape != (len(responses),):
        raise JudgeError(
            f"{name} returned scores of shape {scores.shape}: expected ({len(responses)},), one for each response"
        )
    if not np.isfinite(scores).all():
        worst = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise JudgeError(
            f"{name} returned {scores[worst]} for the response {responses[worst]!r}: every score must be finite"
        )
    return scores


def on_host(values: Any) -> Any:
    """A tensor, wherever it is and of whatever precision, as an array; anything else as it is."""
    return values.detach().cpu().double().numpy() if hasattr(values, "detach") else values
