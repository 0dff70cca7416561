"""Tasks that PPO must solve, each with a control that must fail."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from textrlhf.agents import PPO, evaluate

pytestmark = pytest.mark.slow

SLOTS = 8


class Needle(gym.Env):
    """Repeat the observation, one of 70; the mask allows the right answer and 14 others."""

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


def accuracy(masked: str, policy: str) -> float:
    agent = PPO(
        needles(masked), policy=policy, n_steps=64, batch_size=128, n_epochs=10, learning_rate=3e-3, gamma=0.0, seed=0
    )
    agent.learn(7_000, progress=False)
    return evaluate(agent, needles(masked), 16).mean / Needle.LENGTH


@pytest.mark.parametrize(
    ("masked", "policy"), [("info", "mlp"), ("method", "mlp"), pytest.param("info", "gru", marks=pytest.mark.slow)]
)
def test_masks_are_learned_with(masked: str, policy: str) -> None:
    """With masks at least 90 % of the optimum within a few steps."""
    assert accuracy(masked, policy) >= 0.9


@pytest.mark.slow
def test_control_without_masks_fails() -> None:
    assert accuracy("no", "mlp") < 0.5


class Positions(gym.ObservationWrapper):
    """CartPole without velocities: partially observable."""

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
        learning_rate=3e-3,
        lr_schedule="linear",
        gamma=0.98,
        gae_lambda=0.9,
        normalize_observation=True,
        memory_size=32,
        net_arch=(32,),
        seed=0,
    )
    agent.learn(20_000, progress=False)
    return evaluate(agent, cartpoles(10), 20).mean


@pytest.mark.slow
def test_gru_solves_partial_observability() -> None:
    assert balance("gru") >= 150


def test_control_without_memory_fails() -> None:
    assert balance("mlp") < 80
