"""Composites: weights, constraints, names, validation."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

from textrlhf.reward_models import Composite, RewardFunctionError
from textrlhf.reward_models.composite import AtLeast, AtMost

PROMPTS, RESPONSES = ["a", "b"], [" x", " y z"]


def words(prompts, responses):
    return [float(len(response.split())) for response in responses]


def scores(*values):
    return lambda prompts, responses: list(values)


class Same:
    """A reward function with a state, equal where that is."""

    def __init__(self, value):
        self.value = value

    def __call__(self, prompts, responses):
        return [self.value] * len(responses)

    def __eq__(self, other):
        return isinstance(other, Same) and self.value == other.value

    __hash__ = None


class TestWeights:
    def test_weighted_sum(self):
        reward_function = Composite({"one": (scores(1.0, 2.0), 2.0), "words": (words, -0.5)})
        assert reward_function(PROMPTS, RESPONSES).tolist() == [1.5, 3.0]
        assert reward_function.parts(PROMPTS, RESPONSES)["words"].tolist() == [1, 2]

    def test_error_names_the_part(self):
        with pytest.raises(RewardFunctionError, match="broken returned nan"):
            Composite({"broken": (scores(float("nan"), 0.0), 1.0)})(PROMPTS, RESPONSES)


class TestConstraints:
    @pytest.mark.parametrize(("kind", "expected"), [(AtLeast, [-6.0, -1.0, 0.0, 0.0]), (AtMost, [0.0, 0.0, 0.0, -4.0])])
    def test_penalty_on_the_wrong_side(self, kind, expected):
        """Guards against a wrong sign, a step in place of a slope, and a bonus on the right side."""
        reward_function = Composite({"bound": kind(scores(-2.0, 0.5, 1.0, 3.0), 1.0, 2.0)})
        assert reward_function(["p"] * 4, ["r"] * 4).tolist() == expected
        parts = reward_function.parts(["p"] * 4, ["r"] * 4)
        assert parts["bound"].tolist() == [-2.0, 0.5, 1.0, 3.0]  # the score, not the penalty

    def test_added_to_the_sum(self):
        reward_function = Composite(
            {"size": (words, 1.0), "short": AtMost(words, 1.0, 3.0), "long": AtLeast(words, 2.0, 0.5)}
        )
        assert reward_function(PROMPTS, RESPONSES).tolist() == [1 + 0 - 0.5, 2 - 3 + 0]

    @pytest.mark.parametrize("kind", [AtLeast, AtMost])
    @pytest.mark.parametrize(
        ("threshold", "penalty", "message"),
        [
            (np.nan, 1.0, "threshold of (AtLeast|AtMost) is nan"),
            (np.inf, 1.0, "threshold of .* is inf"),
            ("0", 1.0, "threshold of .* is '0'"),
            (0.0, 0.0, "penalty of (AtLeast|AtMost) is 0.0"),
            (0.0, -1.0, "penalty of .* is -1.0"),
            (0.0, np.inf, "penalty of .* is inf"),
            (0.0, None, "penalty of .* is None"),
        ],
    )
    def test_invalid_constraint(self, kind, threshold, penalty, message):
        with pytest.raises(ValueError, match=message):
            kind(words, threshold, penalty)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({}, ValueError, "reward_functions is empty"),
        ([(words, 1.0)], TypeError, "reward_functions is "),
        ({"a": 1.0}, ValueError, r"reward_functions\['a'\] is 1.0"),
        ({"a": words}, ValueError, r"reward_functions\['a'\] is <function"),
        ({"a": (words, float("nan"))}, ValueError, "the weight a finite number"),
        ({"a": (words, "1")}, ValueError, "the weight a finite number"),
        ({"a": (words, True)}, ValueError, "the weight a finite number"),
        ({"a": (words, 1.0, 2.0)}, ValueError, r"reward_functions\['a'\] is \("),
        ({"a": (3, 1.0)}, TypeError, "the reward function of 'a' is 3"),
        ({"a": AtLeast(None, 0.0, 1.0)}, TypeError, "the reward function of 'a' is None"),
        ({3: (words, 1.0)}, TypeError, "a part named 3"),
        ({"": (words, 1.0)}, TypeError, "a part named ''"),
    ],
)
def test_invalid_composite(parts, error, message):
    with pytest.raises(error, match=message):
        Composite(parts)


class TestNames:
    def test_unresolved_name(self):
        for name in ("gold", "runs/reward-model", Path("runs/reward-model")):
            with pytest.raises(
                ValueError,
                match=r"reward_functions\['it'\] is .*load_reward_model",
            ):
                Composite({"it": (name, 1.0)})(PROMPTS, RESPONSES)

    def test_known_scores(self):
        reward_function = Composite({"truth": ("gold", 2.0), "floor": AtLeast("gold", 2.0, 1.0), "words": (words, 1.0)})
        parts = reward_function.parts(PROMPTS, RESPONSES, {"gold": np.array([1.0, 3.0])})
        assert parts["truth"].tolist() == parts["floor"].tolist() == [1, 3]
        assert reward_function.combine(parts).tolist() == [2 - 1 + 1, 6 - 0 + 2]

    def test_resolved(self):
        asked = []

        def find(part, name):
            asked.append((part, name))
            return "gold" if name == "gold" else scores(5.0, 6.0)

        inner = Composite({"deep": ("runs/deep", 1.0)})
        reward_function = Composite(
            {"truth": ("gold", 1.0), "cap": AtMost(Path("runs/cap"), 5.0, 2.0), "in": (inner, 3.0), "w": (words, 1.0)}
        )
        found = reward_function.resolved(find)
        assert asked == [("truth", "gold"), ("cap", Path("runs/cap")), ("deep", "runs/deep")]
        parts = found.parts(PROMPTS, RESPONSES, {"gold": np.array([1.0, 2.0])})
        assert found.combine(parts).tolist() == [1 + 0 + 15 + 1, 2 - 2 + 18 + 2]
        assert reward_function.reward_functions["in"] == (inner, 3.0)  # the one that was asked is as it was
        assert inner.reward_functions["deep"] == ("runs/deep", 1.0)

    def test_known_scores_of_nested_composite(self):
        reward_function = Composite({"in": (Composite({"truth": ("gold", 2.0)}), 3.0)})
        assert reward_function.parts(PROMPTS, RESPONSES, {"gold": np.array([1.0, 2.0])})["in"].tolist() == [2, 4]


@pytest.mark.parametrize("how", [copy.deepcopy, lambda reward_function: pickle.loads(pickle.dumps(reward_function))])
def test_copy_is_equal(how):
    """Gymnasium copies an environment's arguments, and sends them to other processes."""
    reward_function = Composite(
        {"same": (Same(2.0), 1.5), "size": AtMost(words, 1.0, 3.0), "truth": ("runs/reward-model", 1.0)}
    )
    other = how(reward_function)
    assert other == reward_function
    assert hash(other) == hash(reward_function)
    assert other.reward_functions["same"][0] is not reward_function.reward_functions["same"][0]
    known = {"runs/reward-model": np.zeros(2)}
    np.testing.assert_array_equal(
        other.combine(other.parts(PROMPTS, RESPONSES, known)),
        reward_function.combine(reward_function.parts(PROMPTS, RESPONSES, known)),
    )


def test_equality():
    reward_function = Composite({"a": (words, 1.0), "b": AtLeast(words, 0.0, 1.0)})
    assert reward_function == Composite({"b": AtLeast(words, 0.0, 1.0), "a": (words, 1.0)})
    assert reward_function != Composite({"a": (words, 2.0), "b": AtLeast(words, 0.0, 1.0)})
    assert reward_function != Composite({"a": (words, 1.0), "b": AtMost(words, 0.0, 1.0)})
    assert reward_function != words


def test_repr():
    reward_function = Composite({"truth": ("gold", 1.0), "cap": AtMost("runs/reward-model", 2.0, 0.5)})
    assert repr(reward_function) == (
        "Composite({'truth': ('gold', 1.0), "
        "'cap': AtMost(reward_function='runs/reward-model', threshold=2.0, penalty=0.5)})"
    )
    assert eval(repr(reward_function)) == reward_function


def test_mapping_is_copied():
    reward_functions = {"a": (words, 1.0)}
    reward_function = Composite(reward_functions)
    reward_functions["b"] = (words, 1.0)
    assert reward_function(PROMPTS, RESPONSES).tolist() == [1, 2]
