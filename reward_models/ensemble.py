"""Several reward models of the same judgements as one.

mean      the mean of the members' scores
worst     the lowest of them
cautious  mean − λ · variance over the members: a penalty for what they disagree about
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records.checks import one_of
from ..records.folder import check_replaceable, recovered, whole_folder
from .reward_function import (
    RewardFunction,
    Scores,
    call_partial_scores,
    call_reward,
    gives_partial_scores,
    is_number,
    sigmoid,
)
from .text.cache import forget
from .text.config import ENSEMBLE_FILE
from .text.reward_model import RewardModel

COMBINE = ("mean", "worst", "cautious")
FORMAT = 1


class EnsembleError(ValueError):
    """A folder without a usable ensemble."""


class Ensemble:
    """Reward models whose scores are on one scale: normalise each on texts of the reference model first.

    `combine` is "mean", "worst" or "cautious", whose λ is `penalty`. `name` is the folder it was loaded from.
    """

    def __init__(self, models: Sequence[RewardFunction], combine: str = "mean", penalty: float = 1.0) -> None:
        self.models: tuple[Any, ...] = tuple(models)
        if not self.models:
            raise ValueError("models is empty: expected at least one reward model")
        for i, model in enumerate(self.models):
            if not callable(model):
                raise TypeError(f"models[{i}] is {model!r}: expected a callable (prompts, responses) -> scores")
        check_combine(combine, penalty)
        self.how, self.penalty = combine, float(penalty)
        self.name: str | None = None

    def parts(self, prompts: Sequence[str], responses: Sequence[str]) -> dict[str, Scores]:
        """Each member's scores by name: "member_0" and so on."""
        named = [(f"member_{i}", model) for i, model in enumerate(self.models)]
        return {name: call_reward(model, prompts, responses, name) for name, model in named}

    def combine(self, parts: Mapping[str, Scores]) -> Scores:
        """Combine the members' scores into one."""
        scores = np.stack([parts[f"member_{i}"] for i in range(len(self.models))])
        return combined(scores, self.how, self.penalty)

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Score each response."""
        return self.combine(self.parts(prompts, responses))

    __call__ = score

    @property
    def partial(self) -> bool:
        """Whether `partial_scores` works: every member has it."""
        return all(map(gives_partial_scores, self.models))

    def partial_scores(
        self, prompts: Sequence[str], responses: Sequence[str], ends: Sequence[Sequence[int]]
    ) -> tuple[list[Scores], None]:
        """The combined scores of `responses[i][:end]` for each of `ends[i]`."""
        found = [
            call_partial_scores(model, prompts, responses, ends, f"member_{k}")[0]
            for k, model in enumerate(self.models)
        ]
        return [combined(np.stack(of), self.how, self.penalty) for of in zip(*found, strict=True)], None

    @property
    def raw(self) -> Callable[[Sequence[str], Sequence[str]], Scores]:
        """The mean of the members' raw scores, whatever `combine` is; an AttributeError where a member has none."""
        for i, model in enumerate(self.models):
            if not callable(getattr(model, "raw", None)):
                raise AttributeError(f"the ensemble has no raw scores: member_{i}, {model!r}, has none")
        return self._raw

    def _raw(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        raw = [call_reward(model.raw, prompts, responses, f"member_{i}.raw") for i, model in enumerate(self.models)]
        return combined(np.stack(raw), "mean")

    def probability(self, margins: Scores) -> Scores:
        """P(an annotator prefers the first) from differences of raw scores: the members' mean."""
        functions = [getattr(model, "probability", sigmoid) for model in self.models]
        return combined(np.stack([function(margins) for function in functions]), "mean")

    @property
    def lapse(self) -> float:
        """How often annotators choose the wrong one of two responses by accident: the members' mean."""
        return float(np.mean([getattr(model, "lapse", 0.0) for model in self.models]))

    @property
    def label_offset(self) -> float:
        """Raw score + label_offset are the log-odds of the label "good": the members' mean."""
        return float(np.mean([getattr(model, "label_offset", 0.0) for model in self.models]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a folder with each member in a folder of its own, as a whole or not at all."""
        for i, model in enumerate(self.models):
            if not callable(getattr(model, "save", None)):
                raise TypeError(f"member_{i} is {model!r}, which has no save(folder): only reward models can be saved")
        check_replaceable(path, ENSEMBLE_FILE, subfolders="member-*")
        members = [f"member-{i}" for i in range(len(self.models))]
        stored = {"format": FORMAT, "members": members, "combine": self.how, "penalty": self.penalty}
        with whole_folder(path) as folder:
            for name, model in zip(members, self.models, strict=True):
                model.save(folder / name)
            (folder / ENSEMBLE_FILE).write_text(json.dumps(stored, indent=1, allow_nan=False))
        forget(os.path.abspath(path))

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], load_member: Callable[[Path], RewardFunction] = RewardModel.load
    ) -> Ensemble:
        """Load what `save` wrote; `load_member` loads one member's folder."""
        folder = recovered(path)
        stored = _read(folder)
        models: list[RewardFunction] = []
        for name in stored["members"]:
            if not (folder / name).is_dir():
                raise EnsembleError(
                    f"{folder / ENSEMBLE_FILE} names the member {name!r}, and there is no folder {folder / name}: "
                    "copy the whole ensemble again"
                )
            nested = (folder / name / ENSEMBLE_FILE).is_file()
            models.append(cls.load(folder / name, load_member) if nested else load_member(folder / name))
        ensemble = cls(models, stored["combine"], stored["penalty"])
        ensemble.name = os.path.abspath(folder)
        return ensemble

    def __repr__(self) -> str:
        return f"Ensemble({list(self.models)!r}, combine={self.how!r}, penalty={self.penalty!r})"


def combined(scores: NDArray[np.float64], how: str, penalty: float = 1.0) -> Scores:  # (k, n) -> (n,)
    """The members' scores as one, `how` being one of `COMBINE`."""
    if how == "worst":
        least: Scores = scores.min(0)
        return least
    mean: Scores = scores.mean(0)
    return mean - penalty * scores.var(0) if how == "cautious" else mean


def check_combine(combine: object, penalty: object = 1.0) -> None:
    """Raise a ValueError where an ensemble cannot combine scores so."""
    one_of("combine", combine, COMBINE)
    if not (is_number(penalty) and penalty >= 0):
        raise ValueError(
            f"penalty is {penalty!r}: expected a finite number of at least 0, the λ of mean − λ · variance"
        )


def _read(folder: Path) -> dict[str, Any]:
    """The contents of an ensemble's `ensemble.json`, validated."""
    file = folder / ENSEMBLE_FILE
    if not file.is_file():
        raise EnsembleError(f"no ensemble at {folder}: expected a folder with {ENSEMBLE_FILE}, see Ensemble.save()")
    try:
        stored: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if stored["format"] != FORMAT:
            raise ValueError(f"format is {stored['format']!r}: this version of textrlhf reads {FORMAT}")
        members = stored["members"]
        if not (isinstance(members, list) and members and all(map(_is_folder_name, members))):
            raise ValueError(f"members is {members!r:.60}: expected a list of folder names")
        check_combine(stored["combine"], stored["penalty"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise EnsembleError(f"{file} cannot be read ({error!r}): copy the ensemble again, or save it again") from error
    return stored


def _is_folder_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")
