"""How much of a process's time something may take, such as checkpoints or samples.

The clock then decides only how often it is done, so it must not change what is computed.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator


class TimeBudget:
    """The time that has been spent on something, and may be spent: a share of the time so far, or an allowance."""

    def __init__(self, share: float, allowance: float) -> None:
        self.share, self.allowance = share, allowance  # of all seconds, and seconds that may be spent anyhow
        self._started = self._ended = time.monotonic()
        self._spent, self._last = 0.0, math.nan  # seconds: of all times, of the last one

    def allows(self, expected: float = 0.0) -> bool:
        """Whether doing it again keeps to the budget; `expected` seconds, until it has been timed."""
        again = expected if math.isnan(self._last) else self._last
        elapsed = time.monotonic() - self._started
        return self._spent + again <= max(self.share * elapsed, self.allowance)

    def idle(self) -> float:
        """The seconds since it was done last, or since the start."""
        return time.monotonic() - self._ended

    @contextlib.contextmanager
    def spending(self) -> Iterator[None]:
        """Time the block, which does it."""
        started = time.monotonic()
        yield
        self._ended = time.monotonic()
        self._last = self._ended - started
        self._spent += self._last
