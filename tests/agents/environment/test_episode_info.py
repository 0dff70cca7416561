"""What an environment tells of an episode at its end, in every autoreset mode."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from textrlhf.agents.environment.adapter import EnvAdapter
from textrlhf.agents.environment.episode_info import EpisodeInfoReader, numbers
from textrlhf.agents.environment.vectorize import Vectorized


class Telling(gym.Env):
    """Says its speed at every step, and how it went and in which words at the end."""

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
        told = {"success": True, "score": float(self.length), "words": "well done"} if over else {}
        return np.zeros(1, np.float32), 0.0, over, False, {"speed": 1.0, **told}


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_info_of_episode_ends_is_found(mode: AutoresetMode) -> None:
    """Guards against the infos of the next episode, of other slots, and of every step."""
    env = SyncVectorEnv([lambda n=n: Telling(n) for n in (2, 3)], autoreset_mode=mode)
    adapter = EnvAdapter(Vectorized(env, None, owned=True))
    adapter.reset(0)
    found = []
    for _ in range(6):
        turn = adapter.step(np.zeros(2, np.int64))
        assert set(turn.episode_info) == set(np.flatnonzero(turn.terminated).tolist())
        found += list(turn.episode_info.items())
    assert len(found) >= 3
    for slot, told in found:
        length = (2, 3)[slot]
        assert numbers(told) == {"success": 1.0, "score": float(length)}
        assert told["words"] == "well done"
        assert "speed" not in told


def test_step_infos_are_recognised() -> None:
    endings = EpisodeInfoReader()
    no, yes = np.array([False]), np.array([True])
    step = {"speed": np.array([1.0]), "_speed": yes}
    assert endings.read(step, no, yes, same_step=False) == {}
    last = {**step, "score": np.array([2.0]), "_score": yes}
    assert endings.read(last, yes, no, same_step=False) == {0: {"score": 2.0}}
