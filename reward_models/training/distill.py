"""One reward model that says what several say, at the cost of one.

An ensemble knows more than its members; a new reward model learns it from the ensemble's scores of texts that nobody
has judged, of which there are as many as one cares to write.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..feedback import Rated
from ..reward_function import Scores, call_reward
from ..text.reward_model import RewardModel
from .train import TrainConfig, train


class Teacher(Protocol):
    """A reward model with a scale of log-odds: a reward model, or an ensemble of such."""

    def raw(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Raw scores."""


def distill(
    student: RewardModel,
    teacher: Teacher,
    prompts: Sequence[str],
    responses: Sequence[str],
    config: TrainConfig | None = None,
    **training: Any,
) -> RewardModel:
    """Train `student` in place to give these texts the raw scores that `teacher` gives them, and return it.

    There is little to learn by heart in a teacher's scores, so `config` drops less by default than where people are
    learned from. What else `train` takes may be given. Normalise the student anew.
    """
    config = dataclasses.replace(config or TrainConfig(dropout=0.1, batch_size=64), ratings="linear")
    scores = call_reward(teacher.raw, prompts, responses, "teacher")
    size = float(np.abs(scores).max(initial=0.0))
    if not size:
        raise ValueError(f"teacher gives all {len(scores)} texts the score 0: expected one that has learned something")
    cases = [
        Rated(prompt, response, score, (-size, size))
        for prompt, response, score in zip(prompts, responses, scores.tolist(), strict=True)
    ]
    train(student, cases, config, **training)
    student.network.stretch(size)  # from [-1, 1], on which ratings lie
    lapse = getattr(teacher, "lapse", config.lapse)
    student.config = dataclasses.replace(student.config, lapse=lapse)
    return student
