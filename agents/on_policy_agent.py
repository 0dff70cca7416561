"""The base class of on-policy agents: collect a rollout, estimate advantages, update, discard it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..records.progress import Stopwatch
from .environment.vectorize import EnvLike
from .experience.normalize import RewardNorm
from .experience.rollout import Rollout
from .policy_agent import PolicyAgent, PolicyConfig
from .settings.config import Schedule, scheduled
from .settings.seeding import Stream, derive_seed
from .training.collect import Collector
from .training.learner import Metrics
from .training.optimizer import FlatAdam


@dataclass(frozen=True)
class OnPolicyConfig(PolicyConfig):
    """Hyperparameters of on-policy agents."""

    n_steps: int = 256
    """steps per environment and rollout, so that an update uses `n_steps * n_envs` steps"""
    learning_rate: float = 3e-4
    """learning rate of Adam; where it is not given, a language model's is chosen by its size"""
    lr_schedule: Schedule = "constant"
    """schedule of the learning rate, which goes to 0 over training unless it is "constant" """
    gamma: float = 0.99
    """discount factor; rewards further ahead than about 1 / (1 - gamma) steps hardly count"""
    gae_lambda: float = 0.95
    """bias-variance trade-off of generalized advantage estimation: 1 uses full returns, 0 one-step TD errors"""
    normalize_reward: bool = False
    """divide rewards by the running standard deviation of the discounted return, so that the critic's targets are
    about 1 in any environment"""
    normalize_advantage: bool = True
    """normalize the advantages of each minibatch to mean 0 and standard deviation 1"""
    ent_coef: float = 0.0
    """coefficient of the entropy bonus, which keeps the policy exploring"""
    vf_coef: float = 0.5
    """coefficient of the value loss"""
    max_grad_norm: float = 0.5
    """clip the global gradient norm to this"""

    def with_envs(self, n_envs: int) -> Self:
        """Fewer environments collect rollouts of the same size, in more steps."""
        n_steps = self.n_steps if "n_steps" in self.given else self.n_steps * self.n_envs // n_envs
        return self.replace(given=False, n_envs=n_envs, n_steps=n_steps)

    def check(self) -> None:
        """See `Config.check`."""
        super().check()
        self.bounds("n_steps", at_least=1)
        self.bounds("learning_rate", "max_grad_norm", above=0)
        self.bounds("gamma", "gae_lambda", at_least=0, at_most=1)
        self.bounds("vf_coef", at_least=0)


class OnPolicyAgent(PolicyAgent):
    """Collects rollouts; subclasses define `update`."""

    config: OnPolicyConfig

    def _build(self) -> None:
        super()._build()
        self.optimizer = self.optimizers["optimizer"] = FlatAdam(self.policy.network, eps=1e-5)
        self.collector = Collector(self.env, self.policy, self.episodes)
        self.reward_norm = RewardNorm(self.env.n_envs, self.config.gamma) if self.config.normalize_reward else None
        if self.reward_norm:
            self.parts["reward_norm"] = self.reward_norm

    def _needs_reference(self) -> bool:
        return True  # it pays for the KL from it

    @abstractmethod
    def update(self, rollout: Rollout, remaining: float) -> Metrics:
        """Update the networks with a rollout that has advantages."""

    def learning_rate(self, remaining: float) -> float:
        """The scheduled learning rate."""
        return scheduled(self.config.learning_rate, self.config.lr_schedule, remaining)

    def relabel(self, rollout: Rollout) -> None:
        """A hook to change a rollout's rewards before advantages are estimated, as in GAIL."""

    def estimate_advantages(self, rollout: Rollout) -> None:
        """Compute advantages and returns: by default GAE."""
        rollout.estimate_advantages(self.config.gamma, self.config.gae_lambda)

    def advance(self, remaining: float, watch: Stopwatch) -> Metrics:
        """One rollout and one update."""
        with self.precision():
            rollout = self.collect(watch)
        self.estimate_advantages(rollout)
        watch.lap("values")
        with self.precision():
            metrics = self.update(rollout, remaining)
        self.optimizer.check_finite(f"after update {self.n_updates}")
        self.n_updates += 1
        self.collector.memory = self.policy.after_update(self.collector.memory)
        self.policy.update_statistics(rollout.log, rollout.valid)
        watch.lap("update")
        return metrics

    def collect(self, watch: Stopwatch) -> Rollout:
        """Take `n_steps` in every environment; call it within `precision`."""
        rollout = self.collector.collect(self.config.n_steps, self.random.actions, watch, self.on_step)
        self.num_timesteps += rollout.valid.size
        self.relabel(rollout)
        if self.reward_norm:
            rollout.rewards = self.reward_norm(rollout.rewards, rollout.ended, rollout.valid)
        return rollout

    def set_env(self, env: EnvLike, *, env_kwargs: Mapping[str, Any] | None = None) -> None:
        """See `Agent.set_env`."""
        super().set_env(env, env_kwargs=env_kwargs)
        self.env.share_observations(not getattr(self.policy, "keeps_observations", True))
        self.collector.env = self.env

    def cut(self, env_state: list[Any] | None) -> None:
        """See `Agent.cut`."""
        super().cut(env_state)
        self.collector.reset(derive_seed(self.seed, Stream.ENVIRONMENTS, self.n_updates), env_state)
        if self.reward_norm:
            self.reward_norm.cut()
