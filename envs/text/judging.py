"""A text's score: by the task's own measure, or by whatever judge the user names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ...reward_models import Composite, Judge, JudgeError, judged
from ...reward_models.judge import checked_scores
from .task import Prompt, Scores, Task

GOLD = "gold"
TOLD = {"prompt", "response", "score", "kl", "length", "finish_reason", "forbidden", "feedback", "ref_logprob"}
TOLD |= {"action_mask", "unwritten"}


class Judging:
    """Scores and, by name, all else that is known of each text."""

    def __init__(self, judge: Judge | Composite | str | None, task: Task) -> None:
        self.task = task
        self.judge: Judge | Composite | str = GOLD if judge is None else judge
        parts = {name: part for name, (part, _) in judge.judges.items()} if isinstance(judge, Composite) else {}
        _check_names("a part of the Composite", parts)
        for name, part in {"reward_model": self.judge, **parts}.items():
            _check(name, part, task)
        if GOLD in parts and parts[GOLD] != GOLD:
            raise ValueError('a part of the Composite is named "gold", the name of the true score: give it another')
        self.uses_gold = GOLD in (self.judge, *parts.values())

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> tuple[Scores, dict[str, Scores]]:
        """Scores (n,), and the task's measures and a composite's parts by name."""
        known = self._measures(prompts, responses)
        texts = [prompt.text for prompt in prompts]
        if isinstance(self.judge, Composite):
            parts = {
                name: _gold(known, responses) if isinstance(judge, str) else judged(judge, texts, responses, name)
                for name, (judge, _) in self.judge.judges.items()
            }
            return self.judge.combine(parts), known | parts
        if isinstance(self.judge, str):
            return _gold(known, responses), known
        return judged(self.judge, texts, responses), known

    def _measures(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> dict[str, Scores]:
        """NaN where a prompt lacks what a measure needs: what is told of a text depends on no other text."""
        can = [i for i, prompt in enumerate(prompts) if self.task.can_measure(prompt)]
        if not can:
            return {}
        asked = [responses[i] for i in can]
        known = {}
        try:
            measures = self.task.measure([prompts[i] for i in can], asked)
        except Exception as error:
            raise JudgeError(
                f"the measures of the task {self.task.name!r} raised {type(error).__name__}: {error}; asked about "
                f"{len(asked)} responses, the first {asked[0]!r}"
            ) from error
        _check_names(f"a measure of the task {self.task.name!r}", measures)
        for name, values in measures.items():
            known[name] = np.full(len(prompts), np.nan)
            known[name][can] = checked_scores(values, asked, f"the measure {name!r} of the task {self.task.name!r}")
        return known


def _check_names(what: str, names: Iterable[str]) -> None:
    if taken := TOLD & set(names):
        raise ValueError(
            f"{what} is named {min(taken)!r}, which in a text's information means something else: give it a name that "
            f"is none of {', '.join(sorted(TOLD))}"
        )


def _gold(known: dict[str, Scores], responses: Sequence[str]) -> Scores:
    return checked_scores(known.get(GOLD, np.full(len(responses), np.nan)), responses, "the task's gold score")


def _check(name: str, judge: object, task: Task) -> None:
    if task.has_gold if judge == GOLD else callable(judge):
        return
    accepted = "a callable (prompts, responses) -> scores, or a textrlhf.reward_models.Composite of named ones"
    if task.has_gold:
        accepted += ', or "gold" for the task\'s own true score'
    seen = "missing" if judge == GOLD else repr(judge)
    raise (ValueError if isinstance(judge, str) else TypeError)(f"{name} is {seen}: expected {accepted}")
