"""Several judges as one, each with a say of its own: weighted sums, and constraints with a price."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .reward_function import Judge, Named, Scores, checked_scores, judged


@dataclass(frozen=True)
class _Constraint:
    judge: Judge | Named
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


Part = tuple[Judge | Named, float] | AtLeast | AtMost


class Composite:
    """A sum of named judges, each `(judge, weight)` or a constraint.

    `Composite({"polite": (judge, 1.0), "brevity": (length, -0.1), "safe": AtLeast(safety, 0.5, 10.0)})`

    Each part's own score is shown by its name in the information of the text it judged. In a text world a judge may
    also be the string "gold", the task's own true score, or the name of a saved judge.
    """

    def __init__(self, judges: Mapping[str, Part]) -> None:
        if not isinstance(judges, Mapping):
            raise TypeError(f"judges is {judges!r}: expected names with (judge, weight), AtLeast(…) or AtMost(…)")
        if not judges:
            raise ValueError(
                "judges is empty: expected at least one name with (judge, weight), AtLeast(…) or AtMost(…)"
            )
        for name, part in judges.items():
            _check(name, part)
        self.judges: dict[str, Part] = dict(judges)

    def parts(
        self, prompts: Sequence[str], responses: Sequence[str], known: Mapping[str, Scores] | None = None
    ) -> dict[str, Scores]:
        """Each judge's scores by name, unweighted; `known` are the scores of a judge that is only named."""
        found = {}
        for name, part in self.judges.items():
            judge = judge_of(part)
            if isinstance(judge, Composite):
                found[name] = judge.combine(judge.parts(prompts, responses, known))
            elif not isinstance(judge, str | os.PathLike):
                found[name] = judged(judge, prompts, responses, name)
            elif isinstance(judge, str) and known is not None and judge in known:
                found[name] = checked_scores(known[judge], responses, name)
            else:
                raise ValueError(
                    f"judges[{name!r}] is {judge!r}, which only a text world knows: expected a callable, such as "
                    "textrlhf.reward_models.load_judge(name) gives"
                )
        return found

    def combine(self, parts: Mapping[str, Scores]) -> Scores:
        """Combine the parts' scores into one."""
        total: Scores = np.sum([_worth(part, parts[name]) for name, part in self.judges.items()], 0)
        return total

    def __call__(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Score each response."""
        return self.combine(self.parts(prompts, responses))

    def resolved(self, find: Callable[[str, Named], Judge | Named]) -> Composite:
        """The same, each judge that is only named being what `find(part, judge)` gives for it."""
        return Composite({name: _resolved(name, part, find) for name, part in self.judges.items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Composite) and self.judges == other.judges

    def __hash__(self) -> int:
        return hash(frozenset(self.judges))

    def __repr__(self) -> str:
        return f"Composite({self.judges!r})"


def judge_of(part: Part) -> Judge | Named:
    """The judge of a part, whatever is made of its score."""
    return part[0] if isinstance(part, tuple) else part.judge


def _worth(part: Part, scores: Scores) -> Scores:
    return part[1] * scores if isinstance(part, tuple) else part.worth(scores)


def _resolved(name: str, part: Part, find: Callable[[str, Named], Judge | Named]) -> Part:
    judge = judge_of(part)
    if isinstance(judge, Composite):
        judge = judge.resolved(find)
    elif isinstance(judge, str | os.PathLike):
        judge = find(name, judge)
    return (judge, part[1]) if isinstance(part, tuple) else type(part)(judge, part.threshold, part.penalty)


def _check(name: object, part: object) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"judges has a part named {name!r}: expected a string, as which its score is told")
    if isinstance(part, AtLeast | AtMost):
        judge = part.judge
    elif isinstance(part, tuple) and len(part) == 2 and _is_finite(part[1]):
        judge = part[0]
    else:
        raise ValueError(
            f"judges[{name!r}] is {part!r}: expected (judge, weight), the weight a finite number, or AtLeast(judge, "
            "threshold, penalty), or AtMost"
        )
    if not (callable(judge) or isinstance(judge, str | os.PathLike)):
        raise TypeError(
            f"the judge of {name} is {judge!r}: expected a callable (prompts, responses) -> scores, or a name that a "
            "text world knows"
        )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and math.isfinite(value)
