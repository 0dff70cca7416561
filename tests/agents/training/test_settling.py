"""Scores that wait for the end of a rollout are the agent's affair: nobody else who uses the environment misses any."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from textrlhf import PPO
from tiny_models import tiny_lm

pytestmark = pytest.mark.slow
ENV = {"prompts": ["w1 w2", "w3"], "max_new_tokens": 3, "context": 12, "kl_coef": 0.0}


def one(prompts, responses):
    return np.ones(len(responses))


def batch(kind: str, **options):
    how = {"vectorization_mode": "sync"} if kind == "sync" else {}
    return gym.make_vec("TextRLHF-v0", 2, model=tiny_lm(), reward_model=one, **{**ENV, **options}, **how)


def learn(env) -> PPO:
    agent = PPO(env, n_steps=6, n_epochs=1, batch_size=12, seed=0)
    return agent.learn(24, progress=False)


@pytest.mark.parametrize("kind", ["native", "sync"])
@pytest.mark.parametrize("kl_penalty", ["token", "deferred"])
def test_after_training_rewards_are_whole_again(kind: str, kl_penalty: str) -> None:
    env = batch(kind, kl_penalty=kl_penalty)
    learn(env)
    env.reset()  # without a seed, as most loops do
    total = sum(env.step(np.array([5, 6]))[1] for _ in range(3))
    np.testing.assert_allclose(total, 1.0)


@pytest.mark.parametrize("kl_penalty", ["token", "deferred"])
def test_wrappers_that_watch_rewards_see_scores(kl_penalty: str) -> None:
    env = RecordEpisodeStatistics(batch("native", kl_penalty=kl_penalty))
    agent = learn(env)
    assert set(env.return_queue) == {1.0}
    assert {episode["score"] for episode in agent.episodes.recent} == {1.0}
