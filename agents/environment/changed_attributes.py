"""Whether an environment was changed after it was made."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

IGNORED = {"render_mode", "metadata", "spec", "np_random", "np_random_seed", "closed", "autoreset_mode"}
SECONDS = 0.5  # of playing, to see which attributes an episode changes


def changed_attributes(env: gym.Env[Any, Any] | VectorEnv[Any, Any, Any], spec: EnvSpec) -> dict[str, Any]:
    """The public attributes of the innermost environment that differ from one made anew, with their values.

    Compared are numbers, strings, arrays, containers of these and methods that were replaced, except what an episode
    changes by itself.
    """
    fresh = _fresh(env, spec)
    try:
        mine = _attributes(env.unwrapped)
        different = [name for name, value in mine.items() if not _same(value, getattr(fresh, name, None))]
        if different:
            before = {name: getattr(fresh, name, None) for name in different}
            _play(fresh)
            played = _attributes(fresh)
            different = [name for name in different if name not in played or _same(before[name], played[name])]
        return {name: mine[name] for name in different}
    finally:
        fresh.close()


def _fresh(env: Any, spec: EnvSpec) -> Any:
    if not isinstance(env, VectorEnv):
        return gym.make(spec, disable_env_checker=True).unwrapped
    kwargs = {name: value for name, value in spec.kwargs.items() if name not in ("num_envs", "vectorization_mode")}
    plain = EnvSpec(spec.id, spec.entry_point, max_episode_steps=spec.max_episode_steps, kwargs=kwargs)
    plain.vector_entry_point = spec.vector_entry_point
    return gym.make_vec(plain, num_envs=env.num_envs).unwrapped


def _play(env: Any) -> None:
    env.reset(seed=0)
    until, ended = time.monotonic() + SECONDS, False
    while not ended and time.monotonic() < until:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        ended = bool(np.any(terminated | truncated))


def _attributes(env: Any) -> dict[str, Any]:
    """Those set on the object, also in place of what its class has."""
    found = {name: value for name, value in vars(env).items() if name[0] != "_" and name not in IGNORED}
    if hasattr(env, "kl_coef"):  # a property of text environments
        found["kl_coef"] = env.kl_coef
    return {name: value for name, value in found.items() if _plain(value) or _is_method(env, name, value)}


def _is_method(env: Any, name: str, value: Any) -> bool:
    return callable(value) and callable(getattr(type(env), name, None))


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
