"""Whether an environment was changed after it was made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

IGNORED = {"render_mode", "metadata", "spec", "np_random", "np_random_seed"}
SECONDS = 0.5  # of playing, to see which attributes an episode changes


def changed_attributes(env: gym.Env[Any, Any], spec: EnvSpec) -> dict[str, Any]:
    """The public attributes of the innermost environment that differ from one made anew, with their values.

    Compared are numbers, strings, arrays and containers of these, except what an episode changes by itself.
    """
    fresh = gym.make(spec, disable_env_checker=True).unwrapped
    try:
        mine, theirs = _attributes(env.unwrapped), _attributes(fresh)
        different = [name for name in mine if name in theirs and not _same(mine[name], theirs[name])]
        if different:
            fresh.reset(seed=0)
            until, ended = time.monotonic() + SECONDS, False
            while not ended and time.monotonic() < until:
                _, _, terminated, truncated, _ = fresh.step(fresh.action_space.sample())
                ended = terminated or truncated
            played = _attributes(fresh)
            different = [name for name in different if name in played and _same(theirs[name], played[name])]
        return {name: mine[name] for name in different}
    finally:
        fresh.close()


def _attributes(env: gym.Env[Any, Any]) -> dict[str, Any]:
    found = {name: value for name, value in vars(env).items() if name[0] != "_" and name not in IGNORED}
    if hasattr(env, "kl_coef"):  # a property of text environments
        found["kl_coef"] = env.kl_coef
    return {name: value for name, value in found.items() if _plain(value)}


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_plain, value))
    if isinstance(value, Mapping):
        return all(map(_plain, value.values()))
    return value is None or isinstance(value, bool | int | float | str | np.generic | np.ndarray)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f")
    return type(one) is type(other) and (one == other or one != one)
