"""The order of prompts: each once per epoch, and three numbers for its whole state."""

import json

import numpy as np
import pytest

from textrlhf.envs.text.prompt_order import PromptOrder


def after(steps, n=13):
    order, rng = PromptOrder(n), np.random.default_rng(0)
    return order, rng, [order.next(rng) for _ in range(steps)]


@pytest.mark.parametrize("n", [1, 2, 13, 1000])
def test_each_epoch_has_every_prompt_once(n):
    numbers = np.array(after(4 * n, n)[2]).reshape(4, n)
    assert (np.sort(numbers, 1) == np.arange(n)).all()
    assert n < 10 or len(np.unique(numbers, axis=0)) == 4


@pytest.mark.parametrize("steps", [0, 1, 12, 13, 14, 40])
def test_restored_from_json(steps):
    order, rng, _ = after(steps)
    other_rng = np.random.default_rng()
    other_rng.bit_generator.state = json.loads(json.dumps(rng.bit_generator.state))
    other = PromptOrder(**json.loads(json.dumps(order.state())))
    assert [order.next(rng) for _ in range(40)] == [other.next(other_rng) for _ in range(40)]


def test_an_epoch_draws_once():
    _, rng, _ = after(13)
    same = np.random.default_rng(0)
    same.integers(1 << 63)
    assert rng.bit_generator.state == same.bit_generator.state
