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


def shaped(rollout, potential):
    """What an agent sees of the rollout if each step also pays the change of a potential (21, 3), with γ = 1.

    Critics learn what is still to come, the value less the potential, which is 0 after a termination.
    """
    rewards, values, next_values, terminated, ended = rollout
    after = np.where(terminated, 0.0, potential[1:])
    return rewards + after - potential[:-1], values - potential[:-1], next_values - after, terminated, ended


@pytest.mark.parametrize("lam", [0.0, 0.95, 1.0])
def test_a_potential_changes_no_advantage(rollout, lam):
    """If truncated episodes keep what they were paid, as the critic's bootstrap lacks it; taken back, they lose it."""
    potential = np.random.default_rng(1).normal(size=(21, 3))
    seen, (_, _, _, terminated, ended) = shaped(rollout, potential), rollout
    advantages = gae(*seen, 1.0, lam)
    np.testing.assert_allclose(advantages, gae(*rollout, 1.0, lam), atol=1e-12)
    cut = ended & ~terminated
    taken_back = gae(seen[0] - np.where(cut, potential[1:], 0.0), *seen[1:], 1.0, lam)
    np.testing.assert_allclose((advantages - taken_back)[cut], potential[1:][cut])


def test_without_a_critic_credit_must_be_taken_back_at_a_truncation(rollout):
    """Returns to go then are those without it less what was paid before, which no action that follows changes."""
    rewards, _, _, terminated, ended = rollout
    ended[-1] = True
    potential, zeros = np.random.default_rng(1).normal(size=(21, 3)), np.zeros((20, 3))
    seen = shaped(rollout, potential)[0] - np.where(ended & ~terminated, potential[1:], 0.0)
    found = lambda_returns(seen, zeros, terminated, ended, 1.0, 1.0)
    expected = lambda_returns(rewards, zeros, terminated, ended, 1.0, 1.0) - potential[:-1]
    np.testing.assert_allclose(found, expected, atol=1e-12)
