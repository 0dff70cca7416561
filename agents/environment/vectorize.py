"""Make a vector environment from an id, an environment or a vector environment; reach the environments inside it."""

from __future__ import annotations

import copy
import importlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, registry
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

EnvLike = str | gym.Env[Any, Any] | VectorEnv[Any, Any, Any]
Recipe = dict[str, Any]  # {"id", "kwargs"}: how to make the environment again, as JSON

log = logging.getLogger("textrlhf")
_BATCH_KWARGS = {"num_envs", "vectorization_mode", "vector_kwargs", "wrappers"}


@dataclass
class Vectorized:
    """A vector environment, how to make it again (None if unknown), and whether the agent has to close it."""

    env: VectorEnv[Any, Any, Any]
    recipe: Recipe | None
    owned: bool
    max_episode_steps: int | None = None


def vectorize(env: EnvLike, n_envs: int, kwargs: Mapping[str, Any] | None = None) -> Vectorized:
    """Make `n_envs` copies of an id or an environment; a vector environment is used as it is."""
    if isinstance(env, VectorEnv):
        inner = env.unwrapped.envs[0].spec if isinstance(env.unwrapped, SyncVectorEnv) else None
        return Vectorized(env, _recipe(env.spec) if env is env.unwrapped else None, False, _limit(env.spec or inner))
    if isinstance(env, str):
        spec = _find(env)
        made = _make(spec, n_envs, dict(kwargs or {}))
        return Vectorized(made, _recipe(spec, kwargs), True, (kwargs or {}).get("max_episode_steps", _limit(spec)))
    if not isinstance(env, gym.Env):
        raise TypeError(
            f"env is {env!r}: accepted are an environment's id, a gymnasium.Env and a gymnasium.vector.VectorEnv"
        )
    if n_envs > 1 and env.spec is not None and all(w.kwargs is not None for w in env.spec.additional_wrappers):
        log.warning("n_envs=%d: making %d of %s from its spec", n_envs, n_envs, env.spec.id)
        spec = copy.deepcopy(env.spec)
        spec.kwargs.pop("render_mode", None)  # training environments do not render
        return Vectorized(_make(spec, n_envs, {}), _recipe(spec), True, _limit(spec))
    if n_envs > 1:
        why = "one of its wrappers lacks gymnasium.utils.RecordConstructorArgs" if env.spec else "it has no spec"
        log.warning("n_envs=%d, but no more of %s can be made (%s): using the one given", n_envs, env, why)
    single = SyncVectorEnv([lambda: env], autoreset_mode=AutoresetMode.SAME_STEP)
    return Vectorized(single, _recipe(env.spec), False, _limit(env.spec))


def remake(recipe: Recipe, n_envs: int, changes: Mapping[str, Any] | None = None) -> Vectorized:
    """Make an environment again, with some arguments changed; only registered ids, since importing runs code."""
    if recipe["id"] not in registry:
        raise ValueError(
            f"the environment {recipe['id']!r} is not registered: import the package that registers it, or pass env=…"
        )
    return vectorize(str(recipe["id"]), n_envs, {**recipe["kwargs"], **(changes or {})})


def _find(env_id: str) -> EnvSpec:
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gym.spec(name)


def _make(spec: EnvSpec, n_envs: int, kwargs: dict[str, Any]) -> VectorEnv[Any, Any, Any]:
    single = spec.additional_wrappers or not _BATCH_KWARGS.isdisjoint(kwargs)  # these apply to single environments
    if spec.vector_entry_point is not None and not single:
        return gym.make_vec(spec, num_envs=n_envs, **kwargs)
    same_step = {"autoreset_mode": AutoresetMode.SAME_STEP}
    ours = {"vectorization_mode": "sync", "vector_kwargs": same_step}
    return gym.make_vec(spec, num_envs=n_envs, **{**ours, **kwargs})


def _recipe(spec: EnvSpec | None, kwargs: Mapping[str, Any] | None = None) -> Recipe | None:
    if spec is None:
        return None
    given = {**spec.kwargs, **(kwargs or {})}
    if spec.additional_wrappers or given.get("wrappers"):
        return None
    own = {k: v for k, v in given.items() if k not in _BATCH_KWARGS | {"render_mode"}}
    registered = registry.get(spec.id)
    if registered is not None and spec.max_episode_steps != registered.max_episode_steps:
        if spec.max_episode_steps is None:
            return None  # a removed limit: vector environments have no argument for that
        own.setdefault("max_episode_steps", spec.max_episode_steps)
    try:
        return {"id": spec.id, "kwargs": json.loads(json.dumps(own))}
    except TypeError:
        return None


def _limit(spec: EnvSpec | None) -> int | None:
    return spec.max_episode_steps if spec else None


class EnvAttributes:
    """Reads, sets and calls attributes through wrappers and worker processes.

    A native vector environment has one attribute for all slots; Sync- and AsyncVectorEnv have one per environment.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        self.base: Any = env.unwrapped
        self.native = not callable(getattr(self.base, "call", None))

    def has(self, name: str) -> bool:
        """Whether every environment has the attribute."""
        if self.native:
            return hasattr(self.base, name)
        return all(self.base.call("has_wrapper_attr", name))

    def get(self, name: str) -> Any:
        """The attribute of a native vector environment, else of the first environment."""
        return getattr(self.base, name) if self.native else self.base.get_attr(name)[0]

    def set(self, name: str, values: Any) -> None:
        """Set the attribute; `values` has one entry per environment."""
        if self.native:
            setattr(self.base, name, values)
        else:
            self.base.set_attr(name, list(values))

    def call(self, name: str) -> Any:
        """Call a method without arguments; the result has one entry per environment."""
        return getattr(self.base, name)() if self.native else self.base.call(name)

    def call_each(self, name: str, arguments: Sequence[Any]) -> bool:
        """Call a method with one argument per environment; False if that is impossible (worker processes)."""
        if self.native:
            getattr(self.base, name)(arguments)
        elif isinstance(self.base, SyncVectorEnv):
            for env, argument in zip(self.base.envs, arguments, strict=True):
                env.get_wrapper_attr(name)(argument)
        else:
            return False
        return True
