"""The order of prompts: each once an epoch, no order more likely than another, two numbers for a slot's whole way."""

import collections
import itertools
import json

import numpy as np
import pytest

from textrlhf.envs.text.permutation import Cursor, permuted

SIZES = [*range(1, 70), 127, 128, 129, 255, 256, 257, 1000, 1023, 1024, 1025, 4097]


@pytest.mark.parametrize("key", [0, 1, 2**63 - 1])
def test_every_place_is_taken_once(key):
    for n in SIZES:
        assert sorted(permuted(place, n, key) for place in range(n)) == list(range(n)), n


def test_a_million_prompts_cost_nothing():
    found = {permuted(place, 10**9 + 7, 5) for place in range(2000)}
    assert len(found) == 2000
    assert min(found) >= 0
    assert max(found) < 10**9 + 7


@pytest.mark.parametrize("n", [2, 3, 5, 23, 100])
def test_every_prompt_is_as_likely_at_every_place(n):
    keys = np.random.default_rng(0).integers(1 << 63, size=4000).tolist()
    for place in {0, n // 2, n - 1}:
        counts = np.bincount([permuted(place, n, key) for key in keys], minlength=n)
        expected = len(keys) / n
        chi2 = ((counts - expected) ** 2 / expected).sum()
        assert chi2 < (n - 1) + 5 * np.sqrt(2 * (n - 1)) + 10, (n, place, counts)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_all_orders_of_a_few_prompts_occur(n):
    keys = np.random.default_rng(1).integers(1 << 63, size=3000).tolist()
    counts = collections.Counter(tuple(permuted(place, n, key) for place in range(n)) for key in keys)
    assert set(counts) <= set(itertools.permutations(range(n)))
    assert len(counts) > len(list(itertools.permutations(range(n)))) // 2


def test_neighbours_do_not_stay_neighbours():
    keys = np.random.default_rng(2).integers(1 << 63, size=300).tolist()
    steps = [permuted(7, 1000, key) - permuted(6, 1000, key) for key in keys]
    assert len(set(steps)) > 200


def test_a_cursor_goes_through_epochs_in_new_orders():
    cursor, rng = Cursor(13), np.random.default_rng(0)
    epochs = [[cursor.next(rng) for _ in range(13)] for _ in range(5)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(13))
    assert len({tuple(epoch) for epoch in epochs}) == 5


@pytest.mark.parametrize("steps", [0, 1, 12, 13, 14, 40])
def test_a_cursor_is_restored_by_two_numbers(steps):
    cursor, rng = Cursor(13), np.random.default_rng(0)
    for _ in range(steps):
        cursor.next(rng)
    other_rng = np.random.default_rng()
    other_rng.bit_generator.state = json.loads(json.dumps(rng.bit_generator.state))
    other = Cursor(**json.loads(json.dumps(cursor.state())))
    assert [cursor.next(rng) for _ in range(40)] == [other.next(other_rng) for _ in range(40)]


def test_only_a_new_epoch_draws():
    cursor, rng, same = Cursor(5), np.random.default_rng(0), np.random.default_rng(0)
    for _ in range(5):
        cursor.next(rng)
    same.integers(1 << 63)
    assert rng.bit_generator.state == same.bit_generator.state


def test_one_prompt_comes_again_and_again():
    cursor, rng = Cursor(1), np.random.default_rng(0)
    assert [cursor.next(rng) for _ in range(4)] == [0, 0, 0, 0]
