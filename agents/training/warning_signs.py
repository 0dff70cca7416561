"""The signs of a training that goes wrong, as functions of its metrics so far.

docs/troubleshooting.md explains each of them, and has a table of the thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

WATCHED = tuple(f"rollout/{name}" for name in ("kl", "eos", "score", "return", "length"))
WATCHED += tuple(f"train/{name}" for name in ("approx_kl", "clip_fraction", "entropy", "explained_variance"))
WATCHED += ("train/first_ratio_error", "heldout/loss")

WINDOW = 20  # updates that are remembered
BEGIN = 5  # updates that are "the beginning"
RECENT = 5  # updates that are "now"
DEVIATIONS = (0.01, 10.0)  # of scores: outside, β is far from what it is elsewhere

KL_LEAP, KL_TIMES = 10.0, 3.0  # nats above the level of the ten updates before, and times that level
UPDATE_KL = 0.1  # of an update
CLIPPED = 0.5  # share of steps
ENTROPY_LEFT = {True: 0.2, False: 0.05}  # share of the beginning's, by whether it is text
NO_END, SOME_END = 0.05, 0.2  # shares of texts that end by themselves
LONGER, TOGETHER = (
    2.0,
    0.5,
)  # length now over that of the beginning; rank correlation of its last values with the score's
FLAT = 0.05  # rise of the score or return, in deviations of episodes
RATIO_ERROR = {False: 1e-2, True: 0.5}  # by bf16
ROUNDED = 0.1  # error of a ratio in bfloat16; PPO clips at .2
NEGATIVE_KL = -1.0  # nats per text
OVERFITTED = 1.05  # held-out loss over its minimum


@dataclass
class History:
    """What the signs are seen in: the metrics of the first and the last updates, and facts about the training."""

    text: bool = False
    bf16: bool = False
    half_reference: bool = False  # a reference model in 16 bits of a policy in float32
    fresh: bool = True  # begun from an untrained agent
    done: float = 0.0  # share of the planned steps
    deviation: float = math.nan  # of the last hundred episodes' scores, or returns
    begin: dict[str, list[float]] = field(default_factory=dict)
    last: dict[str, list[float]] = field(default_factory=dict)
    extremes: dict[str, tuple[float, float]] = field(default_factory=dict)  # least and most so far
    updates: int = 0

    def add(self, metrics: Mapping[str, float]) -> None:
        """Add an update's metrics."""
        self.updates += 1
        for name in WATCHED:
            value = float(metrics.get(name, math.nan))
            if not math.isfinite(value):
                continue
            first = self.begin.setdefault(name, [])
            if len(first) < BEGIN:
                first.append(value)
            self.last[name] = [*self.last.get(name, []), value][-WINDOW:]
            low, high = self.extremes.get(name, (value, value))
            self.extremes[name] = min(low, value), max(high, value)

    def now(self, name: str, n: int = RECENT) -> float:
        """The mean over the last n updates; NaN if there are fewer."""
        values = self.last.get(name, [])
        return float(np.mean(values[-n:])) if len(values) >= n else math.nan

    def at_first(self, name: str) -> float:
        """The mean over the beginning, NaN until it is over."""
        values = self.begin.get(name, [])
        return float(np.mean(values)) if len(values) == BEGIN else math.nan

    def window(self, name: str) -> list[float]:
        """The last `WINDOW` values; none if there are fewer."""
        values = self.last.get(name, [])
        return values if len(values) == WINDOW else []


@dataclass(frozen=True)
class Sign:
    """A sign, how it is seen (None while it is not), what it may mean and what to try."""

    anchor: str  # the section of docs/troubleshooting.md
    seen: Callable[[History], str | None]
    advice: str


def _kl_leaps(h: History) -> str | None:
    values = h.last.get("rollout/kl", [])
    if len(values) < 11:
        return None
    now, before = values[-1], float(np.mean(values[-11:-1]))
    if now - before > KL_LEAP and now > KL_TIMES * before:
        return f"the KL to the reference model leapt from {before:.1f} to {now:.1f} nats per text"
    return None


def _large_updates(h: History) -> str | None:
    now = h.now("train/approx_kl")
    return f"updates change the policy by a KL of {now:.2f}" if now > UPDATE_KL else None


def _clipping(h: History) -> str | None:
    now = h.now("train/clip_fraction")
    return f"{now:.0%} of the steps are clipped" if now > CLIPPED else None


def _entropy_collapse(h: History) -> str | None:
    begin, now = h.at_first("train/entropy"), h.now("train/entropy")
    if not h.text and h.now("rollout/return") - h.at_first("rollout/return") > h.deviation:
        return None  # it is certain of what it has learned
    if "train/approx_kl" in h.last and begin > 0.1 and 0 <= now < ENTROPY_LEFT[h.text] * begin:
        return f"the entropy fell from {begin:.2f} to {now:.3f} nats a step"
    return None


def _no_end(h: History) -> str | None:
    now = h.now("rollout/eos")
    if h.updates < 2 * RECENT or not now < NO_END:
        return None
    most = h.extremes["rollout/eos"][1]
    if most > SOME_END:
        return f"only {now:.0%} of the texts end by themselves, after {most:.0%}"
    return f"only {now:.0%} of the texts end by themselves, from the beginning"


def _longer_is_better(h: History) -> str | None:
    score, length = h.window("rollout/score"), h.window("rollout/length")
    if not (score and length and h.text):
        return None
    before, after = h.at_first("rollout/length"), h.now("rollout/length")
    rises = h.now("rollout/score") > h.at_first("rollout/score")
    if rises and after > LONGER * before and rank_correlation(score, length) > TOGETHER:
        return f"score and length rise together: from {before:.0f} to {after:.0f} tokens"
    return None


def _flat(h: History) -> str | None:
    name = "rollout/score" if "rollout/score" in h.last else "rollout/return"
    begin, now = h.at_first(name), h.now(name)
    if not (h.fresh and h.done >= 0.5 and h.updates >= WINDOW and math.isfinite(h.deviation)):
        return None
    if now - begin <= FLAT * h.deviation and h.extremes[name][1] - begin <= h.deviation:
        what = "score" if name == "rollout/score" else "return"
        return f"the {what} has not risen after half of the steps: {begin:.3g} at first, {now:.3g} now"
    return None


def _useless_critic(h: History) -> str | None:
    values = h.window("train/explained_variance")
    if values and max(values) <= 0:
        return f"the critic has explained none of the returns' variance for {WINDOW} updates"
    return None


def _scale(h: History) -> str | None:
    low, high = DEVIATIONS
    if h.text and h.updates >= RECENT and "rollout/score" in h.last and not low <= h.deviation <= high:
        return None if math.isnan(h.deviation) else f"the scores' standard deviation is {h.deviation:.3g}"
    return None


def _first_ratio(h: History) -> str | None:
    error = h.extremes.get("train/first_ratio_error", (0.0, 0.0))[1]
    if error > RATIO_ERROR[h.bf16]:
        return f"before its first step an update's ratios differ from 1 by up to {error:.2g}"
    return None


def _bfloat16(h: History) -> str | None:
    error = h.extremes.get("train/first_ratio_error", (0.0, 0.0))[1]
    if h.bf16 and ROUNDED < error <= RATIO_ERROR[True]:
        return (
            f"rounding to bfloat16 alone changes ratios by up to {error:.2g} (measured elsewhere: .19; float32: 2e-5)"
        )
    return None


def _half_reference(h: History) -> str | None:
    if h.half_reference and not h.bf16 and "rollout/kl" in h.last:
        return "the reference model is in 16 bits and the policy in float32: their KL is not 0 while they are equal"
    return None


def _negative_kl(h: History) -> str | None:
    now = h.now("rollout/kl")
    return f"the KL to the reference model is {now:.1f} nats per text" if now < NEGATIVE_KL else None


def _overfitting(h: History) -> str | None:
    values = h.last.get("heldout/loss", [])
    least = h.extremes.get("heldout/loss", (math.nan, math.nan))[0]
    if len(values) >= 2 and min(values[-2:]) > OVERFITTED * least > 0:
        return f"the held-out loss rises: {least:.3g} at best, {values[-1]:.3g} now"
    return None


SIGNS = (
    Sign("kl-leaps", _kl_leaps, "lower learning_rate, or raise kl_coef"),
    Sign("large-updates", _large_updates, "lower learning_rate or n_epochs, or set target_kl"),
    Sign("clipping", _clipping, "lower learning_rate or n_epochs"),
    Sign("entropy-collapse", _entropy_collapse, "lower learning_rate, or raise ent_coef or kl_coef"),
    Sign("no-end", _no_end, "raise max_new_tokens or missing_eos_penalty; check that the model's end token is the one"),
    Sign("longer-is-better", _longer_is_better, "the reward model may prefer long texts: read samples.jsonl"),
    Sign("flat", _flat, "raise learning_rate, or check that the reward function tells good from bad"),
    Sign("useless-critic", _useless_critic, "raise vf_coef or learning_rate, or normalize rewards"),
    Sign("scale", _scale, "rescale the scores to about 1, so that kl_coef means what it does elsewhere"),
    Sign("first-ratio", _first_ratio, "the policy that learns computes otherwise than the one that acted"),
    Sign(
        "bfloat16", _bfloat16, "set bf16=False, with lora_rank=16 where memory is short; or at least kl_penalty='token'"
    ),
    Sign("reference-in-16-bits", _half_reference, "load it in float32, or set bf16=True, or lora_rank=16 to share it"),
    Sign("negative-kl", _negative_kl, "texts are not drawn from the policy that is scored, or precisions differ"),
    Sign("overfitting", _overfitting, "stop earlier, or use more demonstrations"),
)


def rank_correlation(a: list[float], b: list[float]) -> float:
    """Spearman's; 0 if one is constant."""
    if min(a) == max(a) or min(b) == max(b):
        return 0.0
    ranks: list[Any] = [np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])
