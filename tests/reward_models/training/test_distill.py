"""Distillation: a student has its teacher's scores, on the same scale."""

import dataclasses

import numpy as np
import pytest

from textrlhf.reward_models import Ensemble, RewardModel, TrainConfig, distill
from tiny_models import tiny_lm

RNG = np.random.default_rng(0)
RESPONSES = [" ".join(f"a{i}" for i in RNG.integers(2, 12, RNG.integers(1, 5))) for _ in range(160)]
PROMPTS = ["a20 a21"] * len(RESPONSES)
QUICK = TrainConfig(epochs=12, batch_size=16, dropout=0.0, token_learning_rate=0.05)


class Values:
    """A teacher that gives 0.7 for each a2 and −2 for each a3."""

    lapse = 0.2

    def raw(self, prompts, responses):
        words = [response.split() for response in responses]
        return np.array([0.7 * some.count("a2") - 2.0 * some.count("a3") for some in words])

    __call__ = raw


@pytest.mark.parametrize("head", ["tokens", "last"])
def test_student_learns_the_scores(head):
    config = dataclasses.replace(QUICK, epochs=12 if head == "tokens" else 24)
    student = distill(RewardModel.new(tiny_lm(), head=head), Values(), PROMPTS, RESPONSES, config, show=False)
    seen, expected = student.raw(PROMPTS, RESPONSES), Values().raw(PROMPTS, RESPONSES)
    assert np.corrcoef(seen, expected)[0, 1] > (0.98 if head == "tokens" else 0.7)
    assert np.polyfit(expected, seen, 1)[0] == pytest.approx(1, abs=0.1 if head == "tokens" else 0.6)
    assert student.lapse == 0.2


def test_ensemble_as_teacher():
    class Twice(Values):
        lapse = 0.1

        def raw(self, prompts, responses):
            return 2 * super().raw(prompts, responses)

    both = Ensemble([Values(), Twice()])
    student = distill(RewardModel.new(tiny_lm()), both, PROMPTS, RESPONSES, QUICK, show=False)
    expected = 1.5 * Values().raw(PROMPTS, RESPONSES)
    assert np.abs(student.raw(PROMPTS, RESPONSES) - expected).mean() < 0.4
    assert student.lapse == pytest.approx(0.15)


def test_constant_teacher():
    class Zero(Values):
        def raw(self, prompts, responses):
            return np.zeros(len(responses))

    with pytest.raises(ValueError, match="teacher gives all 160 texts the score 0"):
        distill(RewardModel.new(tiny_lm()), Zero(), PROMPTS, RESPONSES)
