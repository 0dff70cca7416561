"""Which wrappers of an environment may change rewards: penalties that are settled later would not pass through them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import SyncVectorEnv, VectorEnv
from gymnasium.vector.vector_env import VectorRewardWrapper

from .attributes import EnvAttributes

# Of Gymnasium's wrappers that are no RewardWrapper: one scales rewards, the others sum those of several steps.
CHANGING = ("NormalizeReward", "AtariPreprocessing", "MaxAndSkipObservation", "RepeatAction")
_NAMED = re.compile(r"<(\w+)(?=<)")  # "<TransformReward<TimeLimit<TextEnv instance>>>"


def changes_rewards(wrapper: type[Any]) -> bool:
    """Whether a wrapper may change rewards: as it says itself, else unless Gymnasium's code steps it and is known."""
    if (said := getattr(wrapper, "changes_rewards", None)) is not None:
        return bool(said)
    steps = next(kind for kind in wrapper.__mro__ if "step" in vars(kind))
    if not steps.__module__.startswith("gymnasium."):
        return True
    return issubclass(wrapper, gym.RewardWrapper | VectorRewardWrapper) or steps.__name__ in CHANGING


def changing_wrapper(env: VectorEnv[Any, Any, Any]) -> str | None:
    """The name of a wrapper of the batch or of its environments that may change rewards; None if there is none."""
    if found := _first(_kinds(env)):
        return found
    base: Any = env.unwrapped
    if isinstance(base, SyncVectorEnv):
        return next((found for one in base.envs if (found := _first(_kinds(one)))), None)
    return None if EnvAttributes(env).native else _in_worker(base)


def _kinds(env: Any) -> Iterator[type[Any]]:
    while env is not env.unwrapped:
        yield type(env)
        env = env.env


def _first(kinds: Iterator[type[Any]]) -> str | None:
    return next((kind.__name__ for kind in kinds if changes_rewards(kind)), None)


def _in_worker(base: Any) -> str | None:
    """As `changing_wrapper`, of environments in other processes: these are known by their spec or by name only."""
    spec = base.call("spec")[0]
    if spec is not None:
        named = [wrapper.entry_point for wrapper in spec.additional_wrappers]
        return next((name.rpartition(":")[2] for name in named if _may_change(name)), None)
    names = _NAMED.findall(base.call("__str__")[0])
    return next((name for name in names if _may_change(f"gymnasium.wrappers:{name}")), None)


def _may_change(entry_point: str) -> bool:
    module, _, name = entry_point.partition(":")
    try:
        loaded = sys.modules.get(module)
        return changes_rewards(getattr(loaded, name) if loaded else load_env_creator(entry_point))  # type: ignore[arg-type]
    except (ImportError, AttributeError):
        return True
