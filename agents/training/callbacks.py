"""What may happen between two updates: evaluate, save, stop."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..environment.vectorize import EnvLike
from .evaluation import evaluate
from .learner import Callback, Learner, Metrics


class Evaluate(Callback):
    """Plays `n_episodes` every `every` steps and keeps the best agent so far in `<run>/best`."""

    def __init__(
        self,
        every: int,
        n_episodes: int = 20,
        *,
        env: EnvLike | None = None,
        deterministic: bool = True,
        keep_best: str | os.PathLike[str] | bool = True,
        stop_at: float | None = None,
    ) -> None:
        self.every, self.n_episodes, self.env = every, n_episodes, env
        self.deterministic, self.keep_best, self.stop_at = deterministic, keep_best, stop_at
        self.best: float | None = None
        self._next: int | None = None
        self._folder: Path | None = None

    def on_start(self, agent: Learner, run: Path | None) -> None:
        """Find where the best goes, and see that there is something to evaluate in."""
        if self.env is None and agent.env.recipe is None:
            raise ValueError("Evaluate: the agent's environment cannot be made again from its spec: pass env=…")
        if self._next is None:
            self._next = agent.num_timesteps + self.every
        if isinstance(self.keep_best, bool):
            self._folder = run / "best" if run and self.keep_best else None
        else:
            self._folder = Path(self.keep_best)

    def on_update(self, agent: Learner, metrics: Metrics) -> bool:
        """Evaluate when it is time."""
        assert self._next is not None
        if agent.num_timesteps < self._next:
            return True
        self._next = _after(agent.num_timesteps, self._next, self.every)
        scores = evaluate(agent, self.env, self.n_episodes, deterministic=self.deterministic)
        metrics["evaluation/return"] = scores.mean
        if self.best is None or scores.mean > self.best:
            self.best = scores.mean
            if self._folder:
                agent.save(self._folder)
        return self.stop_at is None or scores.mean < self.stop_at

    def state_dict(self) -> dict[str, Any]:
        """The best so far and when to look next."""
        return {"best": self.best, "next": self._next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.best, self._next = state["best"], state["next"]


class Save(Callback):
    """Saves the agent every `every` steps as `<folder>/step-<n>`; such saves are not points to resume from."""

    def __init__(self, every: int, folder: str | os.PathLike[str]) -> None:
        self.every, self.folder = every, Path(folder)
        self._next: int | None = None

    def on_start(self, agent: Learner, run: Path | None) -> None:
        """Set the first time."""
        if self._next is None:
            self._next = agent.num_timesteps + self.every

    def on_update(self, agent: Learner, metrics: Metrics) -> bool:
        """Save when it is time."""
        assert self._next is not None
        if agent.num_timesteps >= self._next:
            self._next = _after(agent.num_timesteps, self._next, self.every)
            agent.save(self.folder / f"step-{agent.num_timesteps:09d}")
        return True

    def state_dict(self) -> dict[str, Any]:
        """When to save next."""
        return {"next": self._next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self._next = state["next"]


class AdaptiveKL(Callback):
    """Moves β so that texts come to lie `target` nats from the reference (Ziegler et al., 2019).

    Each update changes it by the relative error, at most a fifth, times the share that the texts finished since are of
    `horizon`.
    """

    def __init__(self, target: float, horizon: int = 10_000) -> None:
        for name, value in (("target", target), ("horizon", horizon)):
            if not value > 0:
                raise ValueError(f"AdaptiveKL: {name}={value!r}: accepted is a number above 0")
        self.target, self.horizon = target, horizon
        self._state: dict[str, Any] | None = None

    def on_start(self, agent: Learner, run: Path | None) -> None:
        """See that there is a β, and take up the one a resumed run had."""
        if not agent.env.has_kl_penalty:
            raise ValueError(f"AdaptiveKL: {agent.env.vector_env} has no kl_coef to adapt: leave it out")
        if self._state is None:
            self._state = {"kl_coef": agent.env.kl_coef, "finished": agent.episodes.finished}
        agent.env.kl_coef = self._state["kl_coef"]

    def on_update(self, agent: Learner, metrics: Metrics) -> bool:
        """Move it."""
        assert self._state is not None
        texts = agent.episodes.finished - self._state["finished"]
        if "rollout/kl" in metrics and texts:
            error = min(max(metrics["rollout/kl"] / self.target - 1, -0.2), 0.2)
            self._state = {
                "kl_coef": self._state["kl_coef"] * (1 + error * texts / self.horizon),
                "finished": agent.episodes.finished,
            }
            agent.env.kl_coef = self._state["kl_coef"]
        metrics["train/kl_coef"] = self._state["kl_coef"]
        return True

    def state_dict(self) -> dict[str, Any]:
        """β, and how many texts it has seen."""
        return dict(self._state or {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self._state = dict(state) or None


class StopAtReturn(Callback):
    """Stops once the last hundred training episodes average at least `threshold`."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def on_update(self, agent: Learner, metrics: Metrics) -> bool:
        """Look at the window once it is full."""
        full = len(agent.episodes.recent) == agent.episodes.recent.maxlen
        return not (full and metrics["rollout/return"] >= self.threshold)


class StopAfter(Callback):
    """Stops after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_start(self, agent: Learner, run: Path | None) -> None:
        """Start the clock."""
        self._until = time.monotonic() + self.seconds

    def on_update(self, agent: Learner, metrics: Metrics) -> bool:
        """Look at the clock."""
        return time.monotonic() < self._until


def _after(now: int, due: int, every: int) -> int:
    """The first time after `now` in a series that goes on from `due`."""
    return due + every * ((now - due) // every + 1)
