"""Accuracy, calibration, AUROC and correlation of scores and judgements. NumPy alone, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bin:
    """The cases whose probability is between two bounds; the last three fields are nan in an empty bin."""

    low: float
    high: float
    count: int
    share: float  # of the total weight
    confidence: float  # the mean probability
    right: float  # the observed frequency
    error: float  # the standard error of `right` if the probabilities were true


@dataclass(frozen=True)
class Calibration:
    """Probabilities compared with outcomes, bin by bin."""

    bins: tuple[Bin, ...]

    @property
    def ece(self) -> float:
        """The expected calibration error: mean |probability − observed frequency| over the cases."""
        return sum((b.share * abs(b.confidence - b.right) for b in self.bins if b.count), 0.0)

    @property
    def ece_by_chance(self) -> float:
        """What `ece` would be if the probabilities were true, from sampling noise alone."""
        return sum((b.share * b.error * math.sqrt(2 / math.pi) for b in self.bins if b.count), 0.0)


def accuracy(margins: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The share of margins above 0; a tie counts half."""
    margins = _numbers(margins, "margins")
    return weighted_mean(0.5 * (np.sign(margins) + 1), weights)


def binomial_interval(count: float, of: float) -> tuple[float, float]:
    """A 95 % interval of a probability, from how often something came in so many trials (Wilson, 1927).

    Where trials are right in part (½ for a tie, ⅔ of a ranking's pairs) it is wider than it need be.
    """
    if not of:
        return 0.0, 1.0
    z, share = 1.959964, min(max(count / of, 0.0), 1.0)
    middle = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z * math.sqrt(share * (1 - share) / of + z**2 / (4 * of**2)) / (1 + z**2 / of)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def weighted_mean(values: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The weighted mean; nan where there are no values."""
    values = _numbers(values, "values")
    weights = np.ones_like(values) if weights is None else _numbers(weights, "weights", len(values))
    return float(values @ weights / weights.sum()) if len(values) else math.nan


def calibration(
    probabilities: ArrayLike, outcomes: ArrayLike, bins: int = 10, *, low: float = 0.0, weights: ArrayLike | None = None
) -> Calibration:
    """Compare probabilities with outcomes (1, 0, or ½ for a tie) in bins of equal width over [low, 1].

    For a pair the probability is that of the response scored higher, so `low=0.5`.
    """
    p = _numbers(probabilities, "probabilities")
    outcome = _numbers(outcomes, "outcomes", len(p))
    w = np.ones_like(p) if weights is None else _numbers(weights, "weights", len(p))
    if bins < 1:
        raise ValueError(f"bins is {bins}: expected at least 1")
    for name, values, least in (("probabilities", p, low), ("outcomes", outcome, 0.0)):
        if len(values) and not (least <= values.min() and values.max() <= 1):
            raise ValueError(f"{name} are between {values.min()} and {values.max()}: expected {least} to 1")
    edges = np.linspace(low, 1, bins + 1)
    which = np.searchsorted(edges[1:-1], p, side="right")  # a bin includes its lower bound, the last one also its upper
    found = []
    for i in range(bins):
        inside = which == i
        share, confidence, right, error = 0.0, math.nan, math.nan, math.nan
        if inside.any():
            part = w[inside] / w[inside].sum()
            share = float(w[inside].sum() / w.sum())
            confidence, right = float(p[inside] @ part), float(outcome[inside] @ part)
            error = math.sqrt(part**2 @ (p[inside] * (1 - p[inside])))
        count = int(inside.sum())
        found.append(Bin(float(edges[i]), float(edges[i + 1]), count, share, confidence, right, error))
    return Calibration(tuple(found))


def auroc(scores: ArrayLike, good: ArrayLike) -> float:
    """How often a good text scores above a bad one, ties half; nan where all are good or all bad."""
    scores = _numbers(scores, "scores")
    good = _numbers(good, "good", len(scores)).astype(bool)
    n_good, n_bad = int(good.sum()), int((~good).sum())
    if not (n_good and n_bad):
        return math.nan
    return float((ranks(scores)[good].sum() - n_good * (n_good + 1) / 2) / (n_good * n_bad))


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Rank correlation, ties sharing their mean rank; nan where one side is constant."""
    a = _numbers(a, "a")
    return pearson(ranks(a), ranks(_numbers(b, "b", len(a))))


def pearson(a: ArrayLike, b: ArrayLike) -> float:
    """Linear correlation; nan where one side is constant."""
    x = _numbers(a, "a")
    y = _numbers(b, "b", len(x))
    if not len(x) or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    x, y = (x - x.mean()) / np.ptp(x), (y - y.mean()) / np.ptp(y)  # so that no square over- or underflows
    return float(x @ y / math.sqrt((x @ x) * (y @ y)))


def ranks(values: ArrayLike) -> Floats:
    """Ranks from 1 for the smallest; equal values share their mean rank."""
    _, which, counts = np.unique(_numbers(values, "values"), return_inverse=True, return_counts=True)
    shared: Floats = (np.cumsum(counts) - 0.5 * (counts - 1))[which]
    return shared


def _numbers(values: ArrayLike, name: str, length: int | None = None) -> Floats:
    found = np.asarray(values, np.float64)
    if found.ndim != 1 or length not in (None, len(found)):
        wanted = "one-dimensional" if length is None else f"({length},)"
        raise ValueError(f"{name} has the shape {found.shape}: expected {wanted}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name} holds {found[~np.isfinite(found)][0]}: every number must be finite")
    return found
