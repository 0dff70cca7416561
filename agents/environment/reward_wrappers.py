"""Which wrappers of an environment may change rewards: penalties that are settled later would not pass through them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from gymnasium.vector.vector_env import VectorRewardWrapper

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


def changing_wrapper(env: VectorEnv[Any, Any, Any]) -> str | None:
    """The name of a wrapper of the batch or of its environments that may change rewards; None if there is none."""
    base: Any = env.unwrapped
    wrapped: Any
    if isinstance(base, AsyncVectorEnv):  # its environments are in other processes: look at one like them
        one = base.env_fns[0]()
        one.close()
        inner = [one]
    else:
        inner = base.envs if isinstance(base, SyncVectorEnv) else []
    for wrapped in (env, *inner):
        while wrapped is not wrapped.unwrapped:
            if changes_rewards(type(wrapped)):
                return type(wrapped).__name__
            wrapped = wrapped.env
    return None
