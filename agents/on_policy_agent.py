"""The base of on-policy agents: collect a rollout, estimate advantages, update, discard it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..records.progress import Stopwatch
from .experience.normalize import RewardNorm
from .experience.rollout import Rollout
from .policies.factory import PolicyConfig
from .policy_agent import PolicyAgent
from .settings.seeding import Stream, derive_seed
from .training.collect import Collector
from .training.diagnostics import DivergedError
from .training.learner import Metrics
from .training.optimizer import FlatAdam


@dataclass(frozen=True)
class OnPolicyConfig(PolicyConfig):
    """What on-policy agents share."""

    n_steps: int = 256
    """steps per environment between two updates"""
    learning_rate: float = 3e-4
    """Adam's step size"""
    gamma: float = 0.99
    """discount factor: the effective horizon is 1 / (1 - gamma) steps"""
    gae_lambda: float = 0.95
    """0 trusts the critic (low variance), 1 trusts the returns (no bias)"""
    normalize_reward: bool = False
    """divide rewards by the running standard deviation of the discounted return"""

    def check(self) -> None:
        """See `Config.check`."""
        super().check()
        self.require(["n_steps"], lambda value: value >= 1, "at least 1")
        self.require(["learning_rate"], lambda value: value > 0, "above 0")
        self.require(["gamma", "gae_lambda"], lambda value: 0 <= value <= 1, "between 0 and 1")


class OnPolicyAgent(PolicyAgent):
    """Collects rollouts; a subclass says how to learn from one."""

    config: OnPolicyConfig

    def _build(self) -> None:
        super()._build()
        self.optimizer = self.optimizers["optimizer"] = FlatAdam(self.policy.network, eps=1e-5)
        self.collector = Collector(self.env, self.policy, self.episodes)
        norm = self.config.normalize_reward
        self.reward_norm = RewardNorm(self.env.n_envs, self.config.gamma) if norm else None
        fingerprint = getattr(self.env.reference_model, "fingerprint", None)
        self._reference: str | None = fingerprint() if fingerprint else None  # frozen, so hashed only once

    @abstractmethod
    def update(self, rollout: Rollout, remaining: float) -> Metrics:
        """Learn from a rollout whose advantages are estimated."""

    def relabel(self, rollout: Rollout) -> None:
        """Change a rollout's rewards before advantages are estimated, as GAIL does; by default they stay."""

    def estimate_advantages(self, rollout: Rollout) -> None:
        """Set what policy and critic learn from: by default GAE."""
        rollout.estimate_advantages(self.config.gamma, self.config.gae_lambda)

    def advance(self, remaining: float, watch: Stopwatch) -> Metrics:
        """One rollout and one update."""
        with self.precision():
            rollout = self.collect(watch)
        self.estimate_advantages(rollout)
        watch.lap("values")
        with self.precision():
            metrics = self.update(rollout, remaining)
        if not self.optimizer.flat.isfinite().all():
            raise DivergedError(f"a weight after update {self.n_updates} is not a finite number")
        self.n_updates += 1
        self.collector.memory = self.policy.after_update(self.collector.memory)
        self.policy.update_statistics(rollout.log, rollout.valid)
        watch.lap("update")
        return metrics

    def collect(self, watch: Stopwatch) -> Rollout:
        """Take `n_steps` in every environment; the caller holds `precision`."""
        rollout = self.collector.collect(self.config.n_steps, self.random.actions, watch)
        self.num_timesteps += rollout.valid.size
        self.relabel(rollout)
        if self.reward_norm:
            rollout.rewards = self.reward_norm(rollout.rewards, rollout.ended, rollout.valid)
        return rollout

    def cut(self, env_state: list[Any] | None) -> None:
        """See `Agent.cut`."""
        super().cut(env_state)
        self.collector.reset(derive_seed(self.seed, Stream.ENVIRONMENTS, self.n_updates), env_state)
        if self.reward_norm:
            self.reward_norm.cut()

    def state_dict(self) -> dict[str, Any]:
        """See `Agent.state_dict`."""
        norm = {"reward_norm": self.reward_norm.state_dict()} if self.reward_norm else {}
        reference = {"reference_model": self._reference} if self._reference else {}
        return {**super().state_dict(), **norm, **reference}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Agent.load_state_dict`."""
        if state.get("reference_model", self._reference) != self._reference:
            raise ValueError(
                f"the environment's reference model, {self.env.reference_model}, has other weights than the one this "
                "agent started from: pass env=… with that model, or restore its files; to train the agent's own model "
                "further, make a new agent in an environment whose model= is the run's model/"
            )
        super().load_state_dict(state)
        if self.reward_norm:
            self.reward_norm.load_state_dict(state["reward_norm"])
