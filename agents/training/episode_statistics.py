"""Returns, lengths and infos of the training episodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..environment.episode_info import numbers
from ..environment.spaces import Flags, Floats

WINDOW = 100


class EpisodeStatistics:
    """Adds up rewards by slot, and keeps the last hundred episodes."""

    def __init__(self, n_envs: int) -> None:
        self._returns, self._lengths = np.zeros(n_envs), np.zeros(n_envs, np.int64)
        self._kl = np.zeros(n_envs)
        self.recent: deque[dict[str, float]] = deque(maxlen=WINDOW)
        self.finished = 0

    def add(
        self,
        rewards: Floats,
        ended: Flags,
        valid: Flags,
        kl: Floats | None = None,
        infos: Mapping[tuple[int, int], Mapping[str, Any]] | None = None,
    ) -> None:
        """Add steps (T, N), and the `infos` of the episodes that ended by (step, slot)."""
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
        """The means over the recent episodes."""
        return {f"rollout/{name}": mean for name, mean in means(self.recent).items()}

    def cut(self) -> None:
        """Forget the unfinished episodes."""
        self._returns[:] = self._lengths[:] = self._kl[:] = 0

    def state_dict(self) -> dict[str, Any]:
        """The finished episodes as plain JSON."""
        return {"recent": list(self.recent), "finished": self.finished}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self.recent = deque((numbers(episode) for episode in state["recent"]), maxlen=WINDOW)
        self.finished = int(state["finished"])


def means(episodes: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each name over those episodes that have it."""
    values: dict[str, list[float]] = {}
    for episode in episodes:
        for name, value in episode.items():
            values.setdefault(name, []).append(value)
    return {name: float(np.mean(found)) for name, found in values.items()}
