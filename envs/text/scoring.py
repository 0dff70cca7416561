"""The score of a text: the task's gold score, or the reward model or function that the user names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch

from ...reward_models import Composite, RewardFunction, RewardFunctionError, call_reward
from ...reward_models.composite import function_of
from ...reward_models.reward_function import (
    Named,
    Parted,
    call_partial_scores,
    call_reward_parts,
    checked_scores,
    gives_partial_scores,
)
from .task import Prompt, Scores, Task

GOLD = "gold"
NONE = "none"  # nothing is scored
RESERVED = {"prompt", "response", "score", "kl", "length", "finish_reason", "forbidden", "feedback"}
RESERVED |= {"ref_logprob", "eos", "action_mask", "unwritten", "credit"}


@contextlib.contextmanager
def _own_precision() -> Iterator[None]:
    """Disable the autocast of the agent that steps this environment."""
    gpu = torch.accelerator.current_accelerator()
    with contextlib.ExitStack() as held:
        for device in ("cpu", gpu.type if gpu else "cuda"):
            if torch.is_autocast_enabled(device):
                held.enter_context(torch.autocast(device, enabled=False))
        yield


class Scorer:
    """Scores texts and, by name, reports the task's measures and the reward's parts."""

    def __init__(self, reward_function: RewardFunction | Named | None, task: Task, device: str = "auto") -> None:
        self.task, self.device = task, device
        self.uses_gold = False
        self.scores = reward_function != NONE
        if reward_function is None:
            reward_function = GOLD if task.reward_model is None else task.reward_model
        if isinstance(reward_function, Composite):
            names = set(reward_function.reward_functions)
            if GOLD in names and function_of(reward_function.reward_functions[GOLD]) == GOLD:
                names.remove(GOLD)  # this part is the true score itself
            _check_parts("the Composite", names)
            self.reward_function: RewardFunction | Named = reward_function.resolved(self._found)
        else:
            self.reward_function = NONE if not self.scores else self._found("reward_model", reward_function)

    @_own_precision()
    def partial(
        self, prompts: Sequence[Prompt], responses: Sequence[str], ends: Sequence[Sequence[int]]
    ) -> tuple[list[Scores], Scores | None]:
        """Return the scores of `responses[i][:end]` for each of `ends[i]`, and of whole responses if known as well."""
        if not gives_partial_scores(self.reward_function):
            return [np.zeros(len(some)) for some in ends], None
        return call_partial_scores(self.reward_function, [prompt.text for prompt in prompts], responses, ends)

    def check_partial(self) -> None:
        """Raise ValueError where the reward function cannot say what the beginning of a text scores."""
        if self.scores and not gives_partial_scores(self.reward_function):
            raise ValueError(
                f'credit is "token", and the reward_model {self.reward_function!r} scores whole texts only: expected a '
                "learned reward model on a causal language model, an Ensemble of such, a Composite with one, or a "
                'callable with partial_scores(prompts, responses, ends); or leave credit at "end"'
            )

    @_own_precision()
    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[str], scores: Scores | None = None
    ) -> tuple[Scores, dict[str, Scores]]:
        """Return scores (n,) and, by name, the task's measures and the parts of a composite reward.

        `scores` are those of `partial`, where it knew them: the reward function is not asked again.
        """
        known = self._measures(prompts, responses)
        texts, gold = [prompt.text for prompt in prompts], {}
        if self.uses_gold:
            true_scores = known.get(GOLD, np.full(len(responses), np.nan))
            gold = {GOLD: checked_scores(true_scores, responses, "the task's gold score")}
        if not self.scores:
            return np.zeros(len(responses)), known
        if scores is not None:
            return scores, known
        if isinstance(self.reward_function, str | os.PathLike):
            return gold[GOLD], known
        reward_function: object = self.reward_function
        if isinstance(reward_function, Composite):
            parts = reward_function.parts(texts, responses, gold)
        elif isinstance(reward_function, Parted):
            parts = call_reward_parts(reward_function, texts, responses)
            _check_parts("the reward_model", parts)
        else:
            return call_reward(self.reward_function, texts, responses), known
        return checked_scores(reward_function.combine(parts), responses), known | parts

    def _found(self, name: str, reward_function: object) -> RewardFunction | Named:
        """Resolve a name: a saved reward model is loaded, "gold" stays, and so does a callable."""
        if isinstance(reward_function, str) and reward_function == GOLD:
            if not self.task.has_gold:
                raise ValueError(f"{name} is missing: expected {self._accepted()}")
            self.uses_gold = True
            return GOLD
        if isinstance(reward_function, str | os.PathLike):
            from ...reward_models import load_reward_model

            try:
                saved: RewardFunction = load_reward_model(reward_function, device=self.device)
            except ValueError as error:
                raise ValueError(
                    f"{name} is {reward_function!r}: expected {self._accepted()}. As a saved reward model: {error}"
                ) from error
            return saved
        if callable(reward_function):
            return reward_function
        raise TypeError(f"{name} is {reward_function!r}: expected {self._accepted()}")

    def _accepted(self) -> str:
        gold = ', or "gold" for the task\'s own true score' if self.task.has_gold else ""
        return (
            "a callable (prompts, responses) -> scores, a textrlhf.reward_models.Composite of named ones, the name of "
            f'a saved reward model, or "none" to score nothing{gold}'
        )

    def _measures(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> dict[str, Scores]:
        """The task's measures; NaN for a prompt that lacks what they need, so that no text depends on another."""
        can = [i for i, prompt in enumerate(prompts) if self.task.can_measure(prompt)]
        if not can:
            return {}
        scored = [responses[i] for i in can]
        known = {}
        try:
            measures = self.task.measure([prompts[i] for i in can], scored)
        except Exception as error:
            raise RewardFunctionError(
                f"the measures of the task {self.task.name!r} raised {type(error).__name__}: {error}; called with "
                f"{len(scored)} responses, the first {scored[0]!r}"
            ) from error
        _check_names(f"a measure of the task {self.task.name!r}", measures)
        for name, values in measures.items():
            known[name] = np.full(len(prompts), np.nan)
            known[name][can] = checked_scores(values, scored, f"the measure {name!r} of the task {self.task.name!r}")
        return known


def _check_names(what: str, names: Iterable[str]) -> None:
    if taken := RESERVED & set(names):
        raise ValueError(
            f"{what} is named {min(taken)!r}, a key that info uses otherwise: give it a name that is none of "
            f"{', '.join(sorted(RESERVED))}"
        )


def _check_parts(whose: str, names: Iterable[str]) -> None:
    names = set(names)
    _check_names(f"a part of {whose}", names)
    if GOLD in names:
        raise ValueError(f'a part of {whose} is named "gold", the name of the true score: rename it')
