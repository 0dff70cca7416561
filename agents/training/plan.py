"""How long an agent trains, and where checkpoints are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

ROWS = 500  # maximum number of rows in metrics.jsonl per plan


@dataclass(frozen=True)
class Plan:
    """From step `start` to step `end`; with a run folder, a cut every `every` steps.

    A cut resets the environments with a seed derived from the run's seed and the number of updates, and may be saved as
    a checkpoint. So training ends with the same bits, interrupted or not. Without a folder nothing is cut.
    """

    start: int
    end: int
    every: int

    @classmethod
    def of(cls, start: int, total: int, every: int) -> Plan:
        """Plan `total` further steps."""
        return cls(start, start + cls.whole(total), every)

    @staticmethod
    def whole(total: Any) -> int:
        """A number of steps as an int, of 1e5 too."""
        if isinstance(total, float | np.floating) and float(total).is_integer():
            total = int(total)
        if not isinstance(total, int | np.integer) or isinstance(total, bool):
            raise TypeError(f"total_timesteps={total!r}: accepted is a whole number of at least 1")
        if total < 1:
            raise ValueError(f"total_timesteps={total}: accepted is at least 1")
        return int(total)

    def remaining(self, step: int) -> float:
        """The remaining share of the plan, 1 to 0."""
        return max(0.0, (self.end - step) / self.length)

    @property
    def length(self) -> int:
        """Number of steps."""
        return self.end - self.start

    @property
    def row_every(self) -> int:
        """Steps between two rows of metrics, of which there are at most `ROWS`."""
        return -(-self.length // ROWS)

    def crosses(self, every: int, before: int, now: int) -> bool:
        """Whether a multiple of `every` steps (at least 1) lies between two steps."""
        every = max(1, every)
        return (now - self.start) // every > (before - self.start) // every

    def cut_due(self, before: int, now: int) -> bool:
        """Whether a cut or the end lies between two steps."""
        return now >= self.end or self.crosses(self.every, before, now)
