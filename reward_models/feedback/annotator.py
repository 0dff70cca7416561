"""A simulated annotator with label noise, for experiments in which the true score is known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..reward_function import RewardFunction, Scores, call_reward, is_number
from .judgements import Labelled, Ranked, Rated, checked_scale

RANK, LABEL, RATE = range(3)  # of the random streams: each kind of judgement errs independently


@dataclass(frozen=True)
class SimulatedAnnotator:
    """Judges by the true `score` and errs with probability `error_rate`.

    Whether it errs on the i-th prompt of a call depends on (seed, kind of judgement, i) alone: appending prompts
    changes nothing before them. A second call errs at the same indices, so use another seed for it.
    """

    score: RewardFunction
    error_rate: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not callable(self.score):
            raise ValueError(f"score is {self.score!r}: expected a callable (prompts, responses) -> scores")
        if not (is_number(self.error_rate) and 0 <= self.error_rate <= 1):
            raise ValueError(f"error_rate is {self.error_rate!r}: expected a probability from 0 to 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: expected 0 or more")

    def rank(self, prompts: Sequence[str], responses_per_prompt: Sequence[Sequence[str]]) -> list[Ranked[str]]:
        """Rank each prompt's responses, best first.

        The order is drawn from a Mallows model: every two responses are compared, wrongly with probability
        `error_rate`, until the comparisons are consistent, so true neighbours swap with exactly that probability.
        A response that equals or ties with an earlier one is left out; fewer than two left make no judgement.
        """
        for i, responses in enumerate(responses_per_prompt):
            if isinstance(responses, str):
                raise ValueError(f"responses_per_prompt[{i}] is {responses!r}: expected a list of responses")
        _check_lengths(prompts, responses_per_prompt, "responses_per_prompt")
        repeated = [p for p, responses in zip(prompts, responses_per_prompt, strict=True) for _ in responses]
        scores = iter(self._scores(repeated, list(itertools.chain(*responses_per_prompt))))
        judgements = []
        for i, (prompt, responses) in enumerate(zip(prompts, responses_per_prompt, strict=True)):
            kept: dict[float, str] = {}  # by score: no two tie
            for response in responses:
                score = float(next(scores))
                if response not in kept.values():
                    kept.setdefault(score, response)
            if len(kept) >= 2:
                order = self._erring_order(sorted(kept, reverse=True), i)
                judgements.append(Ranked(prompt, tuple(kept[score] for score in order), place=f"prompts[{i}]"))
        return judgements

    def label(self, prompts: Sequence[str], responses: Sequence[str], threshold: float = 0.0) -> list[Labelled[str]]:
        """Label a response good where its score is above `threshold`; errors flip the label."""
        _check_lengths(prompts, responses, "responses")
        good = self._scores(prompts, responses) > threshold
        return [
            Labelled(prompt, response, bool(good[i]) != self._errs(LABEL, i), f"prompts[{i}]")
            for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True))
        ]

    def rate(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        scale: tuple[int, int] = (1, 5),
        low: float = -1.0,
        high: float = 1.0,
    ) -> list[Rated[str]]:
        """Rate in integers: scores from `low` to `high` are mapped linearly onto the scale, and clipped to it.

        An error is any of the other ratings with equal probability.
        """
        _check_lengths(prompts, responses, "responses")
        worst, best = checked_scale(scale)
        if worst != int(worst) or best != int(best):
            raise ValueError(f"scale is {scale}: expected integers, as the ratings are")
        if not (is_number(low) and is_number(high) and low < high):
            raise ValueError(f"low is {low} and high is {high}: expected two finite scores, the lower first")
        shares = np.clip((self._scores(prompts, responses) - low) / (high - low), 0, 1)
        ratings = np.floor(worst + shares * (best - worst) + 0.5)  # halves go up
        judgements = []
        for i, (prompt, response, rating) in enumerate(zip(prompts, responses, ratings.tolist(), strict=True)):
            if self._errs(RATE, i):
                others = [other for other in range(int(worst), int(best) + 1) if other != rating]
                rating = float(self._rng(RATE, i, 1).choice(others))
            judgements.append(Rated(prompt, response, rating, (worst, best), f"prompts[{i}]"))
        return judgements

    def _erring_order(self, best_first: Sequence[float], i: int) -> list[float]:
        """Draw from the Mallows model: insert one score after the other, best first, above j of the better ones."""
        rng, right, wrong = self._rng(RANK, i), 1 - self.error_rate, self.error_rate
        order: list[float] = []
        for better, score in enumerate(best_first):
            chances = np.array([wrong**j * right ** (better - j) for j in range(better + 1)])
            above = int(rng.choice(better + 1, p=chances / chances.sum()))
            order.insert(better - above, score)
        return order

    def _errs(self, kind: int, i: int) -> bool:
        return bool(self._rng(kind, i).random() < self.error_rate)

    def _rng(self, *which: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *which])

    def _scores(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        return call_reward(self.score, prompts, responses, "score") if len(responses) else np.zeros(0)


def _check_lengths(prompts: Sequence[str], others: Sequence[object], name: str) -> None:
    if len(prompts) != len(others):
        raise ValueError(f"{name} has {len(others)} entries for {len(prompts)} prompts: expected one for each")
