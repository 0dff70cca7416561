"""Hyperparameters: one dataclass an agent, at once keyword arguments, command line and saved `config.json`."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

Schedule = Literal["constant", "linear", "cosine"]
LANGUAGE_MODEL = "any language model"  # under this name are the settings for environments that bring a reference model
C = TypeVar("C", bound="Config")


@dataclass(frozen=True)
class Config:
    """What every agent has."""

    n_envs: int = 8
    """environments stepped side by side; more of them feed the network fuller batches"""
    seed: int | None = None
    """one seed for weights, actions, minibatches and environments; drawn and recorded when left out"""
    device: str = "auto"
    """"cpu", "cuda" or "auto": CUDA for language models and images where there is one, else the CPU"""
    torch_threads: int | None = None
    """threads torch may use while learning; by default one for small networks, for which more are slower"""
    checkpoints: int = 10
    """how many times a run is cut and saved on its way, each a point from which it resumes bit for bit; fewer where
    two whole episodes would not fit between two cuts"""
    checkpoint_every: int | None = None
    """steps between two such cuts (all environments counted), in place of `checkpoints`"""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
            elif isinstance(value, np.generic):
                object.__setattr__(self, field.name, value.item())
            value = getattr(self, field.name)
            _check_type(field.name, value, hints[field.name])
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{field.name}={value!r}: accepted is a finite number")
        self.check()

    def check(self) -> None:
        """Raise ValueError for a value that makes no sense; agents add their own."""
        positive = ["n_envs", "checkpoints"]
        positive += [name for name in ("checkpoint_every", "torch_threads") if getattr(self, name) is not None]
        self.require(positive, lambda value: value >= 1, "at least 1")
        self.require(["seed"], lambda value: value is None or 0 <= value < 2**32, "None or 0 to 4294967295")

    def require(self, names: list[str], accepted: Any, meaning: str) -> None:
        """Refuse the first of the named values for which `accepted` is false."""
        for name in names:
            if not accepted(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r}: accepted is {meaning}")

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values


def make_config(kind: type[C], config: C | None = None, **hyperparameters: Any) -> C:
    """Build a config, or change some fields of one; a misspelt name is answered with the nearest."""
    names = [field.name for field in dataclasses.fields(kind)]
    for name in hyperparameters:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"accepted are {', '.join(names)}"
            raise TypeError(f"{kind.__name__} has no hyperparameter {name!r}: {hint}")
    if config is None:
        return kind(**hyperparameters)
    if isinstance(config, str):
        raise TypeError(f"the second argument is {config!r}: no policy is named there; the first is the environment")
    if not isinstance(config, kind):
        raise TypeError(f"config is a {type(config).__name__}: accepted is a {kind.__name__}")
    return dataclasses.replace(config, **hyperparameters)


@dataclass(frozen=True)
class Tuned:
    """What is kept for an environment."""

    total_timesteps: int
    hyperparameters: dict[str, Any]
    why: str
    env_kwargs: dict[str, Any] = dataclasses.field(
        default_factory=dict
    )  # arguments of the environment that go with them
    unless: tuple[str, ...] = ()  # arguments of the environment that make it another task


def tuned_settings(agent: str) -> dict[str, Tuned]:
    """Return what is kept for an agent, by environment id."""
    file = resources.files(__package__).joinpath("tuned").joinpath(f"{agent}.json")
    return {env_id: Tuned(**kept) for env_id, kept in json.loads(file.read_text()).items()} if file.is_file() else {}


def language_model_settings(agent: str) -> dict[str, Any]:
    """The hyperparameters an agent begins with in a environment that brings a reference model."""
    known = tuned_settings(agent).get(LANGUAGE_MODEL)
    return dict(known.hyperparameters) if known else {}


def tuned_for(agent: str, env_id: str, env_kwargs: Mapping[str, Any] | None = None) -> Tuned | None:
    """What is kept for an environment made with these arguments, if anything is."""
    known = tuned_settings(agent).get(env_id.rpartition(":")[2])
    if known and not set(known.unless).isdisjoint(env_kwargs or {}):
        return tuned_settings(agent)[LANGUAGE_MODEL]
    return known


def scheduled(value: float, schedule: Schedule, remaining: float) -> float:
    """A hyperparameter's value when the share `remaining` of training (1 to 0) lies ahead."""
    if schedule == "linear":
        return value * remaining
    if schedule == "cosine":
        return value * 0.5 * (1 - math.cos(math.pi * remaining))
    return value


def _check_type(name: str, value: Any, hint: Any) -> None:
    if not _fits(value, hint):
        raise TypeError(f"{name}={value!r}: accepted is {_words(hint)}")


def _fits(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in args
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, args[0]) for item in value)
    if args:
        return any(_fits(value, arm) for arm in args)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _words(hint: Any) -> str:
    args = get_args(hint)
    if get_origin(hint) is Literal:
        return " or ".join(repr(arg) for arg in args)
    if get_origin(hint) is tuple:
        return f"a tuple of {_words(args[0])}"
    if args:
        return " or ".join(_words(arm) for arm in args)
    return "None" if hint is type(None) else str(hint.__name__)
