"""Make a vector environment from an id, an environment, a vector environment or a factory."""

from __future__ import annotations

import contextlib
import copy
import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, WrapperSpec, registry
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TimeLimit

from ...records.interruption import without_interrupts
from ...records.references import NotRecordableError, decode, encode, load_module, load_reference, reference_to
from .attributes import EnvAttributes
from .changed_attributes import changed_attributes
from .recipe import Recipe, absolute_paths, imports

AnyEnv = gym.Env[Any, Any]
EnvLike = str | AnyEnv | VectorEnv[Any, Any, Any] | Callable[..., AnyEnv]
Again = Callable[[int, Mapping[str, Any]], "Vectorized"]  # (how many, changed arguments) -> new environments

log = logging.getLogger("textrlhf")
_BATCH_KWARGS = {"num_envs", "vectorization_mode", "vector_kwargs", "wrappers"}
_RECORDERS = {"RecordVideo", "HumanRendering", "RenderCollection"}  # only the user's own environment shows itself
_SAME_STEP = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": AutoresetMode.SAME_STEP}}


class CannotRemakeError(ValueError):
    """An environment of which no further one can be made."""


@dataclass
class Vectorized:
    """A vector environment, and how more of it are made."""

    env: VectorEnv[Any, Any, Any]
    recipe: Recipe | None  # how another process makes it
    owned: bool  # whether the agent has to close it
    max_episode_steps: int | None = None
    again: Again | None = None  # how this process makes more, for evaluation; None: impossible
    why: str = ""  # why there is no recipe

    def __post_init__(self) -> None:
        inner: Any = next(iter(getattr(self.env.unwrapped, "envs", ())), None)
        while self.max_episode_steps is None and isinstance(inner, gym.Wrapper):  # no spec: look for its wrapper
            if isinstance(inner, TimeLimit):
                self.max_episode_steps = inner._max_episode_steps
            inner = inner.env

    @classmethod
    def of(
        cls, env: VectorEnv[Any, Any, Any], source: Source, *, owned: bool, max_episode_steps: int | None
    ) -> Vectorized:
        """A vector environment from a source, whose paths are made absolute."""
        recipe, why = source.recipe()
        attributes = EnvAttributes(env)
        if recipe and attributes.has("path_arguments"):
            recipe["kwargs"] = absolute_paths(recipe["kwargs"], attributes.get("path_arguments"))
        return cls(env, recipe, owned, max_episode_steps, source.again, why)


@dataclass
class Source:
    """What more environments are made from: a spec or a factory, with arguments."""

    origin: EnvSpec | Callable[..., AnyEnv]
    kwargs: Mapping[str, Any]
    module: str = ""  # that registers the id

    def again(self, n_envs: int, changes: Mapping[str, Any] | None = None) -> Vectorized:
        """Make `n_envs` environments, with some arguments changed."""
        source = Source(self.origin, {**self.kwargs, **(changes or {})}, self.module)
        return Vectorized.of(source.make(n_envs), source, owned=True, max_episode_steps=source.limit)

    def make(self, n_envs: int, first: AnyEnv | None = None) -> VectorEnv[Any, Any, Any]:
        """A vector environment, with `first` in its first slot."""
        kwargs, origin = dict(self.kwargs), self.origin
        own = {name: kwargs.pop(name) for name in _BATCH_KWARGS & kwargs.keys()}
        if isinstance(origin, EnvSpec) and first is None:
            endless = kwargs.get("max_episode_steps") == -1  # for single environments only, as are wrappers
            if origin.vector_entry_point is not None and not (origin.additional_wrappers or own or endless):
                return gym.make_vec(origin, num_envs=n_envs, **kwargs)
            with without_interrupts() if "vectorization_mode" in own else contextlib.nullcontext():
                return gym.make_vec(origin, num_envs=n_envs, **{**_SAME_STEP, **own}, **kwargs)

        def one() -> AnyEnv:
            made = gym.make(origin, **kwargs) if isinstance(origin, EnvSpec) else origin(**kwargs)
            if not isinstance(made, gym.Env):
                raise TypeError(f"env is {origin!r}, which returned {made!r}: accepted is a function that returns a "
                                "gymnasium.Env")  # fmt: skip
            return made

        given = [] if first is None else [lambda: first]
        vector_kwargs = own.get("vector_kwargs", _SAME_STEP["vector_kwargs"])
        return SyncVectorEnv([*given, *[one] * (n_envs - len(given))], **vector_kwargs)

    @property
    def limit(self) -> int | None:
        """The most steps of an episode, if it is known."""
        spec_limit = self.origin.max_episode_steps if isinstance(self.origin, EnvSpec) else None
        limit = self.kwargs.get("max_episode_steps", spec_limit)
        return None if limit == -1 else limit

    def recipe(self) -> tuple[Recipe | None, str]:
        """The recipe, or None and the reason."""
        kwargs = {name: value for name, value in self.kwargs.items() if name not in _BATCH_KWARGS | {"render_mode"}}
        try:
            if self.kwargs.get("wrappers"):
                raise NotRecordableError(
                    "wrappers= is not stored: put them into a factory, or apply them to an instance"
                )
            if not isinstance(self.origin, EnvSpec):
                return {"factory": reference_to(self.origin), "kwargs": encode(kwargs)}, ""
            return self._spec_recipe(self.origin, kwargs), ""
        except NotRecordableError as error:
            return None, str(error)

    def _spec_recipe(self, spec: EnvSpec, kwargs: dict[str, Any]) -> Recipe:
        hidden = _BATCH_KWARGS | (set() if spec.additional_wrappers else {"render_mode"})  # a wrapper may need it
        own = {name: value for name, value in spec.kwargs.items() if name not in hidden}
        registered = registry.get(spec.id)
        if spec.max_episode_steps != (registered.max_episode_steps if registered else None):
            own.setdefault("max_episode_steps", -1 if spec.max_episode_steps is None else spec.max_episode_steps)
        recipe: Recipe = {"id": spec.id, "kwargs": encode({**own, **kwargs})}
        if self.module:
            recipe["module"] = self.module
        elif registered is None:
            recipe["entry_point"] = (
                spec.entry_point if isinstance(spec.entry_point, str) else reference_to(spec.entry_point)
            )
        if spec.additional_wrappers:
            recipe["wrappers"] = [
                {"entry_point": wrapper.entry_point, "kwargs": encode(wrapper.kwargs, wrapper.name)}
                for wrapper in spec.additional_wrappers
            ]
        return recipe


def vectorize(
    env: EnvLike, n_envs: int, kwargs: Mapping[str, Any] | None = None, *, exactly: bool = True
) -> Vectorized:
    """Make a vector environment; one that is given is used as it is, and a single one given is its first slot.

    Where no more of a single environment can be made, `exactly` is whether that is an error, or just one is used.
    """
    if isinstance(env, VectorEnv):
        return _given_batch(env)
    if isinstance(env, str):
        return _named(env, dict(kwargs or {})).again(n_envs)
    if isinstance(env, gym.Env):
        return _given_env(env, n_envs, exactly)
    if not callable(env) or isinstance(env, gym.Space):
        raise TypeError(
            f"env is {env!r}: accepted are an environment's id, a gymnasium.Env, a gymnasium.vector.VectorEnv and a "
            "function that returns a gymnasium.Env"
        )
    return Source(env, dict(kwargs or {})).again(n_envs)


def remake(recipe: Recipe, n_envs: int, changes: Mapping[str, Any] | None = None, *, trust: bool = False) -> Vectorized:
    """Make an environment again; without `trust` only from registered ids and Gymnasium's wrappers."""
    if not trust and (named := imports(recipe)):
        raise ValueError(
            f"making its environment again imports {', '.join(named)}: if you trust that code, pass trust=True "
            "(--trust), else env=…"
        )
    if "factory" in recipe:
        return Source(load_reference(recipe["factory"]), decode(recipe["kwargs"])).again(n_envs, changes)
    env_id, module = str(recipe["id"]), str(recipe.get("module", ""))
    if env_id not in registry and module:
        load_module(module)
    if env_id in registry:
        spec = copy.deepcopy(registry[env_id])
    elif "entry_point" in recipe:
        spec = EnvSpec(env_id, load_reference(recipe["entry_point"]))
    else:
        raise ValueError(
            f"the environment {env_id!r} is not registered: import the package that registers it, or pass env=…"
        )
    spec.additional_wrappers = tuple(
        WrapperSpec(wrapper["entry_point"].rpartition(":")[2], wrapper["entry_point"], decode(wrapper["kwargs"]))
        for wrapper in recipe.get("wrappers", ())
    )
    return Source(spec, decode(recipe["kwargs"]), module).again(n_envs, changes)


def _named(name: str, kwargs: dict[str, Any]) -> Source:
    """The source that `Id-v0`, `module:Id-v0` or `module:factory` names."""
    module, _, env_id = name.rpartition(":")
    if module:
        found = getattr(importlib.import_module(module), env_id, None)
        if env_id not in registry and callable(found):
            return Source(found, kwargs)
    return Source(gym.spec(env_id), kwargs, module)


def _given_batch(env: VectorEnv[Any, Any, Any]) -> Vectorized:
    inner = env.unwrapped.envs if isinstance(env.unwrapped, SyncVectorEnv) else []
    limit = env.spec or (inner[0].spec if inner else None)
    max_episode_steps = limit.max_episode_steps if limit else None
    try:
        if env is not env.unwrapped:
            raise CannotRemakeError("it has wrappers around the batch: wrap single environments instead")
        if inner:
            source = _source(inner[0])
            if any(other.spec != inner[0].spec for other in inner):
                raise CannotRemakeError("its environments differ")
        elif env.spec is None:
            raise CannotRemakeError("it has no spec")
        else:
            source = Source(_unchanged(env, copy.deepcopy(env.spec)), {})
    except CannotRemakeError as error:
        return Vectorized(env, None, False, max_episode_steps, why=str(error))
    return Vectorized.of(env, source, owned=False, max_episode_steps=max_episode_steps)


def _given_env(env: AnyEnv, n_envs: int, exactly: bool) -> Vectorized:
    limit = env.spec.max_episode_steps if env.spec else None
    try:
        source = _source(env)
    except CannotRemakeError as error:
        if n_envs > 1 and exactly:
            raise ValueError(
                f"n_envs={n_envs}, but no more of {env} can be made: {error}. Pass a function that makes one, or "
                "n_envs=1"
            ) from None
        single = SyncVectorEnv([lambda: env], autoreset_mode=AutoresetMode.SAME_STEP)
        return Vectorized(single, None, False, limit, lambda n, changes: _copies(env, n, changes), str(error))
    if n_envs > 1 and env.spec and env.spec.vector_entry_point is not None and not env.spec.additional_wrappers:
        return source.again(n_envs)  # a native batch of the same
    made = source.make(n_envs, first=env)
    return Vectorized.of(made, source, owned=False, max_episode_steps=limit)


def _source(env: AnyEnv) -> Source:
    """What more of an environment can be made from; CannotRemakeError if nothing."""
    if env.spec is None:
        raise CannotRemakeError("it has no spec, since it was not made by gymnasium.make")
    if lacking := [wrapper.name for wrapper in env.spec.additional_wrappers if wrapper.kwargs is None]:
        raise CannotRemakeError(f"its wrapper {lacking[0]} lacks gymnasium.utils.RecordConstructorArgs")
    spec = copy.deepcopy(env.spec)
    spec.additional_wrappers = tuple(w for w in spec.additional_wrappers if w.name not in _RECORDERS)
    if not spec.additional_wrappers or spec.kwargs.get("render_mode") == "human":
        spec.kwargs.pop("render_mode", None)  # only the user's own environment renders
    return Source(_unchanged(env, spec), {})


def _unchanged(env: AnyEnv | VectorEnv[Any, Any, Any], spec: EnvSpec) -> EnvSpec:
    """The spec, if the environment is still as it says (but for `kl_coef`, which the spec gets)."""
    changed = changed_attributes(env, spec)
    if "kl_coef" in changed:
        spec.kwargs["kl_coef"] = changed.pop("kl_coef")
    if changed:
        named = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        raise CannotRemakeError(f"it was changed after it was made ({named}), which gymnasium.make would not repeat")
    return spec


def _copies(env: AnyEnv, n_envs: int, changes: Mapping[str, Any]) -> Vectorized:
    """Copies of an environment that cannot be made again, for evaluation."""
    if changes:
        raise ValueError(f"{env} cannot be made with other arguments ({', '.join(changes)}): pass env=…")
    try:
        copies = [copy.deepcopy(env) for _ in range(n_envs)]
    except Exception as error:  # any class may refuse it in its own way
        raise ValueError(f"{env} cannot be copied ({type(error).__name__}: {error}): pass env=…") from error
    batch = SyncVectorEnv([lambda one=one: one for one in copies], autoreset_mode=AutoresetMode.SAME_STEP)  # type: ignore[misc]
    return Vectorized(batch, None, True, env.spec.max_episode_steps if env.spec else None)
