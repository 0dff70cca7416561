"""Several ratings of the same text: all of them, their mean, or their mean weighted by how well it is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from .judgements import Judgement, Rated

HOW = ("mean", "all", "spread")
Tagged = list[tuple[Judgement, str | None]]  # each with its split


def combined(judgements: Tagged, how: str | None) -> Tagged:
    """Combine the ratings of each text: "all" leaves them, None combines those of one row, "mean" and "spread" all.

    The combined rating takes the place of the first. With "spread" its weight is 1 / (s²/n + c), s² being the variance
    of its n ratings and c the mean of s²/n over all texts, divided by the mean weight: a text that people agree about,
    or that many rated, counts more, at most (1 + max s²/n / c) times another. One rating has the variance that others
    have on average.
    """
    if how == "all":
        return judgements
    groups: dict[object, list[int]] = {}
    for i, (one, split) in enumerate(judgements):
        if isinstance(one, Rated):
            key = (one.prompt, one.response, one.scale, split) if how else (one.place or i, one.response)
            groups.setdefault(key, []).append(i)
    weights = precisions([[_on_unit(judgements[i][0]) for i in members] for members in groups.values()])
    kept = {members[0]: (members, weight) for members, weight in zip(groups.values(), weights, strict=True)}
    found: Tagged = []
    for i, (one, split) in enumerate(judgements):
        if not isinstance(one, Rated):
            found.append((one, split))
        elif i in kept:
            members, weight = kept[i]
            ratings = [judgements[member][0].rating for member in members]  # type: ignore[union-attr]
            own = float(np.mean([judgements[member][0].weight for member in members]))  # type: ignore[union-attr]
            changed: dict[str, object] = {"weight": own * float(weight) if how == "spread" else own}
            if len(ratings) > 1:
                mean = min(max(float(np.mean(ratings)), one.scale[0]), one.scale[1])  # of equal ones not a bit beyond
                changed |= {"rating": mean, "rater": None}
            found.append((dataclasses.replace(one, **changed), split))  # type: ignore[arg-type]
    return found


def precisions(ratings: Sequence[Sequence[float]]) -> list[float]:
    """The weight of each text's mean, their mean being 1; see `combined`."""
    variances = [float(np.var(some, ddof=1)) for some in ratings if len(some) > 1]
    usual = float(np.mean(variances)) if variances else 0.0
    errors = np.array([(np.var(some, ddof=1) if len(some) > 1 else usual) / len(some) for some in ratings])
    if not len(errors) or not errors.any():
        return [1.0] * len(errors)
    weights = 1 / (errors + errors.mean())
    found: list[float] = (weights / weights.mean()).tolist()
    return found


def _on_unit(one: Judgement) -> float:
    assert isinstance(one, Rated)
    return (one.rating - one.scale[0]) / (one.scale[1] - one.scale[0])
