"""Evaluating an agent: episodes without learning, and what they returned."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...records.progress import rounded
from ..environment.adapter import EnvAdapter
from ..environment.episode_info import numbers
from ..environment.play import play
from ..environment.vectorize import EnvLike, remake, vectorize
from .learner import Learner


@dataclass
class Scores:
    """The episodes of an evaluation."""

    returns: list[float]
    lengths: list[int]
    infos: list[dict[str, Any]] = field(default_factory=list)  # what the environment reported at each one's end

    def means(self) -> dict[str, float]:
        """The mean of each number among the infos."""
        every = [numbers(info) for info in self.infos]
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
        spread = f"{rounded(self.mean)} ± {rounded(self.std)}"
        extremes = f"worst {rounded(min(self.returns))}, best {rounded(max(self.returns))}"
        return f"{spread} over {len(self.returns)} episodes ({extremes})"


def evaluate(
    agent: Learner,
    env: EnvLike | None = None,
    n_episodes: int = 100,
    *,
    deterministic: bool = True,
    seed: int = 0,
    n_envs: int = 10,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Scores:
    """Play `n_episodes` and return their scores.

    Args:
        agent: the agent to evaluate; it does not learn, and its training is not disturbed
        env: an environment's id, an environment or a vector environment; by default new ones of the agent's own kind
        n_episodes: how many, shared equally between the environments
        deterministic: the most likely actions instead of sampled ones
        seed: of the environments and the sampled actions
        n_envs: environments stepped side by side
        env_kwargs: arguments that change the agent's own kind, or of an `env` that is given as an id
    """
    adapter = playing_env(agent, env, min(n_envs, n_episodes), env_kwargs)
    scores = Scores([], [])
    with contextlib.closing(adapter), agent.threads():
        returns, lengths = np.zeros(adapter.n_envs), np.zeros(adapter.n_envs, np.int64)
        for step in play(adapter, agent.player(adapter.n_envs, seed, deterministic), n_episodes, seed):
            returns += step.result.reward * step.counts
            lengths += step.counts
            for slot in step.ended:
                scores.returns.append(float(returns[slot]))
                scores.lengths.append(int(lengths[slot]))
                scores.infos.append(step.result.episode_info.get(slot, {}))
                returns[slot], lengths[slot] = 0.0, 0
    return scores


def playing_env(
    agent: Learner | None, env: EnvLike | None, n_envs: int, env_kwargs: Mapping[str, Any] | None = None
) -> EnvAdapter:
    """The environments to play in: those given, or new ones of the agent's own kind."""
    if env is not None:
        return EnvAdapter(vectorize(env, max(n_envs, 1), env_kwargs))
    if agent is None or agent.env.recipe is None:
        raise ValueError("env is missing: this agent's environment cannot be made again from its spec; pass env=…")
    return EnvAdapter(remake(agent.env.recipe, max(n_envs, 1), env_kwargs))
