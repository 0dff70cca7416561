"""Running statistics against the statistics of everything at once."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textrlhf.agents.experience.normalize import CLIP, EPSILON, ObservationNorm, RewardNorm


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8), seed=st.integers(0, 999))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_batches_combine_to_the_statistics_of_all_data(sizes: list[int], seed: int) -> None:
    """Also far from 0, where the naive E[x²] − E[x]² has no digits left."""
    rng = np.random.default_rng(seed)
    data = rng.normal([1e6, -3.0, 0.0], [1.0, 10.0, 1e-3], (sum(sizes), 3))
    norm = ObservationNorm((3,))
    for batch in np.split(data, np.cumsum(sizes)[:-1]):
        norm.update(torch.from_numpy(batch))
    np.testing.assert_allclose(norm.mean.numpy(), data.mean(0), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(norm.var.numpy(), data.var(0), rtol=1e-6, atol=1e-15)
    assert norm.count == len(data)


def test_observations_are_normalized_and_clipped() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal([5.0, -100.0], [0.1, 30.0], (4000, 2)).astype(np.float32)
    norm = ObservationNorm((2,))
    x = torch.from_numpy(data)
    torch.testing.assert_close(norm(x), x.clamp(-CLIP, CLIP))  # nothing seen yet: as it is
    norm.update(x)
    expected = (data - data.astype(np.float64).mean(0)) / np.sqrt(data.astype(np.float64).var(0) + EPSILON)
    np.testing.assert_allclose(norm(x).numpy(), expected, atol=2e-3)
    assert norm(torch.tensor([[1e9, -1e9]])).tolist() == [[CLIP, -CLIP]]
    np.testing.assert_array_equal(x.numpy(), data)  # the rollout's own copy is not written to


def test_constant_observation_is_finite() -> None:
    norm = ObservationNorm((1,))
    norm.update(torch.full((50, 1), 3.0))
    assert norm(torch.full((2, 1), 3.0)).tolist() == [[0.0], [0.0]]


def test_statistics_change_only_by_update() -> None:
    """Or what the policy saw when it acted could not be seen again when it learns."""
    norm, x = ObservationNorm((1,)), torch.tensor([[2.0], [4.0]])
    norm.update(x)
    first = norm(x).clone()
    norm(x + 100)
    assert torch.equal(norm(x), first)
    norm.update(x + 2)
    assert not torch.equal(norm(x), first)


def test_loading_clears_the_cache() -> None:
    """A cache kept over a load would use the old statistics."""
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trained, fresh = ObservationNorm((2,)), ObservationNorm((2,))
    trained.update(5 + 3 * x)
    fresh(x.float())  # fills the cache
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh(x.float()), trained(x.float()))
    fresh.update(x)
    trained.update(x)
    assert torch.equal(fresh.var, trained.var)  # the count came along


def reference_variance(
    rewards: np.ndarray, ended: np.ndarray, valid: np.ndarray, gamma: float
) -> tuple[float, np.ndarray]:
    """Gymnasium's NormalizeReward step by step: the variance of all discounted returns, and each slot's last."""
    seen = []
    running = np.zeros(rewards.shape[1])
    for t in range(len(rewards)):
        for n in range(rewards.shape[1]):
            if not valid[t, n]:
                continue
            running[n] = gamma * running[n] + rewards[t, n]
            seen.append(running[n])
            if ended[t, n]:
                running[n] = 0.0
    return float(np.var(seen)), running


def rollouts(seed: int, parts: int = 4, steps: int = 25, slots: int = 3) -> tuple[np.ndarray, ...]:
    """Rewards with ends, each followed by a reset step whose reward must be ignored."""
    rng = np.random.default_rng(seed)
    rewards = rng.normal(2.0, 5.0, (parts * steps, slots))
    ended = rng.random(rewards.shape) < 0.15
    valid = np.ones_like(ended)
    for t in range(1, len(ended)):
        valid[t] = ~(ended[t - 1] & valid[t - 1])
        ended[t] &= valid[t]
    rewards[~valid] = 1e6
    return rewards, ended, valid


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_rewards_are_divided_by_the_return_deviation(gamma: float) -> None:
    """Over several rollouts, across their borders, with episode ends, and without the steps spent on resets."""
    rewards, ended, valid = rollouts(0)
    norm = RewardNorm(rewards.shape[1], gamma)
    for k in range(1, 5):
        part = slice(25 * (k - 1), 25 * k)
        scaled = norm(rewards[part], ended[part], valid[part])
        variance, running = reference_variance(rewards[: 25 * k], ended[: 25 * k], valid[: 25 * k], gamma)
        assert norm.var == pytest.approx(variance, rel=1e-9)
        np.testing.assert_allclose(norm.returns[valid[25 * k - 1]], running[valid[25 * k - 1]], rtol=1e-9, atol=1e-9)
        expected = np.clip(rewards[part] / np.sqrt(variance + EPSILON), -CLIP, CLIP)
        np.testing.assert_allclose(scaled[valid[part]], expected[valid[part]], rtol=1e-9)
    assert norm.count == valid.sum()


def test_rollout_without_valid_steps_changes_nothing() -> None:
    norm = RewardNorm(2, 0.9)
    rewards = np.array([[1.0, 2.0]])
    nothing = np.zeros((1, 2), bool)
    assert np.array_equal(norm(rewards, nothing, nothing), rewards)
    assert (norm.mean, norm.var, norm.count) == (0.0, 1.0, 0.0)


def test_reward_statistics_round_trip_through_json() -> None:
    rewards, ended, valid = rollouts(1)
    norm = RewardNorm(3, 0.95)
    norm(rewards[:50], ended[:50], valid[:50])
    copy = RewardNorm(3, 0.95)
    copy.load_state_dict(json.loads(json.dumps(norm.state_dict())))
    one, other = (each(rewards[50:], ended[50:], valid[50:]) for each in (norm, copy))
    assert np.array_equal(one, other)
    assert norm.state_dict() == copy.state_dict()


def test_statistics_load_for_another_number_of_environments() -> None:
    """An agent with 3 environments is loaded with 2."""
    rewards, ended, valid = rollouts(2)
    norm = RewardNorm(3, 0.95)
    norm(rewards, ended, valid)
    copy = RewardNorm(2, 0.95)
    copy.load_state_dict(norm.state_dict())
    assert copy.var == norm.var
    assert copy.returns.tolist() == [0.0, 0.0]
    copy(rewards[:, :2], ended[:, :2], valid[:, :2])


def test_cut_resets_returns_and_keeps_statistics() -> None:
    norm = RewardNorm(1, 1.0)
    flags = np.zeros((3, 1), bool)
    norm(np.ones((3, 1)), flags, ~flags)
    variance = norm.var
    assert norm.returns.tolist() == [3.0]
    norm.cut()
    assert norm.returns.tolist() == [0.0]
    assert norm.var == variance
