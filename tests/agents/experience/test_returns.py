"""Returns and advantages against sums written out by hand, one step at a time."""

from __future__ import annotations

import numpy as np
import pytest

from textrlhf.agents.experience.returns import gae, lambda_returns, n_step_returns

GAMMA = 0.9


@pytest.fixture
def rollout():
    """Random rewards and values over (20, 3), with terminations and truncations."""
    rng = np.random.default_rng(0)
    rewards, values, next_values = rng.normal(size=(3, 20, 3))
    terminated = rng.random((20, 3)) < 0.15
    ended = terminated | (rng.random((20, 3)) < 0.15)
    return rewards, values, next_values, terminated, ended


def n_step_by_hand(rollout, n, t, slot):
    rewards, _, next_values, terminated, ended = rollout
    total, discount = 0.0, 1.0
    for k in range(t, min(t + n, len(rewards))):
        total += discount * rewards[k, slot]
        discount *= GAMMA
        if ended[k, slot]:
            break
    return total + (0.0 if terminated[k, slot] else discount * next_values[k, slot])


@pytest.mark.parametrize("n", [1, 2, 5, 50])
def test_n_step_returns_are_the_sum_of_n_rewards_and_a_bootstrap(rollout, n):
    rewards, _, next_values, terminated, ended = rollout
    found = n_step_returns(rewards, next_values, terminated, ended, GAMMA, n)
    expected = [[n_step_by_hand(rollout, n, t, slot) for slot in range(3)] for t in range(20)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_lambda_returns_are_the_geometric_mixture_of_n_step_returns(rollout, lam):
    rewards, _, next_values, terminated, ended = rollout
    found = lambda_returns(rewards, next_values, terminated, ended, GAMMA, lam)
    for t in range(20):
        for slot in range(3):
            length = next((k for k in range(t, 20) if ended[k, slot]), 19) - t + 1
            weights = [(1 - lam) * lam ** (n - 1) for n in range(1, length)] + [lam ** (length - 1)]
            steps = [n_step_by_hand(rollout, n, t, slot) for n in range(1, length + 1)]
            assert found[t, slot] == pytest.approx(np.dot(weights, steps), rel=1e-10)


def test_gae_is_the_lambda_return_less_the_value_where_values_are_consistent(rollout):
    """With V(s′) of one step equal to V(s) of the next, both are the same sum."""
    rewards, values, next_values, terminated, ended = rollout
    next_values[:-1] = np.where(ended[:-1], next_values[:-1], values[1:])
    advantages = gae(rewards, values, next_values, terminated, ended, GAMMA, 0.8)
    returns = lambda_returns(rewards, next_values, terminated, ended, GAMMA, 0.8)
    np.testing.assert_allclose(advantages, returns - values, atol=1e-12)


def test_an_endless_reward_of_one_is_worth_the_horizon():
    """γ = 0.98 gives 50; a termination instead of the truncation would lose the tail."""
    ones, no = np.ones((400, 1)), np.zeros((400, 1), bool)
    for returns in (
        lambda_returns(ones, 50 * ones, no, no, 0.98, 1.0),
        n_step_returns(ones, 50 * ones, no, no, 0.98, 3),
    ):
        np.testing.assert_allclose(returns, 50.0)
    last = no.copy()
    last[-1] = True
    assert lambda_returns(ones, 50 * ones, last, last, 0.98, 1.0)[-1, 0] == 1.0
