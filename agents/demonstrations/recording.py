"""Playing an expert and keeping what it saw and did."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from ..agent import Agent
from ..environment.adapter import EnvAdapter
from ..environment.masks import Mask, pack
from ..environment.spaces import ActionCodec, Array, Leaves
from ..environment.vectorize import EnvLike, remake, vectorize
from ..policies.text_memory import is_continuation
from .demonstrations import Demonstrations, Episode, Prefixes

Expert = Callable[[Any], Any]  # an observation to an action, both as the environment gives and takes them


def record(
    expert: Agent | Expert,
    env: EnvLike | None = None,
    n_episodes: int = 10,
    seed: int = 0,
    *,
    deterministic: bool = True,
    n_envs: int = 10,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Demonstrations:
    """Play `n_episodes` and return them.

    Args:
        expert: an agent, which plays in its own kind of environment unless told otherwise; or a function from one
            observation to one action. It is asked slot by slot, so one that remembers needs `n_envs=1`
        env: an environment's id, an environment, or a vector environment
        n_episodes: how many; every slot plays its share, so that short ones are not kept more often than long ones
        seed: of the environments, and of an agent's draws
        deterministic: an agent's likeliest actions instead of drawn ones; for texts draw, or each is written alike
        n_envs: slots played side by side, where the environment can be made more than once
        env_kwargs: arguments for an environment that is given as an id
    """
    if n_episodes < 1:
        raise ValueError(f"n_episodes={n_episodes}: accepted is at least 1")
    n_envs = min(n_envs, n_episodes)
    if env is not None:
        made = vectorize(env, n_envs, env_kwargs)
    elif not isinstance(expert, Agent) or expert.env.recipe is None:
        raise ValueError("env is missing: the expert's environment cannot be made from its spec; pass env=…")
    else:
        recipe = expert.env.recipe
        made = remake({**recipe, "kwargs": {**recipe["kwargs"], **(env_kwargs or {})}}, n_envs)
    adapter = EnvAdapter(made)
    n_envs = adapter.n_envs
    share = np.full(n_envs, n_episodes // n_envs) + (np.arange(n_envs) < n_episodes % n_envs)
    slots = [_Slot(adapter.reference_model is not None) for _ in range(n_envs)]
    episodes: list[Episode] = []
    with contextlib.ExitStack() as held:
        held.callback(adapter.close)
        if isinstance(expert, Agent):
            held.enter_context(expert.threads())
            player = expert.player(n_envs, seed)
        observation, starts = adapter.reset(seed), np.ones(n_envs, bool)
        while share.any():
            masks, said = adapter.masks, None
            if isinstance(expert, Agent):
                actions, said = player(observation, starts, masks, deterministic)
            else:
                actions = _ask(expert, adapter, observation)
            result = adapter.step(actions, said)
            taken = adapter.codec.to_env(actions)
            for row in np.flatnonzero(result.valid & (share > 0)).tolist():
                slots[row].add(tuple(leaf[row] for leaf in observation), taken[row], masks, row, result.reward[row])
                if result.terminated[row] or result.truncated[row]:
                    episodes.append(slots[row].episode(adapter.codec))
                    share[row] -= 1
            observation, starts = result.observation, result.starts
    if len({episode.masks is None for episode in episodes}) > 1:  # told only from some episode on
        episodes = [_with_masks(episode, adapter.codec) for episode in episodes]
    return Demonstrations(episodes)


def structured(space: spaces.Space[Any], leaves: Iterator[Array]) -> Any:
    """One observation as the environment gives it, of its leaves: what `leaves_of` takes apart."""
    if isinstance(space, spaces.Dict):
        return {key: structured(sub, leaves) for key, sub in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(structured(sub, leaves) for sub in space.spaces)
    return next(leaves)


def _ask(expert: Expert, adapter: EnvAdapter, observation: Leaves) -> Array:
    """A function's actions for every slot."""
    seen = [structured(adapter.observation_space, (leaf[i] for leaf in observation)) for i in range(adapter.n_envs)]
    try:
        return adapter.codec.from_env(np.stack([np.asarray(expert(one)) for one in seen]))
    except ValueError as error:
        raise ValueError(f"the expert returned {error}") from None


class _Slot:
    """The episode under way."""

    def __init__(self, grows: bool) -> None:
        self.grows = grows
        self._forget()

    def _forget(self) -> None:
        self.seen: list[Leaves] = []
        self.text: Array | None = None  # instead of these, as it was seen last
        self.lengths: list[int] = []  # and by each step
        self.actions: list[Array] = []
        self.masks: list[NDArray[np.uint8] | None] = []
        self.reward = 0.0

    def add(self, seen: Leaves, action: Array, masks: Mask | None, row: int, reward: float) -> None:
        """Keep a step."""
        if self.grows:
            self._grow(seen[0])
        if not self.grows:
            self.seen.append(seen)
        self.actions.append(action)
        self.masks.append(None if masks is None else pack(masks[row]))
        self.reward += reward

    def _grow(self, tokens: Array) -> None:
        if self.text is not None and not is_continuation(self.text, tokens):
            rows = self._prefixes().rows(len(tokens))  # it shows its latest tokens only: each step on its own, then
            self.seen, self.grows = [(row.astype(tokens.dtype),) for row in rows], False
            return
        self.text = tokens
        self.lengths.append(int((tokens >= 0).sum()))

    def _prefixes(self) -> Prefixes:
        assert self.text is not None
        return Prefixes(self.text[self.text >= 0].astype(np.int64), np.array(self.lengths, np.int64))

    def episode(self, codec: ActionCodec) -> Episode:
        """End it."""
        seen: Leaves | Prefixes
        if self.grows:
            seen = self._prefixes()
        else:
            seen = tuple(np.stack(leaf) for leaf in zip(*self.seen, strict=True))
        masks = None
        if any(mask is not None for mask in self.masks):
            masks = np.stack([_everything(codec) if mask is None else mask for mask in self.masks])
        episode = Episode(seen, np.stack(self.actions), masks, self.reward)
        self._forget()
        return episode


def _everything(codec: ActionCodec) -> NDArray[np.uint8]:
    return pack(np.ones(sum(codec.choices or ()), bool))


def _with_masks(episode: Episode, codec: ActionCodec) -> Episode:
    masks = np.tile(_everything(codec), (len(episode), 1)) if episode.masks is None else episode.masks
    return Episode(episode.seen, episode.actions, masks, episode.reward)
