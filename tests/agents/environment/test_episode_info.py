"""Infos at the end of episodes, in every autoreset mode."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from textrlhf.agents.environment.adapter import EnvAdapter
from textrlhf.agents.environment.episode_info import EpisodeInfoReader, numbers
from textrlhf.agents.environment.vectorize import Vectorized


class Reporting(gym.Env):
    """Reports its speed at every step, and success, score and words at the end."""

    observation_space, action_space = spaces.Box(-1, 1, (1,), np.float32), spaces.Discrete(2)

    def __init__(self, length: int) -> None:
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {"map": "a"}

    def step(self, action):
        self.t += 1
        over = self.t == self.length
        at_end = {"success": True, "score": float(self.length), "words": "well done"} if over else {}
        return np.zeros(1, np.float32), 0.0, over, False, {"speed": 1.0, **at_end}


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_info_of_episode_ends_is_found(mode: AutoresetMode) -> None:
    """Without infos of the next episode, of other slots, or of every step."""
    env = SyncVectorEnv([lambda n=n: Reporting(n) for n in (2, 3)], autoreset_mode=mode)
    adapter = EnvAdapter(Vectorized(env, None, owned=True))
    adapter.reset(0)
    found = []
    for _ in range(6):
        result = adapter.step(np.zeros(2, np.int64))
        assert set(result.episode_info) == set(np.flatnonzero(result.terminated).tolist())
        found += list(result.episode_info.items())
    assert len(found) >= 3
    for slot, info in found:
        length = (2, 3)[slot]
        assert numbers(info) == {"success": 1.0, "score": float(length)}
        assert info["words"] == "well done"
        assert "speed" not in info


def test_step_infos_are_recognised() -> None:
    reader = EpisodeInfoReader()
    no, yes = np.array([False]), np.array([True])
    step = {"speed": np.array([1.0]), "_speed": yes}
    assert reader.read(step, no, yes, same_step=False) == {}
    last = {**step, "score": np.array([2.0]), "_score": yes}
    assert reader.read(last, yes, no, same_step=False) == {0: {"score": 2.0}}
