"""Distillation: one reward model with the scores of several.

An ensemble is more accurate than its members and costs as many forward passes. A new reward model can be trained on
the ensemble's scores of unlabelled texts, of which there are as many as one cares to sample.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol, Unpack

import numpy as np

from ..feedback import Rated
from ..reward_function import Scores, call_reward
from ..text.reward_model import RewardModel
from .train_config import TrainConfig
from .trainer import TrainOptions, train


class Teacher(Protocol):
    """A reward function with raw scores, as a `RewardModel` or an `Ensemble` of such."""

    def raw(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Raw scores, in log-odds."""


def distill(
    student: RewardModel,
    teacher: Teacher,
    prompts: Sequence[str],
    responses: Sequence[str],
    config: TrainConfig | None = None,
    **training: Unpack[TrainOptions],
) -> RewardModel:
    """Train `student` in place to give these texts the raw scores of `teacher`, and return it.

    There is little noise to memorise in a teacher's scores, so the default `config` has less dropout than training on
    judgements. `training` are further arguments of `train`. Call `normalise` on the student afterwards.
    """
    config = dataclasses.replace(config or TrainConfig(dropout=0.1, batch_size=64), ratings="linear")
    scores = call_reward(teacher.raw, prompts, responses, "teacher")
    size = float(np.abs(scores).max(initial=0.0))
    if not size:
        raise ValueError(f"teacher gives all {len(scores)} texts the score 0: expected a trained reward model")
    cases = [
        Rated(prompt, response, score, (-size, size))
        for prompt, response, score in zip(prompts, responses, scores.tolist(), strict=True)
    ]
    train(student, cases, config, **training)
    student.network.rescale(size)  # ratings were mapped to [-1, 1]
    lapse = getattr(teacher, "lapse", config.lapse)
    student.config = dataclasses.replace(student.config, lapse=lapse)
    return student
