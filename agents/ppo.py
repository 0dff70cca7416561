"""Proximal policy optimization (Schulman et al., 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from .environment.vectorize import EnvLike
from .experience.rollout import Minibatch, Rollout
from .on_policy_agent import OnPolicyAgent, OnPolicyConfig
from .settings.config import Config, Schedule, scheduled
from .settings.keywords import PPOKeywords
from .training.diagnostics import UpdateRecord
from .training.learner import Metrics


@dataclass(frozen=True)
class PPOConfig(OnPolicyConfig):
    """PPO's hyperparameters."""

    n_epochs: int = 10
    """number of epochs per rollout"""
    batch_size: int = 256
    """steps per minibatch; the rollout is split into equal ones of at most this size. With a recurrent policy, which
    needs whole segments of episodes, a minibatch has about this size, and at least that of the longest segment"""
    clip_range: float = 0.2
    """clip the ratio of new to old probability to 1 ± this in the surrogate objective, which limits policy changes"""
    clip_range_vf: float | None = None
    """clip the change of the value function to this; depends on the scale of rewards. None: no clipping"""
    target_kl: float | None = None
    """stop the update early if the KL from the old policy exceeds 1.5 times this. None: no limit"""
    clip_schedule: Schedule = "constant"
    """schedule of `clip_range`, as of the learning rate"""

    def check(self) -> None:
        """See `Config.check`."""
        super().check()
        self.bounds("n_epochs", "batch_size", at_least=1)
        self.bounds("clip_range", "clip_range_vf", "target_kl", above=0)


class PPO(OnPolicyAgent):
    """PPO with a clipped surrogate objective, for discrete and continuous actions, recurrent policies and text.

    Args:
        env: an environment's id, an environment, a vector environment, or a function that makes an environment
        config: a complete set of hyperparameters; keywords override single ones
        env_kwargs: arguments for `gymnasium.make_vec`, if `env` is an id
    """

    name: ClassVar[str] = "ppo"
    config_class: ClassVar[type[Config]] = PPOConfig
    config: PPOConfig

    if TYPE_CHECKING:

        def __init__(
            self,
            env: EnvLike,
            config: PPOConfig | None = None,
            *,
            env_kwargs: Mapping[str, Any] | None = None,
            **hyperparameters: Unpack[PPOKeywords],
        ) -> None: ...

    def update(self, rollout: Rollout, remaining: float) -> Metrics:
        """Maximise the clipped surrogate objective for several epochs."""
        c = self.config
        clip = scheduled(c.clip_range, c.clip_schedule, remaining)
        learning_rate, record = self.learning_rate(remaining), UpdateRecord(self.n_updates)
        for _ in range(c.n_epochs):
            for minibatch in rollout.minibatches(c.batch_size, self.random.order, whiten=c.normalize_advantage):
                self.optimizer.zero()
                record.begin()
                for batch, share in self.policy.microbatches(minibatch):  # gradient accumulation
                    new = self.policy.evaluate(batch)
                    log_ratio = new.log_prob - batch.log_probs
                    ratio = log_ratio.exp()
                    clipped = ratio.clamp(1 - clip, 1 + clip)
                    policy_loss = -torch.min(ratio * batch.advantages, clipped * batch.advantages).mean()
                    value_loss = self.value_loss(new.value, batch)
                    entropy = new.entropy.mean()
                    loss = policy_loss + c.vf_coef * value_loss
                    if c.ent_coef:
                        loss = loss - c.ent_coef * entropy
                    record.add(share, loss, policy_loss, value_loss, entropy, log_ratio)
                    self.optimizer.add(loss, share)
                if c.target_kl and record.last_kl() > 1.5 * c.target_kl:
                    return record.metrics(rollout, learning_rate, clip)
                self.optimizer.step(learning_rate, c.max_grad_norm)
        return record.metrics(rollout, learning_rate, clip)

    def value_loss(self, value: Tensor, batch: Minibatch) -> Tensor:
        """The squared error; with `clip_range_vf` the larger of the clipped and the unclipped one."""
        limit = self.config.clip_range_vf
        if limit is None:
            return F.mse_loss(value, batch.returns)
        near = batch.values + (value - batch.values).clamp(-limit, limit)
        return torch.max((value - batch.returns) ** 2, (near - batch.returns) ** 2).mean()
