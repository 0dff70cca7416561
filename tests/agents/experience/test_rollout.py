"""Advantages against their definition, segments and minibatches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from textrlhf.agents.environment.masks import pack
from textrlhf.agents.experience.rollout import Minibatch, Rollout, gae

shapes = st.tuples(st.integers(1, 24), st.integers(1, 4))
seeds = st.integers(0, 10_000)
probabilities = st.sampled_from([0.0, 0.05, 0.3, 0.9])


def closed_form(
    rewards: np.ndarray,
    values: np.ndarray,
    next_values: np.ndarray,
    terminated: np.ndarray,
    ended: np.ndarray,
    gamma: float,
    lam: float,
) -> np.ndarray:
    """A_t = Σ_l (γλ)^l δ_{t+l}, up to and with the step at which t's episode ends."""
    advantages = np.zeros_like(rewards)
    steps, slots = rewards.shape
    for n in range(slots):
        for t in range(steps):
            for i in range(t, steps):
                bootstrap = 0.0 if terminated[i, n] else gamma * next_values[i, n]
                advantages[t, n] += (gamma * lam) ** (i - t) * (rewards[i, n] + bootstrap - values[i, n])
                if ended[i, n]:
                    break
    return advantages


@given(shape=shapes, seed=seeds, end=probabilities, cut=probabilities, gamma=st.floats(0, 1), lam=st.floats(0, 1))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_gae_equals_its_closed_form(
    shape: tuple[int, int], seed: int, end: float, cut: float, gamma: float, lam: float
) -> None:
    """Guards against bootstrapping at a termination, not doing so at a truncation, and leaking across either."""
    rng = np.random.default_rng(seed)
    rewards, values, next_values = rng.normal(0, 3, (3, *shape))
    terminated = rng.random(shape) < end
    ended = terminated | (rng.random(shape) < cut)
    expected = closed_form(rewards, values, next_values, terminated, ended, gamma, lam)
    found = gae(rewards, values, next_values, terminated, ended, gamma, lam)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_endless_reward_has_value_fifty() -> None:
    """With a truncation every fifth step a value of 50 has no TD error, by bootstrapping."""
    ones, never = np.ones((20, 2)), np.zeros((20, 2), bool)
    cut = never.copy()
    cut[4::5] = True
    found = gae(ones, 50 * ones, 50 * ones, never, cut, 0.98, 0.95)
    np.testing.assert_allclose(found, 0, atol=1e-12)
    assert abs(gae(ones, 50 * ones, 50 * ones, cut, cut, 0.98, 0.95)).max() > 40  # had they been terminations


def test_next_values_after_termination_are_ignored() -> None:
    rewards, values = np.ones((3, 1)), np.zeros((3, 1))
    terminated = np.array([[False], [True], [False]])
    found = [
        gae(rewards, values, np.array([[0.0], [junk], [0.0]]), terminated, terminated, 1.0, 1.0)
        for junk in (0.0, np.inf, np.nan)
    ]
    assert [advantages.ravel().tolist() for advantages in found] == [[2.0, 1.0, 1.0]] * 3


class Log:
    """Keeps nothing: returns what it is asked for."""

    def add(self, observation: Any, starts: Any) -> None:
        raise AssertionError

    def take(self, steps: Tensor, segments: np.ndarray | None) -> Any:
        return steps, segments


def rollout(
    shape: tuple[int, int], seed: int, end: float = 0.2, by_segments: bool = False, resets: bool = True
) -> Rollout:
    """A rollout of random episodes; with `resets`, the step after an end is spent on the reset."""
    rng = np.random.default_rng(seed)
    terminated, truncated = rng.random((2, *shape)) < end / 2
    starts, valid = np.zeros(shape, bool), np.ones(shape, bool)
    starts[0] = rng.random(shape[1]) < 0.5
    if resets:
        valid[0] = starts[0] | (rng.random(shape[1]) < 0.7)
    for t in range(len(valid)):
        if t and resets:
            valid[t] = ~(terminated | truncated)[t - 1]
            starts[t] = ~valid[t - 1]
        elif t:
            starts[t] = (terminated | truncated)[t - 1]
        terminated[t] &= valid[t]
        truncated[t] &= valid[t] & ~terminated[t]
    index = torch.arange(shape[0] * shape[1]).view(shape)
    masks = (index.numpy()[..., None] >> np.arange(10)) % 2 == 1  # a step's mask is its number in binary
    made = Rollout(
        log=Log(),
        by_segments=by_segments,
        actions=index,
        log_probs=index + 0.25,
        values=index + 0.5,
        rewards=rng.normal(size=shape),
        terminated=terminated,
        truncated=truncated,
        valid=valid,
        starts=starts,
        next_values=rng.normal(size=shape),
        masks=pack(masks),
        mask_width=10,
    )
    made.estimate_advantages(0.99, 0.95)
    return made


@given(shape=shapes, seed=seeds, end=probabilities, resets=st.booleans())
@settings(max_examples=80, deadline=None, derandomize=True)
def test_segments_partition_the_valid_steps(shape: tuple[int, int], seed: int, end: float, resets: bool) -> None:
    """A segment across an episode's border would carry a memory into a life that does not know it."""
    made = rollout(shape, seed, end, resets=resets)
    taken = np.zeros(shape, int)
    for slot, first, stop in made.segments():
        assert stop > first
        taken[first:stop, slot] += 1
        assert not made.starts[first + 1 : stop, slot].any()
        assert not made.ended[first : stop - 1, slot].any()
        assert first == 0 or made.starts[first, slot] or not made.valid[first - 1, slot]  # no needless cut
    np.testing.assert_array_equal(taken, made.valid)


def test_segments_of_an_example() -> None:
    made = rollout((6, 2), 0)
    made.starts = np.array([[1, 0, 0, 0, 1, 0], [0, 0, 1, 1, 0, 0]], bool).T
    made.valid = np.array([[1, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 0]], bool).T
    assert made.segments().tolist() == [[0, 0, 3], [0, 4, 6], [1, 0, 2], [1, 2, 3], [1, 3, 5]]


def belongs(batch: Minibatch, made: Rollout) -> np.ndarray:
    """Check that every part of a minibatch is about the same steps; return their numbers."""
    steps, segments = batch.observations
    assert segments is batch.segments
    assert torch.equal(batch.actions, steps)
    assert torch.equal(batch.log_probs, steps + 0.25)
    assert torch.equal(batch.values, steps + 0.5)
    assert torch.equal(batch.returns, made.returns.flatten()[steps])
    assert batch.masks is not None
    assert torch.equal((batch.masks * 2 ** torch.arange(10)).sum(1), steps)
    return steps.numpy()


@given(shape=shapes, seed=seeds, end=probabilities, batch_size=st.integers(1, 40), by_segments=st.booleans())
@settings(max_examples=120, deadline=None, derandomize=True)
def test_minibatches_partition_the_valid_steps(
    shape: tuple[int, int], seed: int, end: float, batch_size: int, by_segments: bool
) -> None:
    made = rollout(shape, seed, end, by_segments)
    total, rng = int(made.valid.sum()), np.random.default_rng(seed)
    longest = max((stop - first for _, first, stop in made.segments()), default=0)
    for _ in range(2):  # epochs
        batches = list(made.minibatches(batch_size, rng))
        numbers = [belongs(batch, made) for batch in batches]
        np.testing.assert_array_equal(np.sort(np.concatenate([*numbers, []])), np.flatnonzero(made.valid))
        sizes = [len(number) for number in numbers]
        assert 0 not in sizes
        if by_segments:
            assert max(sizes, default=0) < batch_size + longest
            for batch, number in zip(batches, numbers, strict=True):
                assert batch.segments is not None
                expected = [t * shape[1] + n for n, first, stop in batch.segments for t in range(first, stop)]
                assert number.tolist() == expected  # whole segments, end to end
        else:
            assert len(sizes) == -(-total // batch_size)
            assert max(sizes, default=0) - min(sizes, default=0) <= 1


@pytest.mark.parametrize("by_segments", [False, True], ids=["steps", "segments"])
def test_epochs_are_shuffled_by_the_given_generator(by_segments: bool) -> None:
    made = rollout((40, 4), 1, by_segments=by_segments)

    def epoch(rng: np.random.Generator) -> list[list[int]]:
        return [batch.actions.tolist() for batch in made.minibatches(20, rng)]

    rng = np.random.default_rng(0)
    first, second = epoch(rng), epoch(rng)
    assert first != second
    assert epoch(np.random.default_rng(0)) == first
    assert sorted(first[0]) != sorted(second[0])  # other steps together, not the same ones in another order


@pytest.mark.parametrize("by_segments", [False, True], ids=["steps", "segments"])
@pytest.mark.parametrize("batch_size", [30, 10_000], ids=["several", "one"])
def test_whitened_advantages_are_standardized(by_segments: bool, batch_size: int) -> None:
    """And are the plain ones otherwise; a rollout that is one minibatch is built once, but for each kind."""
    made, rng = rollout((50, 3), 2, by_segments=by_segments), np.random.default_rng(0)
    for _ in range(2):
        for batch in made.minibatches(batch_size, rng, whiten=True):
            plain = made.advantages.flatten()[belongs(batch, made)]
            assert abs(float(batch.advantages.mean())) < 1e-6
            assert abs(float(batch.advantages.std()) - 1) < 1e-5
            torch.testing.assert_close(batch.advantages, (plain - plain.mean()) / plain.std(), rtol=1e-4, atol=1e-5)
        for batch in made.minibatches(batch_size, rng):
            assert torch.equal(batch.advantages, made.advantages.flatten()[belongs(batch, made)])


def test_new_advantages_replace_cached_minibatches() -> None:
    """The minibatch built once must not outlive the advantages it was built from."""
    made, rng = rollout((8, 2), 3), np.random.default_rng(0)
    list(made.minibatches(10_000, rng))
    made.rewards += 1
    made.estimate_advantages(0.5, 0.5)
    (batch,) = made.minibatches(10_000, rng)
    assert torch.equal(batch.advantages, made.advantages.flatten()[belongs(batch, made)])


def test_minibatch_of_one_step_is_not_whitened() -> None:
    made = rollout((9, 1), 4, end=0.0)
    for batch in made.minibatches(1, np.random.default_rng(0), whiten=True):
        assert batch.advantages.isfinite().all()


@pytest.mark.parametrize("by_segments", [False, True], ids=["steps", "segments"])
def test_rollout_of_resets_has_no_minibatch(by_segments: bool) -> None:
    """One step a rollout in NEXT_STEP mode: every slot may be resetting at once."""
    made = rollout((1, 3), 0, by_segments=by_segments)
    made.valid[:] = False
    assert list(made.minibatches(16, np.random.default_rng(0), whiten=True)) == []


def test_returns_are_advantages_plus_values() -> None:
    """At values of a million, a float32 sum would lose the advantage."""
    made = rollout((12, 2), 5)
    made.values = made.values.double() * 1e6
    made.estimate_advantages(0.99, 0.95)
    expected = gae(made.rewards, made.values.numpy(), made.next_values, made.terminated, made.ended, 0.99, 0.95)
    np.testing.assert_array_equal(made.advantages.numpy(), expected.astype(np.float32))
    np.testing.assert_array_equal(made.returns.numpy(), (expected + made.values.numpy()).astype(np.float32))
