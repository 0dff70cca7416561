"""Evaluating an agent: playing episodes without training."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...records.progress import ProgressBar, rounded
from ..environment.adapter import EnvAdapter
from ..environment.episode_info import numbers
from ..environment.play import play
from ..environment.vectorize import EnvLike, vectorize
from .episode_statistics import means
from .learner import Learner


@dataclass
class Scores:
    """The episodes of an evaluation: their returns, lengths and infos."""

    returns: list[float]
    lengths: list[int]
    infos: list[dict[str, Any]] = field(default_factory=list)  # reported at each episode's end
    deterministic: bool = True
    split: str | None = None  # of text: "heldout" or "train"
    hint: str = ""  # shown with the scores

    def means(self) -> dict[str, float]:
        """The mean of each number in the infos."""
        return means(map(numbers, self.infos))

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(np.mean(self.returns))

    @property
    def std(self) -> float:
        """Standard deviation of the return."""
        return float(np.std(self.returns))

    def __str__(self) -> str:
        spread = f"{rounded(self.mean)} ± {rounded(self.std)}"
        extremes = f"worst {rounded(min(self.returns))}, best {rounded(max(self.returns))}"
        return f"{spread} over {len(self.returns)} episodes ({extremes})" + (f"; {self.hint}" if self.hint else "")


def evaluate(
    agent: Learner,
    env: EnvLike | None = None,
    n_episodes: int = 100,
    *,
    deterministic: bool | None = None,
    seed: int = 0,
    n_envs: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> Scores:
    """Play `n_episodes` and return their scores.

    Text is evaluated as it will be used, on held-out prompts (where there are any) with sampled tokens.

    Args:
        agent: the agent to evaluate; its training is not affected
        env: an environment's id, an environment or a vector environment; by default the agent's, made again, on text
            with split="heldout"
        n_episodes: number of episodes, shared equally between the environments
        deterministic: the most likely actions instead of sampled ones; by default False for text, else True
        seed: of the environments and the sampled actions
        n_envs: number of parallel environments; by default 64 for text, else 10
        env_kwargs: arguments of an `env` given as an id, or changes to those of the agent's environment
        progress: show a progress bar, which is a line where there is no terminal
    """
    text = agent.env.is_text
    deterministic = not text if deterministic is None else deterministic
    adapter = evaluation_env(agent, env, min(n_envs or (64 if text else 10), n_episodes), env_kwargs)
    split = adapter.split if adapter.is_text else None
    scores = Scores([], [], deterministic=deterministic, split=split)
    bar = ProgressBar(n_episodes, f"evaluating {n_episodes:,} episodes", show=progress, brief=True)
    with contextlib.closing(adapter), agent.threads(), bar:
        returns, lengths = np.zeros(adapter.n_envs), np.zeros(adapter.n_envs, np.int64)
        for step in play(adapter, agent.player(adapter.n_envs, seed, deterministic), n_episodes, seed):
            returns += step.result.reward * step.counts
            lengths += step.counts
            for slot in step.ended:
                scores.returns.append(float(returns[slot]))
                scores.lengths.append(int(lengths[slot]))
                scores.infos.append(step.result.episode_info.get(slot, {}))
                returns[slot], lengths[slot] = 0.0, 0
            if step.ended:
                bar.update(len(scores.returns), f"return {rounded(scores.mean)}")
    if deterministic and env is None and not env_kwargs:
        scores.hint = _hint(agent, scores)
    return scores


def _hint(agent: Learner, scores: Scores) -> str:
    """What to try where the most likely actions score far less than sampled ones did in training."""
    recent = [episode["return"] for episode in agent.episodes.recent]
    if len(recent) < 10 or np.mean(recent) - scores.mean <= np.std(recent) + scores.std:
        return ""
    sampled = rounded(float(np.mean(recent)))
    return f"sampled actions scored {sampled} in training: evaluate with deterministic=False (--stochastic)"


def evaluation_env(
    agent: Learner, env: EnvLike | None, n_envs: int, env_kwargs: Mapping[str, Any] | None
) -> EnvAdapter:
    """The environment that `evaluate` plays in: as `playing_env`, on text with held-out prompts."""
    kwargs = dict(env_kwargs or {})
    if env is None and agent.env.split == "train" and "split" not in kwargs:
        with contextlib.suppress(TypeError, ValueError):  # no prompts are held out
            return playing_env(agent, env, n_envs, {**kwargs, "split": "heldout"})
    return playing_env(agent, env, n_envs, kwargs)


def playing_env(
    agent: Learner | None, env: EnvLike | None, n_envs: int, env_kwargs: Mapping[str, Any] | None = None
) -> EnvAdapter:
    """The given environment, or else (also where that is the agent's own) more of the agent's."""
    n_envs = max(n_envs, 1)
    if agent is None or not (env is None or (not isinstance(env, str) and agent.env.steps(env))):
        if env is None:
            raise ValueError("env is missing: name an environment to play in")
        return EnvAdapter(vectorize(env, n_envs, env_kwargs, exactly=False))
    if agent.env.again is None:
        raise ValueError(
            f"env is missing: no more of {agent.env.vector_env} can be made ({agent.env.why_no_recipe}); pass env=…, "
            "another one than the agent is trained in"
        )
    return EnvAdapter(agent.env.again(n_envs, env_kwargs or {}))
