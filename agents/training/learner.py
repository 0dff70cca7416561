"""The protocol of agents that training loop, callbacks, evaluation and checkpoints use; the base of callbacks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor

from ...records.progress import Stopwatch
from ..environment.adapter import EnvAdapter
from ..environment.play import Act
from ..settings.config import Config
from .episode_statistics import EpisodeStatistics
from .plan import Plan

Metrics = dict[str, float]


class Learner(Protocol):
    """An agent, as seen by the training code."""

    name: ClassVar[str]
    config: Config
    env: EnvAdapter
    episodes: EpisodeStatistics
    seed: int
    num_timesteps: int
    n_updates: int
    plan: Plan | None
    checkpoint: Path | None

    @property
    def title(self) -> str:
        """Agent and environment, for titles."""

    def advance(self, remaining: float, watch: Stopwatch) -> Metrics:
        """Collect and learn once."""

    def cut(self, env_state: list[Any] | None) -> None:
        """See `Agent.cut`."""

    def player(self, n_envs: int, seed: int = 0, deterministic: bool = False) -> Act:
        """See `Agent.player`."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint folder."""

    def export(self, run: Path) -> None:
        """See `Agent.export`."""

    def threads(self) -> AbstractContextManager[None]:
        """See `Agent.threads`."""

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """See `Agent.tensors`."""

    def load_tensors(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore `tensors`."""

    def state_dict(self) -> dict[str, Any]:
        """See `Agent.state_dict`."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""


class Callback:
    """Called by `learn`; override what you need. What `state_dict` returns is saved in the run's checkpoints."""

    metrics_every_update: ClassVar[bool] = False
    """Whether it adds the same metrics in every update. If not, metrics.jsonl gets a row whenever it adds any."""

    def on_start(self, agent: Any, run: Path | None) -> None:
        """Training starts or resumes; `run` is its folder, if any."""

    def on_update(self, agent: Any, metrics: Metrics) -> bool:
        """After each update: may add to its metrics; return False to stop training."""
        return True

    def on_end(self, agent: Any) -> None:
        """Training has ended."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as plain JSON."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
