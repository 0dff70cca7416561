"""Playing whole episodes without learning: for evaluation, recording, samples and watching."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from .adapter import EnvAdapter, StepResult
from .masks import Mask
from .spaces import Array, Flags, Leaves

ENDLESS = 1000  # steps after which an episode of an environment that names no limit is cut
log = logging.getLogger("textrlhf")

Act = Callable[[Leaves, Flags, Mask | None], tuple[Array, Array | None]]
"""(observation, rows that start an episode, action masks) -> actions, their log-probabilities if known"""


@dataclass(slots=True)
class PlayedStep:
    """One step of all slots."""

    observation: Leaves  # before the step, each leaf (N, ...)
    masks: Mask | None  # (N, A) before the step
    actions: Array  # (N, ...)
    result: StepResult
    counts: Flags  # (N,) steps of the requested episodes
    ended: list[int]  # slots in which such an episode ended with this step


def play(
    env: EnvAdapter, act: Act, n_episodes: int, seed: int | None = None, on_reset: Callable[[], object] | None = None
) -> Iterator[PlayedStep]:
    """Reset and step until `n_episodes` have ended.

    Each slot plays an equal share: counting the first episodes to end would favour short ones. In an environment
    without a limit an episode is cut after 1,000 steps, and its slot plays no further one.
    """
    if n_episodes < 1:
        raise ValueError(f"n_episodes={n_episodes}: accepted is at least 1")
    left = np.full(env.n_envs, n_episodes // env.n_envs) + (np.arange(env.n_envs) < n_episodes % env.n_envs)
    observation, starts = env.reset(seed), np.ones(env.n_envs, bool)
    lengths, endless = np.zeros(env.n_envs, np.int64), not (env.horizon or env.is_text)
    n_cut = missing = 0
    if on_reset:
        on_reset()
    while left.any():
        masks = env.masks
        actions, log_probs = act(observation, starts, masks)
        result = env.step(actions, log_probs)
        counts = result.valid & (left > 0)
        lengths += counts
        over = counts & (result.terminated | result.truncated)
        left -= over
        if endless and (cut := counts & ~over & (lengths == ENDLESS)).any():
            n_cut, missing = n_cut + int(cut.sum()), missing + int((left[cut] - 1).sum())
            left[cut], over = 0, over | cut
        ended = np.flatnonzero(over)
        lengths[ended] = 0
        yield PlayedStep(observation, masks, actions, result, counts, ended.tolist())
        observation, starts = result.observation, result.starts
    if n_cut:
        log.warning(
            "%s names no time limit: %d episodes were cut after %s steps, and %d of %d were not played. A "
            "gymnasium.wrappers.TimeLimit around each environment, or max_episode_steps, sets another limit",
            env.name,
            n_cut,
            f"{ENDLESS:,}",
            missing,
            n_episodes,
        )
