"""Calling reward functions: which answers are scores, and what errors name."""

import numpy as np
import pytest
import torch

from textrlhf.reward_models import Composite, RewardFunctionError, call_reward
from textrlhf.reward_models.ensemble import Ensemble
from textrlhf.reward_models.reward_function import Parted, call_reward_parts, is_number, sigmoid

PROMPTS, RESPONSES = ["a", "b"], [" x", " y z"]


@pytest.mark.parametrize(
    "answer",
    [
        [1, 2],
        np.array([1, 2], np.float32),
        torch.tensor([1.0, 2.0], requires_grad=True),
        torch.tensor([1.0, 2.0]).bfloat16(),
    ],
)
def test_accepts_any_numbers(answer):
    scores = call_reward(lambda p, r: answer, PROMPTS, RESPONSES)
    assert scores.dtype == np.float64
    assert scores.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([1.0], r"shape \(1,\): expected \(2,\)"),
        ([[1.0], [2.0]], r"shape \(2, 1\)"),
        ([1.0, float("nan")], "nan for the response ' y z'"),
        ([1.0, float("inf")], "inf for the response"),
        (["good", "bad"], "expected 2 numbers"),
        (None, r"expected|shape"),
    ],
)
def test_invalid_answers(answer, message):
    with pytest.raises(RewardFunctionError, match=message):
        call_reward(lambda p, r: answer, PROMPTS, RESPONSES)


def test_exception_names_the_text():
    def reward_function(prompts, responses):
        raise ZeroDivisionError("no")

    with pytest.raises(RewardFunctionError, match=r"raised ZeroDivisionError: no; .* ' x' to the prompt 'a'"):
        call_reward(reward_function, PROMPTS, RESPONSES)


def test_exception_without_texts():
    def reward_function(prompts, responses):
        raise ZeroDivisionError("no")

    with pytest.raises(
        RewardFunctionError, match="reward_model raised ZeroDivisionError: no; it was called with 0 responses"
    ):
        call_reward(reward_function, [], [])


def test_error_names_the_part():
    whole = Composite({"broken": (lambda p, r: [float("nan")] * 2, 1.0)})
    with pytest.raises(RewardFunctionError, match=r"^broken returned nan"):
        call_reward(whole, PROMPTS, RESPONSES)


class Halves:
    """A reward function of two parts, independent of this library."""

    def parts(self, prompts, responses):
        return {"left": [1, 2], "right": torch.tensor([3.0, 4.0])}

    def combine(self, parts):
        return parts["left"] + parts["right"]


class TestParts:
    def test_scores_are_checked_floats(self):
        parts = call_reward_parts(Halves(), PROMPTS, RESPONSES)
        assert {name: (scores.tolist(), scores.dtype) for name, scores in parts.items()} == {
            "left": ([1, 2], np.float64),
            "right": ([3, 4], np.float64),
        }

    def test_invalid_part_is_named(self):
        class Broken(Halves):
            def parts(self, prompts, responses):
                return {"left": [1.0, 2.0], "right": [1.0]}

        with pytest.raises(RewardFunctionError, match=r"^right returned scores of shape \(1,\)"):
            call_reward_parts(Broken(), PROMPTS, RESPONSES)

    def test_exception_names_the_text(self):
        class Broken(Halves):
            def parts(self, prompts, responses):
                raise KeyError("lost")

        with pytest.raises(
            RewardFunctionError, match=r"reward_model raised KeyError: 'lost'; .* ' x' to the prompt 'a'"
        ):
            call_reward_parts(Broken(), PROMPTS, RESPONSES)

    def test_protocol(self):
        assert isinstance(Halves(), Parted)
        assert isinstance(Ensemble([len]), Parted)
        assert isinstance(Composite({"one": (len, 1.0)}), Parted)
        assert not isinstance(len, Parted)


def test_is_number():
    values = (0, -1.5, np.float32(2), True, "1", None, float("inf"), 10**400)
    assert [is_number(value) for value in values] == [*[True] * 3, *[False] * 5]


def test_sigmoid_does_not_overflow():
    assert sigmoid([-1e4, 0, 1e4]).tolist() == [0, 0.5, 1]
    assert sigmoid(np.log(3)) == pytest.approx(0.75)
