"""Which prompt comes next: every one once, in an order of one's own, before any comes again.

The order is a keyed permutation of 0..n-1 that is computed place by place, so that a slot keeps two numbers and not
a list: N slots over a million prompts cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_MASK = (1 << 64) - 1


def permuted(place: int, n: int, key: int) -> int:
    """Where the permutation of 0..n-1 named by `key` takes `place`: a six-round Feistel network, walked in cycles."""
    half = max((n - 1).bit_length() + 1, 2) // 2
    low = (1 << half) - 1
    while True:
        left, right = place >> half, place & low
        for round_ in range(6):  # four leave small n visibly uneven
            left, right = right, left ^ (_mixed(right + (round_ << 32) + key) & low)
        place = left << half | right
        if place < n:
            return place


def _mixed(x: int) -> int:
    """SplitMix64's finaliser: each bit of the outcome depends on each of x."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)


@dataclass
class Cursor:
    """One slot's way through the prompts."""

    n: int
    key: int = 0
    place: int | None = None  # None: the first epoch has not begun

    def next(self, rng: np.random.Generator) -> int:
        """The index of the next prompt; a new epoch draws a new order."""
        if self.place is None or self.place >= self.n:
            self.key, self.place = int(rng.integers(1 << 63)), 0
        self.place += 1
        return permuted(self.place - 1, self.n, self.key)

    def state(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"n": self.n, "key": self.key, "place": self.place}
