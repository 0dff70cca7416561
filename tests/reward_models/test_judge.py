"""What a judge may answer, and what it may not."""

import numpy as np
import pytest
import torch

from textrlhf.reward_models import Composite, JudgeError, judged

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
def test_numbers_of_any_kind_are_scores(answer):
    scores = judged(lambda p, r: answer, PROMPTS, RESPONSES)
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
def test_what_is_no_score_is_refused(answer, message):
    with pytest.raises(JudgeError, match=message):
        judged(lambda p, r: answer, PROMPTS, RESPONSES)


def test_what_a_judge_raises_comes_with_the_text():
    def judge(prompts, responses):
        raise ZeroDivisionError("no")

    with pytest.raises(JudgeError, match=r"raised ZeroDivisionError: no; .* ' x' to the prompt 'a'"):
        judged(judge, PROMPTS, RESPONSES)


class TestComposite:
    def test_is_the_weighted_sum_of_its_parts(self):
        judge = Composite(
            {"one": (lambda p, r: [1.0, 2.0], 2.0), "words": (lambda p, r: [len(x.split()) for x in r], -0.5)}
        )
        assert judge(PROMPTS, RESPONSES).tolist() == [1.5, 3.0]
        assert judge.parts(PROMPTS, RESPONSES)["words"].tolist() == [1, 2]

    def test_a_part_that_fails_is_named(self):
        with pytest.raises(JudgeError, match="broken returned nan"):
            Composite({"broken": (lambda p, r: [float("nan")] * 2, 1.0)})(PROMPTS, RESPONSES)

    @pytest.mark.parametrize("parts", [{}, {"a": 1.0}, {"a": (len, float("nan"))}])
    def test_must_be_named_parts_with_weights(self, parts):
        with pytest.raises(ValueError, match="judges"):
            Composite(parts)

    def test_the_true_score_is_known_in_a_text_world_only(self):
        with pytest.raises(ValueError, match="only a text world knows"):
            Composite({"gold": ("gold", 1.0)})(PROMPTS, RESPONSES)
