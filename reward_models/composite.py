"""Several reward functions as one, each with a say of its own: weighted sums, and constraints with a price."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .reward_function import Named, RewardFunction, Scores, call_reward, checked_scores


@dataclass(frozen=True)
class _Constraint:
    reward_function: RewardFunction | Named
    threshold: float
    penalty: float  # for each point by which the score is on the wrong side

    def __post_init__(self) -> None:
        kind = type(self).__name__
        if not _is_finite(self.threshold):
            raise ValueError(f"the threshold of {kind} is {self.threshold!r}: expected a finite number")
        if not (_is_finite(self.penalty) and self.penalty > 0):
            raise ValueError(
                f"the penalty of {kind} is {self.penalty!r}: expected a finite number above 0, what a point on the "
                "wrong side of the threshold costs"
            )


class AtLeast(_Constraint):
    """A constraint: `penalty` for each point by which a score is below `threshold`, nothing for one above."""

    def worth(self, scores: Scores) -> Scores:
        """What the constraint adds to the sum."""
        return self.penalty * np.minimum(scores - self.threshold, 0.0)


class AtMost(_Constraint):
    """A constraint: `penalty` for each point by which a score is above `threshold`, nothing for one below."""

    def worth(self, scores: Scores) -> Scores:
        """What the constraint adds to the sum."""
        return self.penalty * np.minimum(self.threshold - scores, 0.0)


Part = tuple[RewardFunction | Named, float] | AtLeast | AtMost


class Composite:
    """A sum of named reward functions, each `(reward_function, weight)` or a constraint.

    `Composite({"polite": (reward_function, 1.0), "brevity": (length, -0.1), "safe": AtLeast(safety, 0.5, 10.0)})`

    Each part's own score is shown by its name in the information of the text it judged. In a text environment a reward
    function may also be the string "gold", the task's own true score, or the name of a saved reward function.
    """

    def __init__(self, reward_functions: Mapping[str, Part]) -> None:
        if not isinstance(reward_functions, Mapping):
            raise TypeError(
                f"reward functions is {reward_functions!r}: expected names with (reward function, weight), "
                "AtLeast(…) or AtMost(…)"
            )
        if not reward_functions:
            raise ValueError(
                "reward functions is empty: expected at least one name with (reward function, weight), AtLeast(…) or "
                "AtMost(…)"
            )
        for name, part in reward_functions.items():
            _check(name, part)
        self.reward_functions: dict[str, Part] = dict(reward_functions)

    def parts(
        self, prompts: Sequence[str], responses: Sequence[str], known: Mapping[str, Scores] | None = None
    ) -> dict[str, Scores]:
        """Each reward function's scores by name, unweighted; `known` are the scores of a reward function that is only
        named.
        """
        found = {}
        for name, part in self.reward_functions.items():
            reward_function = function_of(part)
            if isinstance(reward_function, Composite):
                found[name] = reward_function.combine(reward_function.parts(prompts, responses, known))
            elif not isinstance(reward_function, str | os.PathLike):
                found[name] = call_reward(reward_function, prompts, responses, name)
            elif isinstance(reward_function, str) and known is not None and reward_function in known:
                found[name] = checked_scores(known[reward_function], responses, name)
            else:
                raise ValueError(
                    f"reward functions[{name!r}] is {reward_function!r}, which only a text environment knows: "
                    "expected a callable, such as "
                    "textrlhf.reward_models.load_reward_model(name) gives"
                )
        return found

    def combine(self, parts: Mapping[str, Scores]) -> Scores:
        """Combine the parts' scores into one."""
        total: Scores = np.sum([_worth(part, parts[name]) for name, part in self.reward_functions.items()], 0)
        return total

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Score each response."""
        return self.combine(self.parts(prompts, responses))

    def resolved(self, find: Callable[[str, Named], RewardFunction | Named]) -> Composite:
        """The same, each reward function that is only named being what `find(part, reward_function)` gives for it."""
        return Composite({name: _resolved(name, part, find) for name, part in self.reward_functions.items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Composite) and self.reward_functions == other.reward_functions

    def __hash__(self) -> int:
        return hash(frozenset(self.reward_functions))

    def __repr__(self) -> str:
        return f"Composite({self.reward_functions!r})"


def function_of(part: Part) -> RewardFunction | Named:
    """The reward function of a part, whatever is made of its score."""
    return part[0] if isinstance(part, tuple) else part.reward_function


def _worth(part: Part, scores: Scores) -> Scores:
    return part[1] * scores if isinstance(part, tuple) else part.worth(scores)


def _resolved(name: str, part: Part, find: Callable[[str, Named], RewardFunction | Named]) -> Part:
    reward_function = function_of(part)
    if isinstance(reward_function, Composite):
        reward_function = reward_function.resolved(find)
    elif isinstance(reward_function, str | os.PathLike):
        reward_function = find(name, reward_function)
    return (
        (reward_function, part[1])
        if isinstance(part, tuple)
        else type(part)(reward_function, part.threshold, part.penalty)
    )


def _check(name: object, part: object) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"reward functions has a part named {name!r}: expected a string, as which its score is told")
    if isinstance(part, AtLeast | AtMost):
        reward_function = part.reward_function
    elif isinstance(part, tuple) and len(part) == 2 and _is_finite(part[1]):
        reward_function = part[0]
    else:
        raise ValueError(
            f"reward functions[{name!r}] is {part!r}: expected (reward function, weight), the weight a finite "
            "number, or AtLeast(reward function, "
            "threshold, penalty), or AtMost"
        )
    if not (callable(reward_function) or isinstance(reward_function, str | os.PathLike)):
        raise TypeError(
            f"the reward function of {name} is {reward_function!r}: expected a callable (prompts, responses) -> "
            "scores, or a name that a "
            "text environment knows"
        )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
