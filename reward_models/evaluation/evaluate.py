"""Evaluating a reward model: its scores against human judgements."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..feedback.judgements import Judgement, Labelled, Ranked, Rated, Tied
from ..reward_function import RewardFunction, Scores, call_reward, sigmoid
from .metrics import Floats, accuracy, auroc, binomial_interval, calibration, pearson, ranks, spearman, weighted_mean
from .results import Evaluation, Histogram, Mistake, OfComparisons, OfLabels, OfRatings, Part, RatedPart

__all__ = ["Evaluation", "evaluate"]

PARTS = 5  # quintiles
BINS = 24  # of a histogram
Table = dict[tuple[str, str], float]  # (prompt, response) -> score


def evaluate(
    reward_model: RewardFunction, judgements: Iterable[Judgement], *, batch_size: int = 256, hardest: int = 20
) -> Evaluation:
    """Score every distinct text once and compare the scores with the judgements.

    Scores are read as log-odds: `raw` scores where the reward model has them, as a `RewardModel` does, otherwise what
    the callable returns. Its `probability(margins)`, if any, turns differences into P(first is preferred), and its
    `label_offset`, if any, is added for P(good). `hardest` is how many mistakes of each kind are kept.
    """
    cases = list(judgements)
    if not cases:
        raise ValueError("judgements is empty: expected at least one; hold out a part of your data, say a tenth")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: expected at least 1")
    for i, case in enumerate(cases):
        if not isinstance(case, Ranked | Tied | Labelled | Rated):
            raise TypeError(f"judgements[{i}] is {case!r}: expected Ranked, Tied, Labelled or Rated")
    raw = getattr(reward_model, "raw", None)
    table = _score_table(raw if callable(raw) else reward_model, cases, batch_size)
    offset = float(getattr(reward_model, "label_offset", 0.0))
    likely = getattr(reward_model, "probability", sigmoid) if callable(raw) else sigmoid
    ties = _tie_margins(table, [case for case in cases if isinstance(case, Tied)])
    comparisons, worst_pairs = _comparisons(table, [case for case in cases if isinstance(case, Ranked)], ties, likely)
    labels, worst_labels = _labels(table, [case for case in cases if isinstance(case, Labelled)], offset)
    ratings, worst_ratings = _ratings(table, [case for case in cases if isinstance(case, Rated)])
    mistakes = (*worst_pairs[:hardest], *worst_labels[:hardest], *worst_ratings[:hardest])
    return Evaluation("raw" if callable(raw) else "score", comparisons, labels, ratings, mistakes)


def _score_table(reward_model: RewardFunction, cases: list[Judgement], batch_size: int) -> Table:
    """The score of every distinct (prompt, response); texts of similar length share a batch."""
    texts = list(dict.fromkeys((case.prompt, text) for case in cases for text in case.responses))
    texts.sort(key=lambda text: len(text[0]) + len(text[1]))
    scores: list[float] = []
    for at in range(0, len(texts), batch_size):
        prompts, responses = zip(*texts[at : at + batch_size], strict=True)
        scores += call_reward(reward_model, list(prompts), list(responses), "reward_model").tolist()
    return dict(zip(texts, scores, strict=True))


def _tie_margins(table: Table, cases: list[Tied[str]]) -> Floats:
    """By how much one text of each tie scores above the other."""
    return np.array([abs(table[one.prompt, one.responses[0]] - table[one.prompt, one.responses[1]]) for one in cases])


def _comparisons(
    table: Table, cases: list[Ranked[str]], ties: Floats, likely: Callable[[Scores], Scores]
) -> tuple[OfComparisons | None, list[Mistake]]:
    if not cases and not len(ties):
        return None, []
    rows: list[tuple[int, str, str]] = []  # (index of the ranking, better text, worse text)
    for i, case in enumerate(cases):
        rows += [(i, *pair) for pair in itertools.combinations(case.responses, 2)]
    of = np.array([i for i, _, _ in rows], np.int64)
    better = np.array([table[cases[i].prompt, text] for i, text, _ in rows])
    worse = np.array([table[cases[i].prompt, text] for i, _, text in rows])
    longer = np.array([len(a.split()) - len(b.split()) for _, a, b in rows], float)
    weights = 1.0 / np.bincount(of)[of]  # a ranking's pairs weigh 1 together
    margins = better - worse
    right = 0.5 * (np.sign(margins) + 1)
    every, confident = np.concatenate([weights, np.ones(len(ties))]), np.concatenate([np.abs(margins), ties])
    outcomes = np.concatenate([right, np.full(len(ties), 0.5)])
    losses = np.concatenate([_log_loss(margins, likely), 0.5 * (_log_loss(ties, likely) + _log_loss(-ties, likely))])
    found = OfComparisons(
        rankings=len(cases),
        pairs=len(rows),
        ties=len(ties),
        accuracy=accuracy(margins, weights),
        accuracy_interval=binomial_interval(float(right @ weights), len(cases)),
        accuracy_if_longer_wins=accuracy(longer, weights),
        prefers_longer=accuracy(margins * np.sign(longer), weights),
        mean_margin=weighted_mean(margins, weights),
        log_loss=weighted_mean(losses, every),
        calibration=calibration(likely(confident), outcomes, low=0.5, weights=every),
        by_margin=_by(np.abs(margins), right, weights),
        by_length=_by(longer, right, weights),
        histogram=_histogram(better, worse),
    )
    worst: dict[int, int] = {}  # the worst pair of each ranking
    for at in np.argsort(margins, kind="stable"):
        if margins[at] < 0:
            worst.setdefault(int(of[at]), int(at))
    mistakes = []
    for i, at in worst.items():
        p, (_, chosen, rejected) = float(likely(margins[at : at + 1])[0]), rows[at]
        summary = f"the reward model prefers the rejected text with a probability of {100 * (1 - p):.1f} %"
        two = float(better[at]), float(worse[at])
        mistakes.append(Mistake("comparison", cases[i].prompt, chosen, rejected, *two, p, cases[i].place, summary))
    return found, mistakes


def _log_loss(margins: Floats, likely: Callable[[Scores], Scores]) -> Floats:
    """−log P(the first is preferred)."""
    found: Floats = -np.log(np.maximum(likely(margins), 1e-300))
    return found


def _labels(table: Table, cases: list[Labelled[str]], offset: float) -> tuple[OfLabels | None, list[Mistake]]:
    if not cases:
        return None, []
    good = np.array([case.good for case in cases])
    scores = np.array([table[case.prompt, case.response] for case in cases])
    odds = scores + offset
    margins = np.where(good, odds, -odds)
    found = OfLabels(
        labels=len(cases),
        good_share=float(good.mean()),
        auroc=auroc(scores, good),
        accuracy=accuracy(margins),
        accuracy_interval=binomial_interval(len(cases) * accuracy(margins), len(cases)),
        log_loss=weighted_mean(np.logaddexp(0, -margins)),
        calibration=calibration(sigmoid(odds), good),
        histogram=_histogram(scores[good], scores[~good]),
    )
    mistakes = []
    for at in np.argsort(margins, kind="stable"):
        if margins[at] < 0:
            case, p = cases[at], float(sigmoid(margins[at]))
            summary = f"labelled {'good' if case.good else 'bad'}, to which the reward model gives a probability of "
            summary += f"{100 * p:.1f} %"
            mistakes.append(_mistake("label", case, case.good, scores[at], p, summary))
    return found, mistakes


def _ratings(table: Table, cases: list[Rated[str]]) -> tuple[OfRatings | None, list[Mistake]]:
    if not cases:
        return None, []
    scales = {(float(case.scale[0]), float(case.scale[1])) for case in cases}
    scale = next(iter(scales)) if len(scales) == 1 else (0.0, 1.0)
    ratings = np.array([case.rating for case in cases])
    if len(scales) > 1:
        low, high = np.array([case.scale for case in cases]).T
        ratings = (ratings - low) / (high - low)
    scores = np.array([table[case.prompt, case.response] for case in cases])
    parts = []
    for inside in _parts(ratings, most=10):
        quartiles = np.quantile(scores[inside], [0.25, 0.5, 0.75]).tolist()
        parts.append(RatedPart(*_bounds(ratings[inside]), int(inside.sum()), tuple(quartiles)))
    found = OfRatings(len(cases), scale, spearman(ratings, scores), pearson(ratings, scores), tuple(parts))
    # Ratings have no probability: the worst mistakes are the texts whose two ranks differ most.
    people, own = ((ranks(values) - 0.5) / len(cases) for values in (ratings, scores))
    mistakes = []
    for at in np.argsort(-np.abs(people - own), kind="stable"):
        if people[at] != own[at]:
            case = cases[at]
            worst, best = case.scale
            summary = f"rated {case.rating:g} on {worst:g} to {best:g}, above {100 * people[at]:.0f} % of the texts; "
            summary += f"the reward model scores it above {100 * own[at]:.0f} %"
            mistakes.append(_mistake("rating", case, people[at] > own[at], scores[at], None, summary))
    return found, mistakes


def _mistake(
    kind: str, case: Labelled[str] | Rated[str], more: bool, score: float, p: float | None, summary: str
) -> Mistake:
    text, score = case.response, float(score)
    if more:
        return Mistake(kind, case.prompt, text, None, score, None, p, case.place, summary)
    return Mistake(kind, case.prompt, None, text, None, score, p, case.place, summary)


def _by(values: Floats, right: Floats, weights: Floats) -> tuple[Part, ...]:
    """The accuracy in each quintile of a value."""
    found = []
    for inside in _parts(values):
        of, how_many = right[inside], weights[inside]
        interval = binomial_interval(float(of @ how_many), float(how_many.sum()))
        found.append(Part(*_bounds(values[inside]), len(of), weighted_mean(of, how_many), interval))
    return tuple(found)


def _bounds(values: Floats) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _parts(values: Floats, most: int = 0) -> list[Any]:
    """Masks of the quintiles, equal values in the same one; up to `most` distinct values get a mask each."""
    if not len(values):
        return []
    distinct = np.unique(values)
    if len(distinct) <= most:
        return [values == value for value in distinct]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, PARTS + 1)))
    which = np.searchsorted(edges[1:-1], values, side="right")
    return [which == i for i in np.unique(which)]


def _histogram(better: Scores, worse: Scores) -> Histogram:
    both = np.concatenate([better, worse])
    low, high = _bounds(both) if len(both) else (0.0, 0.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # all the same: bins still need a width
        low, high = low - 0.5 - 1e-3 * abs(low), high + 0.5 + 1e-3 * abs(high)
    edges = np.linspace(low, high, BINS + 1)
    counts = [tuple(np.histogram(scores, edges)[0].tolist()) for scores in (better, worse)]
    return Histogram(tuple(edges.tolist()), counts[0], counts[1])
