"""REINFORCE: its gradient by hand, learning on control and text, its baselines."""

from __future__ import annotations

import functools

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from text_learner import N, batch
from textrlhf import REINFORCE, evaluate
from textrlhf.records.progress import Stopwatch
from tiny_envs import text_env
from word_scores import Words


def test_the_gradient_is_that_of_returns_less_their_mean():
    """∇ of −mean(log π · (G − mean G)), G written out by hand in float64."""
    agent = REINFORCE("CartPole-v1", n_envs=4, n_steps=60, baseline="mean", normalize_advantage=False, seed=3)
    agent.cut(None)
    rollout = agent.collect(Stopwatch())
    real, expected = rollout.valid.copy(), np.full(rollout.rewards.shape, np.nan)
    for slot in range(4):
        following = np.nan  # the return of an episode that the rollout cuts is not known
        for t in reversed(range(60)):
            following = 1.0 + (0.0 if rollout.ended[t, slot] else agent.config.gamma * following)
            expected[t, slot] = following
    known = real & ~np.isnan(expected)
    assert 0 < known.sum() < known.size
    agent.estimate_advantages(rollout)
    np.testing.assert_array_equal(rollout.valid, known)
    np.testing.assert_allclose(
        rollout.advantages.numpy()[known], expected[known] - expected[known].mean(), rtol=1e-5, atol=1e-5
    )
    before = agent.optimizer.flat.clone()
    (minibatch,) = rollout.minibatches(10**6, np.random.default_rng(0))
    loss = -(agent.policy.evaluate(minibatch).log_prob * minibatch.advantages).mean()
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(agent.policy.actor.parameters()))])
    agent.optimizer.step = lambda *args: None  # keep the gradient as it is
    metrics = agent.update(rollout, 1.0)
    assert torch.equal(before, agent.optimizer.flat)
    mine = torch.cat([p.grad.flatten() for p in agent.policy.actor.parameters()])
    torch.testing.assert_close(mine, gradient, rtol=1e-4, atol=1e-6)
    assert all(p.grad.abs().sum() == 0 for p in agent.policy.critic.parameters())
    assert metrics["train/first_ratio_error"] < 1e-5


def cut_by_a_wrapper(watched=False, mode=AutoresetMode.SAME_STEP, **options):
    """Texts that a `TimeLimit` cuts; `watched`: by a wrapper for which scores are paid at once."""
    watch = [gym.wrappers.RecordEpisodeStatistics] if watched else []
    how = {"wrappers": watch, "vector_kwargs": {"autoreset_mode": mode}, "max_episode_steps": 4}
    return gym.make_vec("TextRLHF-v0", N, "sync", **how, **text_env(**options))


CUT = {
    "by the environment": functools.partial(batch, "cut"),
    "by a wrapper": cut_by_a_wrapper,
    "by a wrapper, a step late": functools.partial(cut_by_a_wrapper, mode=AutoresetMode.NEXT_STEP),
    "by a wrapper, paid at once": functools.partial(cut_by_a_wrapper, watched=True),
}


@pytest.mark.parametrize("kl_penalty", ["none", "deferred"])
@pytest.mark.parametrize("cut", CUT)
@pytest.mark.parametrize("baseline", ["mean", "critic"])
def test_credit_of_texts_without_a_score(baseline, cut, kl_penalty):
    """Without a critic it is taken back: else long texts would pay. A critic goes on from there: it is kept."""
    env = CUT[cut](reward_model=Words(), credit="token", kl_penalty=kl_penalty, kl_coef=0.0)
    agent = REINFORCE(env, n_steps=24, baseline=baseline, seed=0, torch_threads=1)
    agent.cut(None)
    rollout, texts = agent.collect(Stopwatch()), 0
    assert rollout.credit is not None
    for slot in range(N):
        first = 0
        for last in np.flatnonzero(rollout.ended[:, slot]):
            rewards = rollout.rewards[first : last + 1, slot][rollout.valid[first : last + 1, slot]]
            if rollout.truncated[last, slot]:
                kept = 0.0 if baseline == "mean" else rollout.credit[last, slot]
                assert rewards.sum() == pytest.approx(kept)
                assert np.abs(rewards).max() > 0.01
                texts += 1
            first = last + 1
    assert texts > N


def test_the_learning_rate_follows_its_schedule():
    agent = REINFORCE("CartPole-v1", n_steps=32, seed=0, learning_rate=0.01, lr_schedule="linear")
    agent.cut(None)
    rates, step = [], agent.optimizer.step
    agent.optimizer.step = lambda rate, norm: (rates.append(rate), step(rate, norm))
    logged = [agent.advance(remaining, Stopwatch())["train/learning_rate"] for remaining in (1.0, 0.1)]
    assert rates == logged == pytest.approx([0.01, 0.001])


@pytest.mark.slow
@pytest.mark.parametrize("baseline", ["critic", "mean"])
def test_it_learns_cartpole(baseline):
    agent = REINFORCE("CartPole-v1", n_envs=8, n_steps=500, baseline=baseline, learning_rate=0.01, seed=0)
    agent.learn(80_000, progress=False)
    assert evaluate(agent, n_episodes=20).mean > 90  # 22 untrained; 142, 283, 229 with a critic in seeds 0 to 2


@pytest.mark.parametrize("baseline", ["critic", "mean"])
@pytest.mark.slow
def test_it_learns_text(baseline):
    """The true score of a small text task rises."""
    agent = REINFORCE(batch("plain"), baseline=baseline, n_steps=40, learning_rate=0.01, seed=0)
    agent.learn(2 * 40 * N, progress=False)
    first = agent.episodes.metrics()["rollout/score"]
    agent.learn(30 * 40 * N, progress=False)
    assert agent.episodes.metrics()["rollout/score"] > first


def test_unfinished_episodes_alone_leave_the_weights_unchanged():
    agent = REINFORCE(gym.make("Pendulum-v1"), n_envs=1, n_steps=10, baseline="mean", seed=0)  # episodes of 200
    before = agent.optimizer.flat.clone()
    agent.learn(20, progress=False)
    assert torch.equal(before, agent.optimizer.flat)


class Reporting(gym.Wrapper):
    """An environment with something of its own that is called credit."""

    def step(self, action):
        *result, info = self.env.step(action)
        return *result, info | {"credit": 100.0}


def test_an_environment_may_have_a_credit_of_its_own():
    """It was taken off the last reward of every truncated episode."""
    env = gym.wrappers.TimeLimit(Reporting(gym.make("CartPole-v1").unwrapped), 5)
    agent = REINFORCE(env, n_steps=16, baseline="mean", seed=0, n_envs=1)
    agent.cut(None)
    rollout = agent.collect(Stopwatch())
    agent.relabel(rollout)
    assert (rollout.rewards[rollout.valid] == 1).all()
