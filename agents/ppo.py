"""Proximal policy optimisation (Schulman et al., 2017): several epochs on one rollout, the ratio clipped."""

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
    """passes over every rollout"""
    batch_size: int = 256
    """steps a minibatch; the rollout is cut into equal ones of at most this size. A policy with memory learns
    from whole segments, so there a minibatch has about this size, and at least the longest segment's"""
    clip_range: float = 0.2
    """ε: how far a step may move an action's probability, as a ratio"""
    clip_range_vf: float | None = None
    """the same for the critic's value, in units of the return; None leaves it free"""
    normalize_advantage: bool = True
    """centre and scale the advantages of a minibatch"""
    ent_coef: float = 0.0
    """weight of the entropy bonus, against settling too soon"""
    vf_coef: float = 0.5
    """weight of the critic's loss"""
    max_grad_norm: float = 0.5
    """clip the global gradient norm to this"""
    target_kl: float | None = None
    """end the update once it has moved the policy by 1.5 times this; None never does"""
    lr_schedule: Schedule = "constant"
    """how the learning rate goes down over training"""
    clip_schedule: Schedule = "constant"
    """how the clip range goes down over training"""

    def check(self) -> None:
        """See `Config.check`."""
        super().check()
        self.require(["n_epochs", "batch_size"], lambda value: value >= 1, "at least 1")
        self.require(["clip_range", "max_grad_norm"], lambda value: value > 0, "above 0")
        self.require(["vf_coef"], lambda value: value >= 0, "0 or above")
        self.require(["clip_range_vf", "target_kl"], lambda value: value is None or value > 0, "None or above 0")


class PPO(OnPolicyAgent):
    """Learns any task with discrete or continuous actions, with or without a memory."""

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
        """Climb the clipped objective."""
        c = self.config
        clip = scheduled(c.clip_range, c.clip_schedule, remaining)
        learning_rate = scheduled(c.learning_rate, c.lr_schedule, remaining)
        record = UpdateRecord(self.n_updates)
        for _ in range(c.n_epochs):
            for minibatch in rollout.minibatches(c.batch_size, self.random.order, whiten=c.normalize_advantage):
                self.optimizer.zero()
                record.begin()
                for batch, share in self.policy.microbatches(minibatch):  # what is too much at once; gradients add up
                    new = self.policy.evaluate(batch)
                    log_ratio = new.log_prob - batch.log_probs
                    ratio = log_ratio.exp()
                    clipped = ratio.clamp(1 - clip, 1 + clip)
                    policy_loss = -torch.min(ratio * batch.advantages, clipped * batch.advantages).mean()
                    value_loss = self._value_loss(new.value, batch)
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

    def _value_loss(self, value: Tensor, batch: Minibatch) -> Tensor:
        limit = self.config.clip_range_vf
        if limit is None:
            return F.mse_loss(value, batch.returns)
        near = batch.values + (value - batch.values).clamp(-limit, limit)
        return torch.max((value - batch.returns) ** 2, (near - batch.returns) ** 2).mean()
