"""What the training loop, callbacks, evaluation and checkpoints need of an agent, and what a callback is."""

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
    """An agent, as far as the code below it is concerned."""

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
        """Which agent learns in which environment."""

    def advance(self, remaining: float, watch: Stopwatch) -> Metrics:
        """Collect and learn once."""

    def cut(self, env_state: list[Any] | None) -> None:
        """Start new episodes, seeded by how far the agent has come."""

    def player(self, n_envs: int, seed: int = 0, deterministic: bool = False) -> Act:
        """A function that acts in `n_envs` slots."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint folder."""

    def export(self, run: Path) -> None:
        """Write what other libraries can load into a run's folder, if there is such a thing."""

    def threads(self) -> AbstractContextManager[None]:
        """Held around computation: as many torch threads as suit the networks."""

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint keeps as tensors."""

    def load_tensors(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore `tensors`."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps as JSON."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""


class Callback:
    """Called by `learn`; override what you need. What `state_dict` returns is saved in the run's checkpoints."""

    def on_start(self, agent: Any, run: Path | None) -> None:
        """Training starts or resumes; `run` is its folder, if any."""

    def on_update(self, agent: Any, metrics: Metrics) -> bool:
        """After each update: may add to its metrics; return False to stop training."""
        return True

    def on_end(self, agent: Any) -> None:
        """Training is over."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as plain JSON."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
