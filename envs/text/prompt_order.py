"""The order of prompts: each comes once per epoch, in a new random order every epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class PromptOrder:
    """One slot's position in the prompts 0 to n - 1.

    The order of an epoch follows from its `key`, so the state is three numbers. It is drawn when first needed and held
    as int32, 4 bytes a prompt: 64 slots over 30,000 prompts hold 8 MB. (Slots with different keys cannot share one,
    and drawing it again for each prompt would cost a third of a millisecond.)
    """

    n: int
    key: int = 0
    position: int | None = None  # None before the first epoch
    _order: NDArray[np.int32] | None = field(default=None, init=False, repr=False, compare=False)

    def next(self, rng: np.random.Generator) -> int:
        """Return the number of the next prompt; `rng` draws the key of a new epoch."""
        if self.position is None or self.position >= self.n:
            self.key, self.position, self._order = int(rng.integers(1 << 63)), 0, None
        if self._order is None:
            self._order = np.random.default_rng(self.key).permutation(self.n).astype(np.int32)
        self.position += 1
        return int(self._order[self.position - 1])

    def state(self) -> dict[str, Any]:
        """Return the arguments that make an equal order, as plain JSON."""
        return {"n": self.n, "key": self.key, "position": self.position}
