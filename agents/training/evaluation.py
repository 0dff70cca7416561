"""Playing episodes without learning, to see how good an agent is."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...records.progress import rounded
from ..environment.adapter import EnvAdapter
from ..environment.episode_info import numbers
from ..environment.vectorize import EnvLike, remake, vectorize

if TYPE_CHECKING:
    from ..agent import Agent


@dataclass
class Scores:
    """What some episodes brought."""

    returns: list[float]
    lengths: list[int]
    told: list[dict[str, Any]] = field(default_factory=list)  # what the environment said of each at its end

    def means(self) -> dict[str, float]:
        """The means of the numbers among what was told."""
        every = [numbers(told) for told in self.told]
        names = dict.fromkeys(name for episode in every for name in episode)
        return {name: float(np.mean([episode[name] for episode in every if name in episode])) for name in names}

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Standard deviation of the return over episodes."""
        return float(np.std(self.returns))

    def __str__(self) -> str:
        call_each = f"{rounded(self.mean)} ± {rounded(self.std)}"
        extremes = f"worst {rounded(min(self.returns))}, best {rounded(max(self.returns))}"
        return f"{call_each} over {len(self.returns)} episodes ({extremes})"


def evaluate(
    agent: Agent,
    env: EnvLike | None = None,
    n_episodes: int = 100,
    *,
    deterministic: bool = True,
    seed: int = 0,
    n_envs: int = 10,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Scores:
    """Play `n_episodes` in fresh environments (the agent's own kind by default) and return their scores.

    `env_kwargs` change single arguments of the agent's own kind, or make an `env` that is given as an id.

    Every slot plays its share of the episodes, so that short ones are not counted more often than long ones.
    """
    if n_episodes < 1:
        raise ValueError(f"n_episodes={n_episodes}: accepted is at least 1")
    n_envs = min(n_envs, n_episodes)
    if env is None:
        if agent.env.recipe is None:
            raise ValueError("this agent's environment cannot be made again from its spec: pass env=…")
        recipe = agent.env.recipe
        made = remake({**recipe, "kwargs": {**recipe["kwargs"], **(env_kwargs or {})}}, n_envs)
    else:
        made = vectorize(env, n_envs, env_kwargs)
    adapter = EnvAdapter(made)
    n_envs = adapter.n_envs
    share = np.full(n_envs, n_episodes // n_envs) + (np.arange(n_envs) < n_episodes % n_envs)
    returns, lengths = np.zeros(n_envs), np.zeros(n_envs, np.int64)
    scores = Scores([], [])
    player = agent.player(n_envs, seed)
    observation, starts = adapter.reset(seed), np.ones(n_envs, bool)
    with contextlib.closing(adapter), agent.threads():
        while share.any():
            result = adapter.step(*player(observation, starts, adapter.masks, deterministic))
            returns += result.reward * result.valid
            lengths += result.valid
            for row in np.flatnonzero(result.terminated | result.truncated):
                if share[row]:
                    scores.returns.append(float(returns[row]))
                    scores.lengths.append(int(lengths[row]))
                    scores.told.append(result.told.get(int(row), {}))
                    share[row] -= 1
                returns[row], lengths[row] = 0.0, 0
            observation, starts = result.observation, result.starts
    return scores
