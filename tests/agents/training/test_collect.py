"""The collecting loop on its own: what it stores is what happened, in every autoreset mode."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from textrlhf.agents.environment.adapter import EnvAdapter
from textrlhf.agents.environment.vectorize import Vectorized
from textrlhf.agents.policies.mlp import MLPPolicy
from textrlhf.agents.training.collect import Collector
from textrlhf.agents.training.episode_statistics import EpisodeStatistics
from textrlhf.records.progress import Stopwatch


class Chain(gym.Env):
    """Observes how far it has come; each step pays that; truncated at `length`."""

    observation_space, action_space = spaces.Box(0, 99, (1,), np.float32), spaces.Discrete(2)

    def __init__(self, length: int) -> None:
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.full(1, self.t, np.float32), float(self.t), False, self.t == self.length, {"step": self.t}


def collector(mode: AutoresetMode) -> Collector:
    env = SyncVectorEnv([lambda n=n: Chain(n) for n in (3, 5)], autoreset_mode=mode)
    adapter = EnvAdapter(Vectorized(env, None, owned=True))
    torch.manual_seed(0)
    policy = MLPPolicy(adapter.observation_space, adapter.action_space)
    found = Collector(adapter, policy, EpisodeStatistics(2))
    found.reset(seed=0)
    return found


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_rollout_holds_what_happened_and_continues_the_last(mode):
    made = collector(mode)
    generator = torch.Generator().manual_seed(0)
    seen: list[list[float]] = [[], []]
    for _ in range(3):
        rollout = made.collect(7, generator, Stopwatch())
        (observations,) = rollout.log.take(torch.arange(14), None)
        for t in range(7):
            for slot in range(2):
                if rollout.valid[t, slot]:
                    before, reward = float(observations[2 * t + slot, 0]), rollout.rewards[t, slot]
                    assert reward == before + 1
                    assert rollout.truncated[t, slot] == (reward == (3, 5)[slot])
                    assert rollout.starts[t, slot] == (before == 0)
                    seen[slot].append(reward)
    for slot, length in ((0, 3), (1, 5)):
        expected = [float(k % length + 1) for k in range(len(seen[slot]))]
        assert seen[slot] == expected  # no step lost or repeated between rollouts
    finished = sum(len(rewards) // length for rewards, length in zip(seen, (3, 5), strict=True))
    assert made.episodes.finished == finished


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_truncated_steps_are_valued_by_their_final_observation(mode):
    """The reset observation that follows has another value: bootstrapping from it would be wrong."""
    made = collector(mode)
    rollout = made.collect(12, torch.Generator().manual_seed(0), Stopwatch())
    for length, slot in ((3, 0), (5, 1)):
        final = made.policy.value((np.full((1, 1), length, np.float32),), None)[0]
        for t in np.flatnonzero(rollout.truncated[:, slot]):
            assert rollout.next_values[t, slot] == pytest.approx(float(final), abs=1e-6)
