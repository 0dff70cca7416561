"""Several reward models of the same thing as one: what they agree on is worth more than what one of them says.

mean      the mean of the members' scores
worst     the lowest of them
cautious  mean − λ · variance over the members: what they disagree about is worth less
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records.folder import recovered, whole_folder
from .evaluation.metrics import sigmoid
from .reward_function import RewardFunction, Scores, call_reward

COMBINE = ("mean", "worst", "cautious")
FILE = "ensemble.json"
FORMAT = 1


class EnsembleError(ValueError):
    """A folder that holds no ensemble, and what to do about it."""


class Ensemble:
    """Reward models whose scores are on one scale: reward models are normalised first, each by samples of the
    reference.

    `combine` is "mean", "worst" or "cautious", whose λ is `penalty`. `name` is the folder it was loaded from.
    """

    def __init__(self, models: Sequence[RewardFunction], combine: str = "mean", penalty: float = 1.0) -> None:
        self.models = tuple(models)
        if not self.models:
            raise ValueError("reward models is empty: expected at least one reward model")
        for i, model in enumerate(self.models):
            if not callable(model):
                raise TypeError(f"reward models[{i}] is {model!r}: expected a callable (prompts, responses) -> scores")
        _check(combine, penalty)
        self.how, self.penalty = combine, float(penalty)
        self.name: str | None = None

    def members(self, prompts: Sequence[str], responses: Sequence[str]) -> NDArray[np.float64]:  # -> (k, n)
        """Each member's scores."""
        return np.stack(list(self.parts(prompts, responses).values()))

    def parts(self, prompts: Sequence[str], responses: Sequence[str]) -> dict[str, Scores]:
        """Each member's scores by name: "member_0" and so on."""
        names = [f"member_{i}" for i in range(len(self.models))]
        return {
            name: call_reward(model, prompts, responses, name) for name, model in zip(names, self.models, strict=True)
        }

    def combine(self, parts: Mapping[str, Scores]) -> Scores:
        """Combine the members' scores into one."""
        scores = np.stack([parts[f"member_{i}"] for i in range(len(self.models))])
        return combined(scores, self.how, self.penalty)

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Score each response."""
        return self.combine(self.parts(prompts, responses))

    __call__ = score

    @property
    def raw(self) -> Callable[[Sequence[str], Sequence[str]], Scores]:
        """The mean of the members' raw scores, whichever way `score` combines them; only where all have one."""
        for i, model in enumerate(self.models):
            if not callable(getattr(model, "raw", None)):
                raise AttributeError(
                    f"the ensemble has no raw score: member_{i}, {model!r}, has none; expected reward models alone"
                )
        return self._raw

    def _raw(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        models: Sequence[Any] = self.models
        raw = [call_reward(model.raw, prompts, responses, f"member_{i}.raw") for i, model in enumerate(models)]
        return combined(np.stack(raw), "mean")

    def probability(self, margins: Scores) -> Scores:
        """P(first is preferred) from differences of raw scores: what the members make of them, on average."""
        likely = [getattr(model, "probability", sigmoid) for model in self.models]
        return combined(np.stack([of(margins) for of in likely]), "mean")

    @property
    def lapse(self) -> float:
        """How often a person's choice is a slip: the members' mean."""
        return float(np.mean([getattr(model, "lapse", 0.0) for model in self.models]))

    @property
    def label_offset(self) -> float:
        """What makes a raw score the log-odds of being called good: the members' mean."""
        return float(np.mean([getattr(model, "label_offset", 0.0) for model in self.models]))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a folder with each member in a folder of its own, saved as the member saves itself."""
        models: Sequence[Any] = self.models
        for i, model in enumerate(models):
            if not callable(getattr(model, "save", None)):
                raise TypeError(
                    f"member_{i} is {model!r}, which has no save(folder): expected reward models; an ensemble of "
                    "functions is made anew where it is needed"
                )
        _refuse_to_replace(Path(path))
        members = [f"member-{i}" for i in range(len(models))]
        told = {"format": FORMAT, "members": members, "combine": self.how, "penalty": self.penalty}
        with whole_folder(path) as folder:
            for name, model in zip(members, models, strict=True):
                model.save(folder / name)
            (folder / FILE).write_text(json.dumps(told, indent=1, allow_nan=False))
        from .text.reward_model import forget

        place = os.path.abspath(path)
        for name in (place, *(os.path.join(place, name) for name in members)):
            forget(name)  # what lay there before

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], load_member: Callable[[Path], RewardFunction] | None = None
    ) -> Ensemble:
        """Read what `save` wrote; `load_member` reads one member's folder, by default a reward model."""
        folder = recovered(path)
        told = _read(folder)
        models: list[RewardFunction] = []
        for name in told["members"]:
            if not (folder / name).is_dir():
                raise EnsembleError(
                    f"{folder / FILE} names the member {name!r}, but {folder / name} is no folder: copy the ensemble "
                    "again, the whole folder"
                )
            if (folder / name / FILE).is_file():
                models.append(cls.load(folder / name, load_member))
            else:
                models.append((load_member or _load_reward_model)(folder / name))
        made = cls(models, told["combine"], told["penalty"])
        made.name = os.path.abspath(folder)
        return made

    def __repr__(self) -> str:
        return f"Ensemble({list(self.models)!r}, combine={self.how!r}, penalty={self.penalty!r})"


def combined(scores: NDArray[np.float64], how: str, penalty: float = 1.0) -> Scores:  # (k, n) -> (n,)
    """The members' scores as one, `how` being one of `COMBINE`."""
    if how == "worst":
        least: Scores = scores.min(0)
        return least
    mean: Scores = scores.mean(0)
    return mean - penalty * scores.var(0) if how == "cautious" else mean


def _check(combine: object, penalty: object) -> None:
    if combine not in COMBINE:
        raise ValueError(f"combine is {combine!r}: expected one of {', '.join(map(repr, COMBINE))}")
    number = isinstance(penalty, int | float | np.number) and not isinstance(penalty, bool)
    if not (number and math.isfinite(penalty) and penalty >= 0):  # type: ignore[arg-type, operator]
        raise ValueError(
            f"penalty is {penalty!r}: expected a finite number of at least 0, the λ of mean − λ · variance"
        )


def _load_reward_model(folder: Path) -> RewardFunction:
    from .text.reward_model import RewardModel

    return RewardModel.load(folder)


def _refuse_to_replace(folder: Path) -> None:
    """Only an ensemble (or nothing) may be replaced by one."""
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    foreign = sorted(name for name in names if name != FILE and not name.startswith("member-"))
    if foreign or (names and FILE not in names) or (folder.exists() and not folder.is_dir()):
        seen = f"it holds {', '.join(foreign[:3])}" if foreign else f"it has no {FILE}" if names else "it is a file"
        raise FileExistsError(f"{folder} exists and is not an ensemble ({seen}): name a folder that does not exist yet")


def _read(folder: Path) -> dict[str, Any]:
    """What `ensemble.json` says, if it is one that `save` wrote."""
    file = folder / FILE
    if not file.is_file():
        raise EnsembleError(f"no ensemble at {folder}: expected a folder with {FILE}, as Ensemble.save() writes it")
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EnsembleError(f"{file} cannot be read ({error}): copy the ensemble again, or save it anew") from error
    why = _wrong(told)
    if why:
        raise EnsembleError(
            f"{file} is none that Ensemble.save() wrote: {why}; copy the ensemble again, or save it anew"
        )
    known: dict[str, Any] = told
    return known


def _wrong(told: Any) -> str:
    """What keeps this from being an ensemble's file; nothing if it is one."""
    if not isinstance(told, dict):
        return f"it holds {told!r:.60}, not an object"
    if told.get("format") != FORMAT:
        return f"its format is {told.get('format')!r}, and this version reads {FORMAT}"
    members = told.get("members")
    if not (isinstance(members, list) and members and all(map(_is_folder_name, members))):
        return f"its members are {members!r:.60}, not a list of folders' names"
    try:
        _check(told.get("combine"), told.get("penalty"))
    except ValueError as error:
        return f"its {error}"
    return ""


def _is_folder_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")
