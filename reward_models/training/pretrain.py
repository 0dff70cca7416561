"""Practice for a new reward model, on texts that nobody has judged: what one half of a text says foretells the other.

    an unjudged text ──┬── one half  ── its score by a teacher ──> good or bad? ──┐
                       └── the other <──────────── is to be told from this ───────┘

Whoever praises in one sentence mostly praises in the next. What the teacher gets wrong about one half has nothing to do
with the words of the other, so over many texts it averages out, and what is left is which words, after what others, go
along with praise: also words that hardly any judgement holds. Judgements then say how much each counts, as ever.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..feedback import Labelled
from ..reward_function import Scores, call_reward
from ..text.reward_model import RewardModel
from .distill import Teacher
from .train import TrainConfig, train

PRACTICE = TrainConfig(epochs=1.0, batch_size=128, dropout=0.3)
BEFORE = "."  # what a half is read after: a sentence's end, so that its first token, too, has a state before it
STEEP, SURE = 1.0, 0.48  # P(good) = 1/2 + SURE · tanh(STEEP · the other half's score in deviations from the mean)
_ENDS = re.compile(r"[.!?]+[\"'”’]*(?=\s)|[。！？]+|\n")
_WORD = re.compile(r"\w")


def pretrain_on_halves(
    reward_model: RewardModel,
    teacher: Teacher,
    prompts: Sequence[str],
    responses: Sequence[str],
    config: TrainConfig | None = None,
    **training: Any,
) -> RewardModel:
    """Train a new `reward_model` in place to tell from one half of a text what `teacher` thinks of the other, and
    return it.

    Only for texts whose sentences share a mood, reviews for one. A prompt is part of its text: where it tells nothing
    (an instruction, a question), give empty ones. Each text is cut once, between two sentences; one of a single
    sentence is left out. The teacher is a reward model trained on the judgements at hand. Train the practised reward
    model on the same judgements next: as it is, it is worse than its teacher. The default `config` is `PRACTICE`; what
    else `train` takes may be given.
    """
    if any(reward_model is one for one in (teacher, *getattr(teacher, "reward_models", ()))):
        raise ValueError("reward model is its own teacher: expected a new one, as RewardModel.new() makes it")
    config = dataclasses.replace(config or PRACTICE, lapse=0.0)  # that is of people's choices, and here nobody chooses
    rng = np.random.default_rng([config.seed, 7])
    halves = halved(prompts, responses, rng)
    if len(halves.texts) < config.batch_size:
        raise ValueError(
            f"{len(prompts)} texts have {len(halves.texts)} halves ({halves.left_out} texts have no two sentences), "
            f"fewer than a batch of {config.batch_size}: give more texts, longer ones, or lower batch_size"
        )
    scores = call_reward(teacher.raw, [BEFORE] * len(halves.texts), halves.texts, "teacher")
    if scores.std() <= 1e-6 * max(abs(scores.mean()), 1e-6):
        raise ValueError(f"teacher scores all {len(scores)} halves alike: expected one that has learned something")
    good = rng.random(len(scores)) < likely_good(scores)
    cases = [Labelled(BEFORE, half, bool(label)) for half, label in zip(halves.texts, good, strict=True)]
    train(reward_model, cases, config, **training)
    return reward_model


@dataclass(frozen=True)
class Halves:
    """Texts cut in two."""

    texts: list[str]  # the first half and the second of one text, then of the next
    left_out: int  # texts of one sentence


def halved(prompts: Sequence[str], responses: Sequence[str], rng: np.random.Generator) -> Halves:
    """Cut each prompt + response behind one of its sentences but the last, whichever `rng` draws."""
    if len(prompts) != len(responses):
        raise ValueError(f"{len(prompts)} prompts and {len(responses)} responses: expected as many of each")
    texts: list[str] = []
    for text in (prompt + response for prompt, response in zip(prompts, responses, strict=True)):
        ends = [found.end() for found in _ENDS.finditer(text)]
        ends = [end for end in ends if _WORD.search(text[:end]) and _WORD.search(text[end:])]
        if ends:
            end = ends[rng.integers(len(ends))]
            texts += [" " + text[:end].strip(), " " + text[end:].strip()]
    return Halves(texts, len(prompts) - len(texts) // 2)


def likely_good(scores: Scores) -> NDArray[np.float64]:  # (2 texts,) -> (2 texts,)
    """P(good) of each half, from nothing but the score of the other."""
    other = scores.reshape(-1, 2)[:, ::-1].reshape(-1)
    likely: NDArray[np.float64] = 0.5 + SURE * np.tanh(STEEP * (other - scores.mean()) / scores.std())
    return likely
