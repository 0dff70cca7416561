"""Several reward functions as one: weighted sums, and constraints with a penalty."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .reward_function import (
    Named,
    RewardFunction,
    Scores,
    call_partial_scores,
    call_reward,
    checked_scores,
    gives_partial_scores,
    is_number,
)

FORMS = "(reward_function, weight), AtLeast(reward_function, threshold, penalty) or AtMost(…)"


@dataclass(frozen=True)
class _Constraint:
    reward_function: RewardFunction | Named
    threshold: float
    penalty: float  # per point on the wrong side of the threshold

    def __post_init__(self) -> None:
        kind = type(self).__name__
        if not is_number(self.threshold):
            raise ValueError(f"the threshold of {kind} is {self.threshold!r}: expected a finite number")
        if not (is_number(self.penalty) and self.penalty > 0):
            raise ValueError(f"the penalty of {kind} is {self.penalty!r}: expected a finite number above 0")


class AtLeast(_Constraint):
    """A constraint: `penalty` for each point by which a score is below `threshold`, nothing above it."""

    def contribution(self, scores: Scores) -> Scores:
        """What the constraint adds to the sum."""
        return self.penalty * np.minimum(scores - self.threshold, 0.0)


class AtMost(_Constraint):
    """A constraint: `penalty` for each point by which a score is above `threshold`, nothing below it."""

    def contribution(self, scores: Scores) -> Scores:
        """What the constraint adds to the sum."""
        return self.penalty * np.minimum(self.threshold - scores, 0.0)


Part = tuple[RewardFunction | Named, float] | AtLeast | AtMost


class Composite:
    """A sum of named reward functions, each `(reward_function, weight)` or a constraint.

    `Composite({"polite": (politeness, 1.0), "brevity": (length, -0.1), "safe": AtLeast(safety, 0.5, 10.0)})`

    A text environment reports each part's own score by its name in `info`. There a reward function may also be the
    string "gold", the task's own true score, or the name of a saved reward model.
    """

    def __init__(self, reward_functions: Mapping[str, Part]) -> None:
        if not isinstance(reward_functions, Mapping):
            raise TypeError(f"reward_functions is {reward_functions!r}: expected a mapping of names to {FORMS}")
        if not reward_functions:
            raise ValueError(f"reward_functions is empty: expected at least one name with {FORMS}")
        for name, part in reward_functions.items():
            _check(name, part)
        self.reward_functions: dict[str, Part] = dict(reward_functions)

    def parts(
        self, prompts: Sequence[str], responses: Sequence[str], known: Mapping[str, Scores] | None = None
    ) -> dict[str, Scores]:
        """Each part's unweighted scores by name; `known` has the scores of reward functions given by name."""
        found = {}
        for name, part in self.reward_functions.items():
            function = function_of(part)
            if isinstance(function, Composite):
                found[name] = function.combine(function.parts(prompts, responses, known))
            elif not isinstance(function, str | os.PathLike):
                found[name] = call_reward(function, prompts, responses, name)
            elif isinstance(function, str) and known is not None and function in known:
                found[name] = checked_scores(known[function], responses, name)
            else:
                raise ValueError(
                    f"reward_functions[{name!r}] is {function!r}, a name that only a text environment resolves: pass "
                    "a callable, such as textrlhf.reward_models.load_reward_model(name)"
                )
        return found

    def combine(self, parts: Mapping[str, Scores]) -> Scores:
        """Combine the parts' scores into one."""
        total: Scores = np.sum([_contribution(part, parts[name]) for name, part in self.reward_functions.items()], 0)
        return total

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Score each response."""
        return self.combine(self.parts(prompts, responses))

    @property
    def partial(self) -> bool:
        """Whether `partial_scores` works: at least one of the reward functions has it."""
        return any(gives_partial_scores(function_of(part)) for part in self.reward_functions.values())

    def partial_scores(
        self, prompts: Sequence[str], responses: Sequence[str], ends: Sequence[Sequence[int]]
    ) -> tuple[list[Scores], None]:
        """The sums of `responses[i][:end]` for each of `ends[i]`, over the reward functions that score beginnings.

        What the others add is known of whole responses only.
        """
        sums: list[Scores] = [np.zeros(len(some)) for some in ends]
        for name, part in self.reward_functions.items():
            function = function_of(part)
            if gives_partial_scores(function):
                found, _ = call_partial_scores(function, prompts, responses, ends, name)
                sums = [total + _contribution(part, one) for total, one in zip(sums, found, strict=True)]
        return sums, None

    def resolved(self, find: Callable[[str, Named], RewardFunction | Named]) -> Composite:
        """Return a copy in which `find(part, name)` replaces each reward function that is given by name."""
        return Composite({name: _resolved(name, part, find) for name, part in self.reward_functions.items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Composite) and self.reward_functions == other.reward_functions

    def __hash__(self) -> int:
        return hash(frozenset(self.reward_functions))

    def __repr__(self) -> str:
        return f"Composite({self.reward_functions!r})"


def function_of(part: Part) -> RewardFunction | Named:
    """The reward function of a part, without its weight or constraint."""
    return part[0] if isinstance(part, tuple) else part.reward_function


def _contribution(part: Part, scores: Scores) -> Scores:
    return part[1] * scores if isinstance(part, tuple) else part.contribution(scores)


def _resolved(name: str, part: Part, find: Callable[[str, Named], RewardFunction | Named]) -> Part:
    function = function_of(part)
    if isinstance(function, Composite):
        function = function.resolved(find)
    elif isinstance(function, str | os.PathLike):
        function = find(name, function)
    return (function, part[1]) if isinstance(part, tuple) else replace(part, reward_function=function)


def _check(name: object, part: object) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"reward_functions has a part named {name!r}: expected a non-empty string")
    if isinstance(part, AtLeast | AtMost):
        function = part.reward_function
    elif isinstance(part, tuple) and len(part) == 2 and is_number(part[1]):
        function = part[0]
    else:
        raise ValueError(f"reward_functions[{name!r}] is {part!r}: expected {FORMS}, the weight a finite number")
    if not (callable(function) or isinstance(function, str | os.PathLike)):
        raise TypeError(
            f"the reward function of {name!r} is {function!r}: expected a callable (prompts, responses) -> scores, or "
            "a name that a text environment resolves"
        )
