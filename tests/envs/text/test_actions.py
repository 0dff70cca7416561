"""The checks of actions, log-probabilities, seeds and prompt numbers."""

import numpy as np
import pytest
import torch

from textrlhf.envs.text.actions import checked_actions, checked_logprobs, checked_seeds, prompt_indices


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, np.int64])
def test_actions_of_any_integer_type(dtype):
    actions = checked_actions(np.array([0, 9], dtype), 2, 10)
    assert actions.dtype == np.int64
    assert actions.tolist() == [0, 9]


@pytest.mark.parametrize("wrong", [-1, 10, 2**40])
def test_the_first_wrong_action_is_named(wrong):
    with pytest.raises(ValueError, match=f"action is {wrong} in environment 2: expected a token id from 0 to 9"):
        checked_actions(np.array([0, 9, wrong, -5]), 4, 10)


def test_a_number_beyond_int64_is_refused():
    with pytest.raises(ValueError, match="action is 18446744073709551615"):
        checked_actions(np.array([2**64 - 1], np.uint64), 1, 10)


def test_no_logprobs_are_zeros():
    np.testing.assert_array_equal(checked_logprobs(None, 3), [0, 0, 0])


@pytest.mark.parametrize(
    "given",
    [
        [-1.0, -2.0],
        (-1, -2),
        np.array([-1, -2], np.float16),
        torch.tensor([-1.0, -2.0], requires_grad=True),
        torch.tensor([-1.0, -2.0], dtype=torch.bfloat16),
    ],
)
def test_logprobs_of_any_type(given):
    found = checked_logprobs(given, 2)
    assert found.dtype == np.float64
    assert found.tolist() == [-1.0, -2.0]


def test_ignored_rows_are_not_checked():
    given = np.array([np.nan, -1.0, 7.0])
    found = checked_logprobs(given, 3, ignore=np.array([True, False, True]))
    assert found.tolist() == [0.0, -1.0, 0.0]
    assert given[2] == 7.0
    with pytest.raises(ValueError, match="policy_logprob is 7.0 in environment 2"):
        checked_logprobs(given, 3, ignore=np.array([True, False, False]))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 0.01])
def test_invalid_logprobs(wrong):
    with pytest.raises(ValueError, match=r"policy_logprob is .* in environment 1: expected a finite log-probability"):
        checked_logprobs([-1.0, wrong], 2)


def test_seeds():
    assert checked_seeds(None, 3) is None
    assert checked_seeds(5, 3) == [5, 6, 7]
    assert checked_seeds(np.int64(5), 2) == [5, 6]
    assert checked_seeds([3, None, np.int32(4)], 3) == [3, None, 4]
    assert all(type(seed) is int for seed in checked_seeds(np.arange(3), 3))
    with pytest.raises(ValueError, match="seed has 2 entries"):
        checked_seeds([1, 2], 3)


def test_chosen_prompts():
    assert prompt_indices(None, 2, 5) is None
    assert prompt_indices({}, 2, 5) is None
    assert prompt_indices({"prompt": None}, 2, 5) is None
    assert prompt_indices({"prompt": 0}, 1, 5) == [0]
    assert prompt_indices({"prompt": np.array([4, 0])}, 2, 5) == [4, 0]
    for wrong in (5, -1, [0], [0, 1, 2], [0.0, 1.0], [True, False], "ab"):
        with pytest.raises(ValueError, match=r"options\['prompt'\].*expected 2 indices from 0 to 4"):
            prompt_indices({"prompt": wrong}, 2, 5)
