"""A text's score: by the task's own measure, or by whatever judge the user names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from ...reward_models import Composite, Judge, JudgeError, judged
from ...reward_models.composite import judge_of
from ...reward_models.judge import Named, Parted, checked_scores, judged_parts
from .task import Prompt, Scores, Task

GOLD = "gold"
TOLD = {"prompt", "response", "score", "kl", "length", "finish_reason", "forbidden", "feedback"}
TOLD |= {"ref_logprob", "eos", "action_mask", "unwritten"}


class Judging:
    """Scores and, by name, all else that is known of each text."""

    def __init__(self, judge: Judge | Named | None, task: Task, device: str = "auto") -> None:
        self.task, self.device = task, device
        self.uses_gold = False
        if judge is None:
            judge = GOLD if task.judge is None else task.judge
        if isinstance(judge, Composite):
            names = set(judge.judges)
            if GOLD in names and judge_of(judge.judges[GOLD]) == GOLD:
                names.remove(GOLD)  # what is told by this name is the true score
            _check_parts("the Composite", names)
            self.judge: Judge | Named = judge.resolved(self._found)
        else:
            self.judge = self._found("reward_model", judge)

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> tuple[Scores, dict[str, Scores]]:
        """Scores (n,), and the task's measures and the parts of a judge that has some, by name."""
        with _own_precision():
            return self._judged(prompts, responses)

    def _judged(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> tuple[Scores, dict[str, Scores]]:
        known = self._measures(prompts, responses)
        texts = [prompt.text for prompt in prompts]
        gold = {GOLD: _gold(known, responses)} if self.uses_gold else {}
        if isinstance(self.judge, str | os.PathLike):
            return gold[GOLD], known
        judge: object = self.judge
        if isinstance(judge, Composite):
            parts = judge.parts(texts, responses, gold)
        elif isinstance(judge, Parted):
            parts = judged_parts(judge, texts, responses)
            _check_parts("the reward_model", parts)
        else:
            return judged(self.judge, texts, responses), known
        return checked_scores(judge.combine(parts), responses), known | parts

    def _found(self, name: str, judge: object) -> Judge | Named:
        """The judge that the user means: a callable as it is, a name as the judge saved there, "gold" as itself."""
        if isinstance(judge, str) and judge == GOLD:
            if not self.task.has_gold:
                raise ValueError(f"{name} is missing: expected {self._accepted()}")
            self.uses_gold = True
            return GOLD
        if isinstance(judge, str | os.PathLike):
            from ...reward_models import load_judge

            try:
                saved: Judge = load_judge(judge, device=self.device)
            except ValueError as error:
                raise ValueError(
                    f"{name} is {judge!r}: expected {self._accepted()}. As a saved judge: {error}"
                ) from error
            return saved
        if callable(judge):
            return judge
        raise TypeError(f"{name} is {judge!r}: expected {self._accepted()}")

    def _accepted(self) -> str:
        gold = ', or "gold" for the task\'s own true score' if self.task.has_gold else ""
        return (
            "a callable (prompts, responses) -> scores, a textrlhf.reward_models.Composite of named ones, or the name "
            f"of a saved judge{gold}"
        )

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


@contextlib.contextmanager
def _own_precision() -> Iterator[None]:
    """No autocast, whatever the agent that steps this world computes in."""
    gpu = torch.accelerator.current_accelerator()
    with contextlib.ExitStack() as held:
        for device in ("cpu", gpu.type if gpu else "cuda"):
            if torch.is_autocast_enabled(device):
                held.enter_context(torch.autocast(device, enabled=False))
        yield


def _check_names(what: str, names: Iterable[str]) -> None:
    if taken := TOLD & set(names):
        raise ValueError(
            f"{what} is named {min(taken)!r}, which in a text's information means something else: give it a name that "
            f"is none of {', '.join(sorted(TOLD))}"
        )


def _check_parts(whose: str, names: Iterable[str]) -> None:
    names = set(names)
    _check_names(f"a part of {whose}", names)
    if GOLD in names:
        raise ValueError(f'a part of {whose} is named "gold", the name of the true score: give it another')


def _gold(known: dict[str, Scores], responses: Sequence[str]) -> Scores:
    return checked_scores(known.get(GOLD, np.full(len(responses), np.nan)), responses, "the task's gold score")
