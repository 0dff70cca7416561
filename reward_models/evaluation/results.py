"""What an evaluation finds: measures, tables and mistakes, as numbers by name or as plain JSON."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from .metrics import Calibration


@dataclass(frozen=True)
class Part:
    """The cases between two bounds (both are values that occur), and how many of them the reward model has right."""

    low: float
    high: float
    count: int
    accuracy: float


@dataclass(frozen=True)
class Histogram:
    """How many of the better and of the worse texts score between one edge and the next."""

    edges: tuple[float, ...]  # one more than there are counts
    better: tuple[int, ...]
    worse: tuple[int, ...]


@dataclass(frozen=True)
class OfComparisons:
    """The reward model on pairs and rankings. A ranking counts once, through all its pairs."""

    rankings: int
    pairs: int
    accuracy: float
    accuracy_error: float  # one standard error; rankings, not their pairs, are taken as independent
    accuracy_if_longer_wins: float  # of a reward model that counts words
    judge_prefers_longer: float  # the share of pairs in which this one scores the longer text higher
    mean_margin: float
    log_loss: float
    calibration: Calibration  # of the confidence, from ½ to 1
    by_margin: tuple[Part, ...]  # bounds: how far the two scores lie apart
    by_length: tuple[Part, ...]  # bounds: the words of the chosen text less those of the rejected one
    histogram: Histogram


@dataclass(frozen=True)
class OfLabels:
    """The reward model on texts that were called good or bad."""

    labels: int
    good_share: float
    auroc: float
    accuracy: float
    log_loss: float
    calibration: Calibration  # of the probability that a text is good
    histogram: Histogram


@dataclass(frozen=True)
class RatedPart:
    """The texts rated between two bounds, and what the reward model gave them."""

    low: float
    high: float
    count: int
    quartiles: tuple[float, float, float]  # of the scores


@dataclass(frozen=True)
class OfRatings:
    """The reward model on ratings; where they come on several scales, each is first mapped to 0 … 1."""

    ratings: int
    scale: tuple[float, float]
    spearman: float
    pearson: float
    by_rating: tuple[RatedPart, ...]


@dataclass(frozen=True)
class Mistake:
    """What the reward model is surest of and people contradict.

    A label or a rating concerns one text: it stands in `chosen` where people held it to be better than the reward
    model does, else in `rejected`, and the other is None.
    """

    kind: str  # "comparison", "label" or "rating"
    prompt: str
    chosen: str | None
    rejected: str | None
    chosen_score: float | None
    rejected_score: float | None
    probability: float | None  # that the reward model gave to what people said; a rating has none
    place: str
    said: str  # what people said, and the reward model, in words


@dataclass(frozen=True)
class Evaluation:
    """A reward model held against judgements. Scores are on the scale that `scale` names, "raw" log-odds where it has
    them.
    """

    scale: str  # "raw" or "score"
    comparisons: OfComparisons | None
    labels: OfLabels | None
    ratings: OfRatings | None
    hardest: tuple[Mistake, ...]  # by kind, the surest first

    def numbers(self) -> dict[str, float]:
        """The measures by name; only those that apply, so no nan."""
        found: dict[str, float] = {}
        if (c := self.comparisons) is not None:
            found |= {"comparisons": c.rankings, "pairs": c.pairs, "accuracy": c.accuracy}
            found |= {"accuracy_error": c.accuracy_error, "accuracy_if_longer_wins": c.accuracy_if_longer_wins}
            found |= {"judge_prefers_longer": c.judge_prefers_longer, "mean_margin": c.mean_margin}
            found |= {"log_loss": c.log_loss, "ece": c.calibration.ece, "ece_by_chance": c.calibration.ece_by_chance}
        if (of := self.labels) is not None:
            found |= {"labels": of.labels, "good_share": of.good_share, "auroc": of.auroc}
            found |= {"label_accuracy": of.accuracy, "label_log_loss": of.log_loss}
            found |= {"label_ece": of.calibration.ece, "label_ece_by_chance": of.calibration.ece_by_chance}
        if (rated := self.ratings) is not None:
            found |= {"ratings": rated.ratings, "spearman": rated.spearman, "pearson": rated.pearson}
        return {name: float(value) for name, value in found.items() if math.isfinite(value)}

    def as_json(self) -> dict[str, Any]:
        """Everything as plain JSON, null where a number does not exist."""
        plain: dict[str, Any] = as_plain({"numbers": self.numbers(), **dataclasses.asdict(self)})
        return plain


def as_plain(value: Any) -> Any:
    """Tuples as lists, and None for a number that is not finite."""
    if isinstance(value, dict):
        return {key: as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
