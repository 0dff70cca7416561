"""Callbacks for `learn`: evaluate, save, stop, adapt the KL coefficient."""

from __future__ import annotations

import os
import sys
import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ..environment.vectorize import EnvLike
from .evaluation import evaluate, playing_env
from .learner import Callback, Learner, Metrics


class Periodic(Callback):
    """Does something every `every` steps, summed over environments."""

    saved: ClassVar[tuple[str, ...]] = ("next",)  # when it is due next

    def __init__(self, every: int) -> None:
        self.every = every
        self.next: int | None = None

    def on_start(self, agent: Learner, run: Path | None) -> None:
        """Schedule the first time."""
        if self.next is None:
            self.next = agent.num_timesteps + self.every

    def on_update(self, agent: Learner, metrics: Metrics) -> bool | None:
        """Call `on_due` when it is time."""
        assert self.next is not None
        if agent.num_timesteps < self.next:
            return True
        self.next += self.every * ((agent.num_timesteps - self.next) // self.every + 1)
        return self.on_due(agent, metrics)

    @abstractmethod
    def on_due(self, agent: Learner, metrics: Metrics) -> bool | None:
        """What is done every `every` steps; False stops training, None does not."""


class Evaluate(Periodic):
    """Evaluates the agent every `every` steps, as `evaluate` does, and saves the best one so far.

    Args:
        every: steps between two evaluations, summed over environments
        n_episodes: episodes per evaluation
        env: the environment to evaluate in; by default the agent's, on text with held-out prompts
        deterministic: the most likely actions instead of sampled ones; by default False for text, else True. An
            evaluation in the other way has a metric of its own, evaluation/deterministic_return or
            evaluation/sampled_return
        keep_best: the folder for the best agent; True is `<run>/best`
        stop_at: stop training once an evaluation's mean return reaches this
    """

    saved = ("next", "best", "deterministic")

    def __init__(
        self,
        every: int,
        n_episodes: int = 20,
        *,
        env: EnvLike | None = None,
        deterministic: bool | None = None,
        keep_best: str | os.PathLike[str] | bool = True,
        stop_at: float | None = None,
    ) -> None:
        super().__init__(every)
        self.n_episodes, self.env = n_episodes, env
        self.deterministic, self.keep_best, self.stop_at = deterministic, keep_best, stop_at
        self.best: float | None = None
        self._folder: Path | None = None
        self._metric = "return"

    def on_start(self, agent: Learner, run: Path | None) -> None:
        """See `Callback.on_start`."""
        if self.env is None:
            playing_env(agent, None, 1).close()  # so that an environment that cannot be made again is reported now
        super().on_start(agent, run)
        if self.deterministic not in (None, not agent.env.is_text):
            self._metric = "deterministic_return" if self.deterministic else "sampled_return"
        if isinstance(self.keep_best, bool):
            self._folder = run / "best" if run and self.keep_best else None
        else:
            self._folder = Path(self.keep_best)

    def on_due(self, agent: Learner, metrics: Metrics) -> bool:
        """Evaluate."""
        scores = evaluate(agent, self.env, self.n_episodes, deterministic=self.deterministic)
        metrics[f"evaluation/{self._metric}"] = scores.mean
        if agent.env.is_text:
            metrics |= {f"evaluation/{name}": mean for name, mean in scores.means().items()}
        if self.best is None or scores.mean > self.best:
            self.best = scores.mean
            if self._folder:
                agent.save(self._folder)
        return self.stop_at is None or scores.mean < self.stop_at

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`; the best return of greedy actions is not one to compare sampled ones with."""
        deterministic = self.deterministic
        super().load_state_dict(state)
        if self.deterministic != deterministic:
            self.best, self.deterministic = None, deterministic


class Save(Periodic):
    """Saves the agent every `every` steps as `<folder>/step-<n>`; training cannot be resumed from these."""

    def __init__(self, every: int, folder: str | os.PathLike[str]) -> None:
        super().__init__(every)
        self.folder = Path(folder)

    def on_due(self, agent: Learner, metrics: Metrics) -> bool:
        """Save."""
        agent.save(self.folder / f"step-{agent.num_timesteps:09d}")
        return True


class AdaptiveKL(Callback):
    """Adapts β so that the KL from the reference approaches `target` nats per text (Ziegler et al., 2019).

    Each update multiplies β by 1 + error · texts / horizon: the relative error of the KL clipped to ±0.2, and the
    number of texts finished since the last update, at most `horizon`. So β stays positive.
    """

    metrics_every_update: ClassVar[bool] = True
    saved = ("kl_coef", "initial", "finished")

    def __init__(self, target: float, horizon: int = 10_000) -> None:
        for name, value in (("target", target), ("horizon", horizon)):
            if not value > 0:
                raise ValueError(f"AdaptiveKL: {name}={value!r}: accepted is a number above 0")
        self.target, self.horizon = target, horizon
        self.kl_coef: float | None = None  # β
        self.initial: float | None = None  # the environment's own, where it began
        self.finished = 0  # texts that it accounts for

    def on_start(self, agent: Learner, run: Path | None) -> None:
        """Check that the environment has a β, and restore that of a resumed run, unless it was given another one."""
        if not agent.env.has_kl_penalty:
            raise ValueError(f"AdaptiveKL: {agent.env.vector_env} has no kl_coef to adapt: remove the callback")
        if self.kl_coef is None or agent.env.kl_coef != self.initial:
            self.kl_coef = self.initial = agent.env.kl_coef
            self.finished = agent.episodes.finished
        if not self.kl_coef > 0:
            raise ValueError(f"AdaptiveKL: kl_coef={self.kl_coef}: it multiplies, so start above 0")
        agent.env.kl_coef = self.kl_coef

    def on_update(self, agent: Learner, metrics: Metrics) -> bool:
        """Adapt β."""
        assert self.kl_coef is not None
        texts = agent.episodes.finished - self.finished
        if "rollout/kl" in metrics and texts:
            error = min(max(metrics["rollout/kl"] / self.target - 1, -0.2), 0.2)
            kl_coef = self.kl_coef * (1 + error * min(texts, self.horizon) / self.horizon)
            self.kl_coef = min(max(kl_coef, sys.float_info.min), sys.float_info.max)
            self.finished = agent.episodes.finished
            agent.env.kl_coef = self.kl_coef
        metrics["train/kl_coef"] = self.kl_coef
        return True


class StopAtReturn(Callback):
    """Stops once the last hundred training episodes average at least `threshold`."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def on_update(self, agent: Learner, metrics: Metrics) -> bool:
        """Compare the mean return, once there are a hundred episodes."""
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
        """Compare the time."""
        return time.monotonic() < self._until
