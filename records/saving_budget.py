"""How often checkpoints are saved: as often as it costs little time.

The clock decides only which of a run's possible checkpoints are written, never what is computed, so a run that saves
more or fewer of them ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from .time_budget import TimeBudget

SHARE = 0.05  # of a process's time may go into checkpoints
ALLOWANCE = 1.0  # seconds that may go into them anyhow: small agents save every time
LONGEST = 600.0  # seconds after which the next one is saved whatever it costs: what a kill may destroy
SPEED = 300e6  # bytes a second, until a save has been timed: SSDs write faster, network file systems about as fast


class SavingBudget:
    """The time that this process has spent on checkpoints, and may spend."""

    def __init__(self) -> None:
        self._budget = TimeBudget(SHARE, ALLOWANCE)
        self.saving = self._budget.spending  # times a block that saves

    def affords(self, size: int) -> bool:
        """Whether saving that many bytes now keeps to the share of the time so far."""
        return self._budget.allows(size / SPEED)

    def overdue(self) -> bool:
        """Whether the last save, or the start, is too long ago."""
        return self._budget.idle() >= LONGEST


def size_of(tensors: Mapping[str, Mapping[str, Tensor]]) -> int:
    """The bytes of a checkpoint's tensors."""
    return sum(tensor.nbytes for group in tensors.values() for tensor in group.values())
