"""Recording an expert's episodes as demonstrations."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ...records.jsonl import shortened
from ..environment.adapter import EnvAdapter
from ..environment.masks import Mask, pack
from ..environment.play import Act, play
from ..environment.spaces import ActionCodec, Array, Flags, Leaves, stack_leaves
from ..environment.vectorize import EnvLike
from ..policies.text_memory import is_continuation
from ..training.evaluation import playing_env
from ..training.learner import Learner
from .demonstrations import Demonstrations, Episode, Prefixes

Expert = Callable[[Any], Any]  # from one observation to one action, as in the environment's spaces
_Step = tuple[Leaves, Array, NDArray[np.uint8] | None, float]  # observation, action, packed mask, reward


def record(
    expert: Learner | Expert,
    env: EnvLike | None = None,
    n_episodes: int = 10,
    seed: int = 0,
    *,
    deterministic: bool = True,
    n_envs: int = 10,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Demonstrations:
    """Play `n_episodes` and return them as demonstrations.

    Args:
        expert: an agent; a model whose `predict` is as in Stable-Baselines3, or that method; or a function from one
            observation to one action. A function is called for one environment after the other: if it has a memory,
            use `n_envs=1`
        env: an environment's id, an environment, or a vector environment; by default the agent's
        n_episodes: number of episodes, shared equally between the environments
        seed: of the environments, and of an agent's sampled actions
        deterministic: the agent's most likely actions instead of sampled ones; use False for text, or all texts of a
            prompt are the same
        n_envs: number of parallel environments
        env_kwargs: arguments for an environment given as an id
    """
    expert = _owner(expert)
    agent: Any = expert if hasattr(expert, "player") else None
    adapter = playing_env(agent, env, min(n_envs, n_episodes), env_kwargs)
    slots: list[list[_Step]] = [[] for _ in range(adapter.n_envs)]  # the current episodes
    episodes: list[Episode] = []
    with contextlib.closing(adapter), agent.threads() if agent else contextlib.nullcontext():
        if agent:
            act: Act = agent.player(adapter.n_envs, seed, deterministic)
        else:
            act = (_predictor if hasattr(expert, "predict") else _player)(expert, adapter, deterministic)
        for step in play(adapter, act, n_episodes, seed):
            taken = adapter.codec.to_env(step.actions)
            for row in np.flatnonzero(step.counts).tolist():
                leaves = tuple(leaf[row] for leaf in step.observation)
                mask = None if step.masks is None else pack(step.masks[row])
                slots[row].append((leaves, taken[row], mask, step.result.reward[row]))
            for row in step.ended:
                episodes.append(_episode(slots[row], adapter))
                slots[row].clear()
    if len({episode.masks is None for episode in episodes}) > 1:  # masks appeared after some episodes
        for i, episode in enumerate(episodes):
            if episode.masks is None:
                episodes[i] = replace(episode, masks=_filled([None] * len(episode), adapter.codec))
    return Demonstrations(episodes)


def structured(space: spaces.Space[Any], leaves: Iterator[Array]) -> Any:
    """An observation, or a batch, in its space from its leaves: the inverse of `leaves_of`."""
    if isinstance(space, spaces.Dict):
        return {key: structured(sub, leaves) for key, sub in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(structured(sub, leaves) for sub in space.spaces)
    return next(leaves)


def _owner(expert: Any) -> Any:
    """The model, if its method `predict` was given."""
    owner = getattr(expert, "__self__", None)
    return owner if owner is not None and getattr(expert, "__name__", "") == "predict" else expert


def _predictor(model: Any, adapter: EnvAdapter, deterministic: bool) -> Act:
    """A model that predicts the actions of a batch of observations, as those of Stable-Baselines3 do."""
    memory: Any = None
    accepted = inspect.signature(model.predict).parameters

    def act(observation: Leaves, starts: Flags, masks: Mask | None) -> tuple[Array, None]:
        nonlocal memory
        given = {"state": memory, "episode_start": starts, "deterministic": deterministic, "action_masks": masks}
        batch = structured(adapter.observation_space, iter(observation))
        found = model.predict(batch, **{name: value for name, value in given.items() if name in accepted})
        actions, memory = found if isinstance(found, tuple) else (found, None)
        return _numbers(np.asarray(actions), adapter), None

    return act


def _player(expert: Any, adapter: EnvAdapter, deterministic: bool) -> Act:
    """A function of one observation, applied in every slot."""

    def act(observation: Leaves, starts: Flags, masks: Mask | None) -> tuple[Array, None]:
        space, n = adapter.observation_space, adapter.n_envs
        single = [structured(space, (leaf[i] for leaf in observation)) for i in range(n)]
        return _numbers(np.stack([_action(expert(one), adapter) for one in single]), adapter), None

    return act


def _action(found: Any, adapter: EnvAdapter) -> Array:
    """The action that a function returned, also with the state None behind it, as `predict` returns it."""
    alone = found[0] if isinstance(found, tuple) and len(found) == 2 and found[1] is None else found
    try:
        action = np.asarray(alone)
    except ValueError:  # an action and a state side by side
        action = np.empty(0)
    if action.shape != adapter.codec.shape:
        raise ValueError(
            f"the expert returned {shortened(found)}: expected an action of {adapter.action_space}, without a state"
        )
    return action


def _numbers(actions: Array, adapter: EnvAdapter) -> Array:
    try:
        return adapter.codec.from_env(actions)
    except ValueError as error:
        raise ValueError(f"the expert returned {error}") from None


def _episode(steps: list[_Step], adapter: EnvAdapter) -> Episode:
    """The episode of these steps; of a text that grows only the last observation is kept."""
    observations, actions, masks, rewards = zip(*steps, strict=True)
    leaves = stack_leaves(observations)
    grows = adapter.is_text and is_continuation(leaves[0][:-1], leaves[0][1:]).all()
    packed = None if all(mask is None for mask in masks) else _filled(masks, adapter.codec)
    return Episode(Prefixes.of(leaves[0]) if grows else leaves, np.stack(actions), packed, float(sum(rewards)))


def _filled(masks: Sequence[NDArray[np.uint8] | None], codec: ActionCodec) -> NDArray[np.uint8]:
    """Packed masks by step; where there is none, every action was allowed."""
    everything = pack(np.ones(sum(codec.choices or ()), bool))
    return np.stack([everything if mask is None else mask for mask in masks])
