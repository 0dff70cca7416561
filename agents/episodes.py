"""Returns and lengths of the episodes an agent has finished."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 100


class Episodes:
    """Adds up rewards slot by slot and remembers the last hundred episodes."""

    def __init__(self, n_envs: int) -> None:
        self._returns, self._lengths = np.zeros(n_envs), np.zeros(n_envs, np.int64)
        self.recent: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self.finished = 0

    def add(self, rewards: NDArray[np.float64], ended: NDArray[np.bool_], valid: NDArray[np.bool_]) -> None:
        """Take in steps (T, N)."""
        for reward, end, real in zip(rewards, ended, valid, strict=True):
            self._returns += np.where(real, reward, 0.0)
            self._lengths += real
            if end.any():
                self.recent.extend(zip(self._returns[end].tolist(), self._lengths[end].tolist(), strict=True))
                self.finished += int(end.sum())
                self._returns[end], self._lengths[end] = 0.0, 0

    def metrics(self) -> dict[str, float]:
        """The recent episodes' mean return and length, once there are any."""
        if not self.recent:
            return {}
        mean_return, mean_length = np.mean(np.array(self.recent, np.float64), axis=0)
        return {"rollout/return": float(mean_return), "rollout/length": float(mean_length)}

    def cut(self) -> None:
        """Forget the episodes under way."""
        self._returns[:], self._lengths[:] = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """The finished episodes as plain JSON."""
        return {"recent": list(self.recent), "finished": self.finished}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.recent = deque(((float(r), int(n)) for r, n in state["recent"]), maxlen=WINDOW)
        self.finished = int(state["finished"])
