"""Which wrappers of an environment see or change rewards: what is settled later does not pass through them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from gymnasium.vector.vector_env import VectorRewardWrapper

# Gymnasium's wrappers that look neither at rewards nor at infos.
BLIND = ("OrderEnforcing", "PassiveEnvChecker", "TimeLimit")
# Of Gymnasium's wrappers that are no RewardWrapper: one scales rewards, the others sum those of several steps.
CHANGING = ("NormalizeReward", "AtariPreprocessing", "MaxAndSkipObservation", "RepeatAction")


def changes_rewards(wrapper: type[Any]) -> bool:
    """Whether a wrapper may change rewards: as it says itself, else unless Gymnasium's code steps it and is known."""
    if (said := getattr(wrapper, "changes_rewards", None)) is not None:
        return bool(said)
    steps = next(kind for kind in wrapper.__mro__ if "step" in vars(kind))
    if not steps.__module__.startswith("gymnasium."):
        return True
    return issubclass(wrapper, gym.RewardWrapper | VectorRewardWrapper) or steps.__name__ in CHANGING


def wrappers_of(env: VectorEnv[Any, Any, Any]) -> list[type[Any]]:
    """The wrappers of a batch and of its environments."""
    base: Any = env.unwrapped
    wrapped: Any
    if isinstance(base, AsyncVectorEnv):  # its environments are in other processes: look at one like them
        one = base.env_fns[0]()
        one.close()
        inner = [one]
    else:
        inner = base.envs if isinstance(base, SyncVectorEnv) else []
    found: list[type[Any]] = []
    for wrapped in (env, *inner):
        while wrapped is not wrapped.unwrapped:
            found.append(type(wrapped))
            wrapped = wrapped.env
    return list(dict.fromkeys(found))
