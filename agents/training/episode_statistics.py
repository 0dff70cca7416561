"""Returns and lengths of the episodes an agent has finished, and what the environment said of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..environment.episode_info import numbers

WINDOW = 100


class EpisodeStatistics:
    """Adds up rewards slot by slot and remembers the last hundred episodes."""

    def __init__(self, n_envs: int) -> None:
        self._returns, self._lengths = np.zeros(n_envs), np.zeros(n_envs, np.int64)
        self._kl = np.zeros(n_envs)
        self.recent: deque[dict[str, float]] = deque(maxlen=WINDOW)
        self.finished = 0

    def add(
        self,
        rewards: NDArray[np.float64],
        ended: NDArray[np.bool_],
        valid: NDArray[np.bool_],
        kl: NDArray[np.float64] | None = None,
        infos: Mapping[tuple[int, int], Mapping[str, Any]] | None = None,
    ) -> None:
        """Add steps (T, N), and the `infos` of the episodes that ended, by step and slot."""
        for t, (reward, end, real) in enumerate(zip(rewards, ended, valid, strict=True)):
            self._returns += np.where(real, reward, 0.0)
            self._lengths += real
            if kl is not None:
                self._kl += np.where(real, kl[t], 0.0)
            for slot in np.flatnonzero(end).tolist():
                episode = numbers(infos.get((t, slot), {})) if infos else {}
                if kl is not None:
                    episode["kl"] = float(self._kl[slot])
                self.recent.append(
                    {**episode, "return": float(self._returns[slot]), "length": float(self._lengths[slot])}
                )
                self.finished += 1
                self._returns[slot] = self._lengths[slot] = self._kl[slot] = 0

    def metrics(self) -> dict[str, float]:
        """The recent episodes' means, once there are any."""
        names = dict.fromkeys(name for episode in self.recent for name in episode)
        return {
            f"rollout/{name}": float(np.mean([episode[name] for episode in self.recent if name in episode]))
            for name in names
        }

    def cut(self) -> None:
        """Forget the episodes under way."""
        self._returns[:] = self._lengths[:] = self._kl[:] = 0

    def state_dict(self) -> dict[str, Any]:
        """The finished episodes as plain JSON."""
        return {"recent": list(self.recent), "finished": self.finished}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.recent = deque(
            ({str(name): float(value) for name, value in episode.items()} for episode in state["recent"]),
            maxlen=WINDOW,
        )
        self.finished = int(state["finished"])
