"""The result of an evaluation: metrics, tables and mistakes, as numbers by name or as plain JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from .metrics import Calibration


@dataclass(frozen=True)
class Part:
    """The cases between two bounds, both of which occur, and the accuracy on them."""

    low: float
    high: float
    count: int
    accuracy: float
    interval: tuple[float, float]  # of 95 %, as all intervals here


@dataclass(frozen=True)
class Histogram:
    """Counts of the better and of the worse texts by score."""

    edges: tuple[float, ...]  # one more than there are counts
    better: tuple[int, ...]
    worse: tuple[int, ...]


@dataclass(frozen=True)
class OfComparisons:
    """Results on pairs, rankings and ties. The pairs of a ranking weigh 1 together.

    Ties count half either way in the log loss and the calibration; all else is about the decided pairs.
    """

    rankings: int
    pairs: int
    ties: int
    accuracy: float
    accuracy_interval: tuple[float, float]  # taking rankings (not their pairs) as independent
    accuracy_if_longer_wins: float  # of a reward model that counts words
    prefers_longer: float  # how often the reward model scores the longer text higher
    mean_margin: float
    log_loss: float
    calibration: Calibration  # of the confidence, from ½ to 1
    by_margin: tuple[Part, ...]  # bounds: the difference of the two scores
    by_length: tuple[Part, ...]  # bounds: words of the chosen text minus those of the rejected one
    histogram: Histogram


@dataclass(frozen=True)
class OfLabels:
    """Results on texts labelled good or bad."""

    labels: int
    good_share: float
    auroc: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    log_loss: float
    calibration: Calibration  # of the probability that a text is good
    histogram: Histogram


@dataclass(frozen=True)
class RatedPart:
    """The texts rated between two bounds, and their scores."""

    low: float
    high: float
    count: int
    quartiles: tuple[float, float, float]  # of the scores


@dataclass(frozen=True)
class OfRatings:
    """Results on ratings; ratings on several scales are first mapped to [0, 1]."""

    ratings: int
    scale: tuple[float, float]
    spearman: float
    pearson: float
    by_rating: tuple[RatedPart, ...]


@dataclass(frozen=True)
class Mistake:
    """A judgement that the reward model confidently disagrees with.

    A label or a rating has one text: `chosen` where people value it more than the reward model does, else `rejected`.
    """

    kind: str  # "comparison", "label" or "rating"
    prompt: str
    chosen: str | None
    rejected: str | None
    chosen_score: float | None
    rejected_score: float | None
    probability: float | None  # of the judgement, by the reward model; a rating has none
    place: str
    summary: str  # the judgement and what the reward model predicts instead


@dataclass(frozen=True)
class Evaluation:
    """The results of a reward model on judgements, with "raw" scores (log-odds) where it has them."""

    scale: str  # "raw" or "score"
    comparisons: OfComparisons | None
    labels: OfLabels | None
    ratings: OfRatings | None
    hardest: tuple[Mistake, ...]  # by kind, the most confident first

    def numbers(self) -> dict[str, float]:
        """The metrics by name; only those that apply, so none is nan."""
        found: dict[str, float] = {}
        if (c := self.comparisons) is not None:
            found |= {"comparisons": c.rankings, "pairs": c.pairs, "accuracy": c.accuracy}
            found |= {"ties": c.ties, "tie_share": c.ties / (c.rankings + c.ties)} if c.ties else {}
            found |= _ends("accuracy", c.accuracy_interval) if c.rankings else {}
            found |= {"accuracy_if_longer_wins": c.accuracy_if_longer_wins}
            found |= {"prefers_longer": c.prefers_longer, "mean_margin": c.mean_margin}
            found |= {"log_loss": c.log_loss, "ece": c.calibration.ece, "ece_by_chance": c.calibration.ece_by_chance}
        if (of := self.labels) is not None:
            found |= {"labels": of.labels, "good_share": of.good_share, "auroc": of.auroc}
            found |= {"label_accuracy": of.accuracy, **_ends("label_accuracy", of.accuracy_interval)}
            found |= {"label_log_loss": of.log_loss}
            found |= {"label_ece": of.calibration.ece, "label_ece_by_chance": of.calibration.ece_by_chance}
        if (rated := self.ratings) is not None:
            found |= {"ratings": rated.ratings, "spearman": rated.spearman, "pearson": rated.pearson}
        return {name: float(value) for name, value in found.items() if math.isfinite(value)}

    def as_json(self) -> dict[str, Any]:
        """Everything as plain JSON, with null for a number that does not exist."""
        plain: dict[str, Any] = as_plain({"numbers": self.numbers(), **dataclasses.asdict(self)})
        return plain


def _ends(name: str, interval: tuple[float, float]) -> dict[str, float]:
    return {f"{name}_low": interval[0], f"{name}_high": interval[1]}


def as_plain(value: Any) -> Any:
    """Tuples as lists, numbers that are not finite as None."""
    return json.loads(json.dumps(value), parse_constant=lambda _: None)
