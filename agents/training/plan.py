"""How long an agent learns and where it is cut and saved on the way."""

from __future__ import annotations

from dataclasses import dataclass

ROWS = 500  # rows of metrics per plan, at most


@dataclass(frozen=True)
class Plan:
    """From step `start` to step `end`, cut every `every` steps.

    A cut resets the environments with a seed derived from the run's seed and the update's number, whether or not
    anything is saved, so that a run looks the same with and without a folder, interrupted or not.
    """

    start: int
    end: int
    every: int

    @classmethod
    def of(cls, start: int, total: int, every: int) -> Plan:
        """Plan `total` further steps."""
        if total < 1:
            raise ValueError(f"total_timesteps={total}: accepted is at least 1")
        return cls(start, start + total, every)

    def remaining(self, step: int) -> float:
        """The share of the plan that lies ahead, 1 to 0."""
        return max(0.0, (self.end - step) / self.length)

    @property
    def length(self) -> int:
        """How many steps it takes."""
        return self.end - self.start

    def crosses(self, every: int, before: int, now: int) -> bool:
        """Whether a multiple of `every` steps (0 is taken as 1) lies between two steps."""
        every = max(1, every)
        return (now - self.start) // every > (before - self.start) // every

    def cut_due(self, before: int, now: int) -> bool:
        """Whether a cut lies between two steps; the end is one."""
        return now >= self.end or self.crosses(self.every, before, now)
