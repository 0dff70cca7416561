"""What a judge is: anything that gives each (prompt, response) a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Judge = Callable[[Sequence[str], Sequence[str]], ArrayLike]
Scores = NDArray[np.float64]


class JudgeError(RuntimeError):
    """A judge failed, or what it returned is no score."""


def judged(judge: Judge, prompts: Sequence[str], responses: Sequence[str], name: str = "reward_model") -> Scores:
    """Ask a judge; return one finite score a response, or say what was wrong."""
    try:
        answer = judge(prompts, responses)
    except Exception as error:
        raise JudgeError(
            f"{name} raised {type(error).__name__}: {error}; it was asked about {len(responses)} responses, "
            f"the first {responses[0]!r} to the prompt {prompts[0]!r}"
        ) from error
    return checked_scores(answer, responses, name)


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


class Composite:
    """A weighted sum of named judges: `Composite({"polite": (judge, 1.0), "brevity": (lambda p, r: ..., -0.1)})`.

    Each part is shown by its name in the information of the text it judged. In a text world a judge may be the
    string "gold", the task's own true score.
    """

    def __init__(self, judges: Mapping[str, tuple[Judge | str, float]]) -> None:
        if not judges:
            raise ValueError("judges is empty: expected at least one name with (judge, weight)")
        for name, part in judges.items():
            if not (isinstance(part, tuple) and len(part) == 2 and np.isfinite(part[1])):
                raise ValueError(f"judges[{name!r}] is {part!r}: expected (judge, weight), the weight a finite number")
        self.judges = dict(judges)

    def parts(self, prompts: Sequence[str], responses: Sequence[str]) -> dict[str, Scores]:
        """Each judge's scores by name, unweighted."""
        found = {}
        for name, (judge, _) in self.judges.items():
            if isinstance(judge, str):
                raise ValueError(f"judges[{name!r}] is {judge!r}, which only a text world knows: expected a callable")
            found[name] = judged(judge, prompts, responses, name)
        return found

    def combine(self, parts: Mapping[str, Scores]) -> Scores:
        """Combine the parts' scores into one."""
        total: Scores = np.sum([weight * parts[name] for name, (_, weight) in self.judges.items()], 0)
        return total

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Score each response."""
        return self.combine(self.parts(prompts, responses))
