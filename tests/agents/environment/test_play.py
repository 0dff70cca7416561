"""Playing episodes: equal shares per slot, in every autoreset mode, resets never counted."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from textrlhf.agents.environment.adapter import EnvAdapter
from textrlhf.agents.environment.play import play
from textrlhf.agents.environment.vectorize import Vectorized


class FixedLength(gym.Env):
    """Lasts `length` steps; the observation counts them."""

    observation_space, action_space = spaces.Box(0, 99, (1,), np.float32), spaces.Discrete(100)

    def __init__(self, length: int) -> None:
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        assert action == self.t, "the action was chosen for another observation"
        self.t += 1
        return np.full(1, self.t, np.float32), 1.0, self.t == self.length, False, {}


def adapter(*lengths: int, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> EnvAdapter:
    env = SyncVectorEnv([lambda n=n: FixedLength(n) for n in lengths], autoreset_mode=mode)
    return EnvAdapter(Vectorized(env, None, owned=True))


def act(observation, starts, masks):
    return observation[0][:, 0].astype(np.int64), None


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_slot_plays_its_share(mode):
    """The first six to end would be five short episodes and one long one."""
    steps, ended = np.zeros(2, int), []
    for step in play(adapter(2, 9, mode=mode), act, 7, seed=0):
        steps += step.counts
        ended += step.ended
    assert sorted(ended) == [0] * 4 + [1] * 3
    assert steps.tolist() == [4 * 2, 3 * 9]


def test_what_a_step_shows_was_acted_on():
    for step in play(adapter(3), act, 2, seed=0):
        assert step.observation[0][0, 0] == step.actions[0]


@pytest.mark.parametrize("n_episodes", [0, -1])
def test_no_episodes_are_refused(n_episodes):
    with pytest.raises(ValueError, match=f"n_episodes={n_episodes}"):
        next(play(adapter(2), act, n_episodes))
