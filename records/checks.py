"""Checks of arguments that several functions take, each with one wording of its error."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

SPLITS = ("train", "heldout")  # of every data set


def count(name: str, value: object, least: int = 1) -> int:
    """Return a whole number of at least `least`, else raise ValueError; True and False are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} is {value!r}: expected a whole number of at least {least}")
    return int(value)


def finite(name: str, value: object) -> float:
    """Return a finite number, else raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r}: expected a finite number")
    return float(value)


def not_negative(name: str, value: object) -> float:
    """Return a finite number of at least 0, else raise ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value!r}: expected a finite number of at least 0")
    return float(value)


def one_of(name: str, value: object, accepted: Collection[object]) -> None:
    """Raise ValueError for a value that is not among those accepted."""
    if value not in accepted:
        raise ValueError(f"{name} is {value!r}: expected one of {', '.join(map(repr, accepted))}")
