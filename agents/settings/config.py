"""Hyperparameters: one dataclass per agent, used as keyword arguments, command line and saved `config.json`."""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import json
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from ...records.references import NotRecordableError, encode
from .habits import SCHEDULES, answer

Schedule = Literal["constant", "linear", "cosine"]
LANGUAGE_MODEL = "any language model"  # the key of the settings for environments with a reference model
C = TypeVar("C", bound="Config")
_COMPARE = {"at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt}


@dataclass(frozen=True)
class Config:
    """Hyperparameters of every agent."""

    n_envs: int = 8
    """number of parallel environments; more of them give the network larger batches"""
    seed: int | None = None
    """seed of weights, actions, minibatches and environments; if None, one is drawn and recorded"""
    device: str = "auto"
    """"cpu", "cuda" or "auto": CUDA for language models and images if available, else the CPU"""
    torch_threads: int | None = None
    """number of torch threads during training; if None, one for small networks, for which more are slower"""
    checkpoints: int = 10
    """number of times over a run that it is cut: environments are reset, so that a run resumed there ends with the same
    bits as an uninterrupted one. Fewer if less than two episodes would fit between two cuts. A cut is saved where that
    costs at most 5% of the time, or after ten minutes without"""
    checkpoint_every: int | None = None
    """steps between two cuts (summed over environments), instead of `checkpoints`"""

    given: ClassVar[frozenset[str]] = frozenset()
    """the fields that were set by name; an agent may choose other defaults for the rest, as on text"""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Record which fields are given; TypeError for an unknown one, with what to write instead."""
        config = super().__new__(cls)
        names = [field.name for field in dataclasses.fields(cls)]
        for name in kwargs:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
                guess = f"did you mean {near[0]!r}?" if near else f"accepted are {', '.join(names)}"
                raise TypeError(f"{cls.__name__} has no hyperparameter {name!r}: {answer(name, names) or guess}")
        object.__setattr__(config, "given", frozenset([*names[: len(args)], *kwargs]))
        return config

    def replace(self, *, given: bool = True, **changes: Any) -> Self:
        """A copy with other values, which count as given unless `given` is False."""
        copy = dataclasses.replace(self, **changes)
        object.__setattr__(copy, "given", self.given | (changes.keys() if given else set()))
        return copy

    def with_defaults(self, values: Mapping[str, Any]) -> Self:
        """A copy with other defaults: values for fields that were not given."""
        return self.replace(given=False, **{name: value for name, value in values.items() if name not in self.given})

    def with_envs(self, n_envs: int) -> Self:
        """A copy for another number of environments than was asked for."""
        return self.replace(given=False, n_envs=n_envs)

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
            elif isinstance(value, np.generic):
                object.__setattr__(self, field.name, value.item())
            value = getattr(self, field.name)
            if callable(value) and field.name in SCHEDULES:
                schedule = SCHEDULES[field.name]
                raise TypeError(
                    f'{field.name}={value!r}: accepted is a number, which {schedule}="linear" or "cosine" lowers to 0 '
                    "over training"
                )
            if not _fits(value, hints[field.name]):
                raise TypeError(f"{field.name}={value!r}: accepted is {_words(hints[field.name])}")
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{field.name}={value!r}: accepted is a finite number")
        self.check()

    def check(self) -> None:
        """Raise ValueError for a value out of range; subclasses extend it."""
        self.bounds("n_envs", "checkpoints", "checkpoint_every", "torch_threads", at_least=1)
        self.bounds("seed", at_least=0, below=2**32)

    def bounds(self, *names: str, **limits: float) -> None:
        """Raise ValueError if a field (each entry of a tuple) is not `at_least`, `above`, `at_most` or `below` a limit.

        None is accepted.
        """
        for name in names:
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else () if value is None else (value,):
                if not all(_COMPARE[how](number, limit) for how, limit in limits.items()):
                    accepted = " and ".join(f"{how.replace('_', ' ')} {limit}" for how, limit in limits.items())
                    none = "None or " if type(self).__dataclass_fields__[name].default is None else ""
                    raise ValueError(f"{name}={value!r}: accepted is {none}{accepted}")

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON."""
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            try:
                values[field.name] = encode(getattr(self, field.name))
            except NotRecordableError:  # a local function: loading then needs it as an argument
                values[field.name] = None
        return values


def make_config(kind: type[C], config: C | None = None, **hyperparameters: Any) -> C:
    """Build a config, or replace some fields of one."""
    if config is None:
        return kind(**hyperparameters)
    if isinstance(config, str):
        raise TypeError(f"config={config!r}: accepted is a {kind.__name__}; policy={config!r} chooses a network")
    if not isinstance(config, kind):
        raise TypeError(
            f"config is a {type(config).__name__}: accepted is a {kind.__name__}; hyperparameters are keywords"
        )
    return config.replace(**hyperparameters)


@dataclass(frozen=True)
class Tuned:
    """Tuned hyperparameters for an environment."""

    total_timesteps: int
    hyperparameters: dict[str, Any]
    why: str
    env_kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)  # the environment's arguments they assume
    unless: tuple[str, ...] = ()  # arguments of the environment for which they do not apply


def tuned_settings(agent: str) -> dict[str, Tuned]:
    """An agent's tuned hyperparameters, by environment id."""
    file = resources.files(__package__).joinpath("tuned").joinpath(f"{agent}.json")
    return {env_id: Tuned(**kept) for env_id, kept in json.loads(file.read_text()).items()} if file.is_file() else {}


def language_model_settings(agent: str) -> dict[str, Any]:
    """An agent's defaults in environments with a reference model."""
    known = tuned_settings(agent).get(LANGUAGE_MODEL)
    return dict(known.hyperparameters) if known else {}


def tuned_for(agent: str, env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> Tuned | None:
    """The tuned hyperparameters for an environment made with these arguments, or None."""
    known = tuned_settings(agent).get(env_id.rpartition(":")[2])
    if known and not set(known.unless).isdisjoint(env_kwargs or {}):
        return tuned_settings(agent)[LANGUAGE_MODEL]
    return known


def scheduled(value: float, schedule: Schedule, remaining: float) -> float:
    """A hyperparameter's value when a fraction `remaining` (1 to 0) of training is left."""
    if schedule == "linear":
        return value * remaining
    if schedule == "cosine":
        return value * 0.5 * (1 - math.cos(math.pi * remaining))
    return value


def _fits(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in args
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, args[0]) for item in value)
    if origin is collections.abc.Callable:
        return callable(value)
    if args:
        return any(_fits(value, arm) for arm in args)
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, hint)


def _words(hint: Any) -> str:
    args = get_args(hint)
    if get_origin(hint) is Literal:
        return " or ".join(repr(arg) for arg in args)
    if get_origin(hint) is tuple:
        return f"a tuple of {_words(args[0])}"
    if get_origin(hint) is collections.abc.Callable:
        return "a class or function"
    if args:
        return " or ".join(_words(arm) for arm in args)
    return "None" if hint is type(None) else str(hint.__name__)
