"""Krippendorff's α: how far several raters agree beyond chance, 1 being perfect and 0 chance.

Krippendorff (2004), Content Analysis, chapter 11. Any number of raters, who need not have judged everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEVELS = ("nominal", "ordinal", "interval")


def alpha(units: Sequence[Sequence[float]], level: str) -> float:
    """α of the values given to each unit; those of one value alone cannot be compared and do not count.

    `level` says what a difference is: "nominal" (other or not), "ordinal" (ranks between), "interval" (the difference).
    nan where nothing can be compared, or all values are the same, so that there is no chance to disagree.
    """
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}: expected one of {', '.join(LEVELS)}")
    units = [unit for unit in units if len(unit) > 1]
    values = np.unique([value for unit in units for value in unit])
    if len(values) < 2:
        return math.nan
    counts = np.array(
        [[np.sum(np.asarray(unit) == value) for value in values] for unit in units], float
    )  # (units, values)
    sizes = counts.sum(1)
    together = (counts / (sizes - 1)[:, None]).T @ counts - np.diag((counts / (sizes - 1)[:, None]).sum(0))
    totals = together.sum(1)  # (values,)
    apart = _differences(values, totals, level)
    observed = (together * apart).sum() / totals.sum()
    expected = (np.outer(totals, totals) * apart).sum() / (totals.sum() * (totals.sum() - 1))
    return float(1 - observed / expected)


def _differences(values: NDArray[np.float64], totals: NDArray[np.float64], level: str) -> NDArray[np.float64]:
    """The squared difference of any two values: (values, values)."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        squared: NDArray[np.float64] = (values[:, None] - values) ** 2
        return squared
    ends = np.cumsum(totals) - totals / 2  # the middle of each value's ranks
    ranks: NDArray[np.float64] = (ends[:, None] - ends) ** 2
    return ranks
