"""Learning that must work, each with a control that must not."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from textrlhf.agents import PPO, evaluate

SLOTS = 8


class Needle(gym.Env):
    """Name the state you see, out of 70; the mask leaves the right answer and 14 others."""

    metadata = {"render_modes": []}
    N, ALLOWED, LENGTH = 70, 15, 100

    def __init__(self, masked: str = "info") -> None:
        self.observation_space = self.action_space = spaces.Discrete(self.N)
        self.masked = masked
        if masked == "method":
            self.action_masks = lambda: self._mask

    def _draw(self) -> dict:
        self.state = int(self.np_random.integers(self.N))
        self._mask = np.zeros(self.N, bool)
        self._mask[self.np_random.choice(self.N, self.ALLOWED - 1, replace=False)] = True
        self._mask[self.state] = True
        return {"action_mask": self._mask} if self.masked == "info" else {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        info = self._draw()
        return self.state, info

    def step(self, action):
        if self.masked != "no":
            assert self._mask[action], "a forbidden action was sent"
        self.t += 1
        reward = float(action == self.state)
        info = self._draw()
        return self.state, reward, self.t == self.LENGTH, False, info


def needles(masked: str) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: Needle(masked)] * SLOTS, autoreset_mode=AutoresetMode.SAME_STEP)


def taught(masked: str, policy: str) -> float:
    agent = PPO(
        needles(masked), policy=policy, n_steps=64, batch_size=128, n_epochs=10, learning_rate=3e-3, gamma=0.0, seed=0
    )
    agent.learn(7_000, progress=False)
    return evaluate(agent, needles(masked), 16).mean / Needle.LENGTH


@pytest.mark.slow
@pytest.mark.parametrize(("masked", "policy"), [("info", "mlp"), ("method", "mlp"), ("info", "gru")])
def test_masks_matter(masked: str, policy: str) -> None:
    """Within the same few steps: at least 90 % of the optimum with masks."""
    assert taught(masked, policy) >= 0.9


@pytest.mark.slow
def test_without_masks_it_is_far_worse() -> None:
    assert taught("no", "mlp") < 0.5


class Positions(gym.ObservationWrapper):
    """CartPole without its velocities: one look does not tell where things are going."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = spaces.Box(-5, 5, (2,), np.float32)

    def observation(self, observation):
        return observation[[0, 2]]


def cartpoles(n: int) -> SyncVectorEnv:
    make = lambda: Positions(gym.make("CartPole-v1"))  # noqa: E731
    return SyncVectorEnv([make] * n, autoreset_mode=AutoresetMode.SAME_STEP)


def balance(policy: str) -> float:
    agent = PPO(
        cartpoles(16),
        policy=policy,
        n_steps=64,
        batch_size=512,
        n_epochs=10,
        learning_rate=2e-3,
        lr_schedule="linear",
        gamma=0.98,
        gae_lambda=0.9,
        normalize_observation=True,
        seed=0,
    )
    agent.learn(60_000, progress=False)
    return evaluate(agent, cartpoles(10), 50).mean


@pytest.mark.slow
def test_memory_matters() -> None:
    assert balance("gru") >= 400


@pytest.mark.slow
def test_without_memory_the_pole_falls() -> None:
    assert balance("mlp") < 150
