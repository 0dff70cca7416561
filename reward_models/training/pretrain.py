"""Pretraining a reward model on unlabelled texts: predict from one half of a text how good the other half is.

    an unlabelled text ──┬── one half  ── scored by a teacher ──> good or bad? ──┐
                         └── the other half <──────── is trained to predict ─────┘

Sentences of a review mostly agree in sentiment. The teacher's errors about one half are independent of the words of the
other, so over many texts they average out, and the reward model learns which words go with praise, rare ones included.
Train it on the judgements afterwards.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from ..feedback import Labelled
from ..reward_function import Scores, call_reward
from ..text.reward_model import RewardModel
from .distill import Teacher
from .train_config import TrainConfig
from .trainer import TrainOptions, train

PRETRAIN_CONFIG = TrainConfig(epochs=1.0, batch_size=128, dropout=0.3)
PROMPT = "."  # of every half: the end of a sentence, so that its first token, too, has a state before it
SLOPE, RANGE = 1.0, 0.48  # P(good) = 1/2 + RANGE · tanh(SLOPE · z-score of the other half)
_ENDS = re.compile(r"[.!?]+[\"'”’]*(?=\s)|[。！？]+|\n")
_WORD = re.compile(r"\w")


def pretrain_on_halves(
    reward_model: RewardModel,
    teacher: Teacher,
    prompts: Sequence[str],
    responses: Sequence[str],
    config: TrainConfig | None = None,
    **training: Unpack[TrainOptions],
) -> RewardModel:
    """Train a new `reward_model` in place to predict from one half of a text the teacher's opinion of the other.

    Use it for texts whose sentences share a sentiment, such as reviews. A prompt is part of its text: pass empty ones
    where prompts carry no sentiment (instructions, questions). Each text is cut once, between two sentences; texts of
    one sentence are left out. The teacher is a reward model trained on the judgements at hand. Train the result on the
    same judgements next: until then it is less accurate than its teacher. `config` is `PRETRAIN_CONFIG` by
    default; `training` are further arguments of `train`.
    """
    if any(reward_model is one for one in (teacher, *getattr(teacher, "models", ()))):
        raise ValueError("teacher is the reward_model itself: expected a new one, such as RewardModel.new() makes")
    config = dataclasses.replace(config or PRETRAIN_CONFIG, lapse=0.0)  # there is no annotator here who could lapse
    rng = np.random.default_rng([config.seed, 7])
    halves = halved(prompts, responses, rng)
    if len(halves) < (size := config.batch_size or 1):
        raise ValueError(
            f"{len(prompts)} texts have {len(halves)} halves ({len(prompts) - len(halves) // 2} have one sentence), "
            f"fewer than a batch of {size}: give more or longer texts, or lower batch_size"
        )
    scores = call_reward(teacher.raw, [PROMPT] * len(halves), halves, "teacher")
    if scores.std() <= 1e-6 * max(abs(scores.mean()), 1e-6):
        raise ValueError(f"teacher gives all {len(scores)} halves the same score: expected a trained reward model")
    good = rng.random(len(scores)) < probability_good(scores)
    cases = [Labelled(PROMPT, half, bool(label)) for half, label in zip(halves, good, strict=True)]
    train(reward_model, cases, config, **training)
    return reward_model


def halved(prompts: Sequence[str], responses: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Cut each prompt + response after one of its sentences but the last, drawn by `rng`: both halves of each text."""
    if len(prompts) != len(responses):
        raise ValueError(f"{len(prompts)} prompts and {len(responses)} responses: expected as many of each")
    texts: list[str] = []
    for text in (prompt + response for prompt, response in zip(prompts, responses, strict=True)):
        ends = [found.end() for found in _ENDS.finditer(text)]
        ends = [end for end in ends if _WORD.search(text[:end]) and _WORD.search(text[end:])]
        if ends:
            end = ends[rng.integers(len(ends))]
            texts += [" " + text[:end].strip(), " " + text[end:].strip()]
    return texts


def probability_good(scores: Scores) -> NDArray[np.float64]:  # (2 · texts,) -> (2 · texts,)
    """P(good) of each half, from the score of the other half alone."""
    other = scores.reshape(-1, 2)[:, ::-1].reshape(-1)
    probabilities: NDArray[np.float64] = 0.5 + RANGE * np.tanh(SLOPE * (other - scores.mean()) / scores.std())
    return probabilities
