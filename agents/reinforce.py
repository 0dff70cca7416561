"""REINFORCE (Williams, 1992) with a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Unpack

import torch.nn.functional as F

from .environment.vectorize import EnvLike
from .experience.returns import lambda_returns
from .experience.rollout import Rollout
from .on_policy_agent import OnPolicyAgent, OnPolicyConfig
from .settings.config import Config
from .settings.keywords import REINFORCEKeywords
from .training.diagnostics import UpdateRecord
from .training.learner import Metrics


@dataclass(frozen=True)
class REINFORCEConfig(OnPolicyConfig):
    """REINFORCE's hyperparameters."""

    gae_lambda: float = 1.0
    """with `baseline="critic"`: 1 uses full returns, less bootstraps with the critic's values"""
    baseline: Literal["critic", "mean"] = "critic"
    """what is subtracted from the returns: the critic's value, or the mean return of the rollout. "mean" uses only
    steps whose episode ends within the rollout: choose `n_steps` well above the length of an episode"""


class REINFORCE(OnPolicyAgent):
    """REINFORCE: one policy-gradient step per rollout, for discrete and continuous actions and text."""

    name: ClassVar[str] = "reinforce"
    config_class: ClassVar[type[Config]] = REINFORCEConfig
    config: REINFORCEConfig

    if TYPE_CHECKING:

        def __init__(
            self,
            env: EnvLike,
            config: REINFORCEConfig | None = None,
            *,
            env_kwargs: Mapping[str, Any] | None = None,
            **hyperparameters: Unpack[REINFORCEKeywords],
        ) -> None: ...

    def relabel(self, rollout: Rollout) -> None:
        """Without a critic nothing follows a truncation, so the potential of shaped rewards is 0 there."""
        if self.config.baseline == "mean" and rollout.credit is not None:
            rollout.rewards = rollout.rewards - rollout.credit

    def estimate_advantages(self, rollout: Rollout) -> None:
        """GAE with a critic; else discounted returns minus their mean."""
        if self.config.baseline == "critic":
            return super().estimate_advantages(rollout)
        ends_later = rollout.ended[::-1].cumsum(0)[::-1] > 0  # (T, N) the episode ends in this rollout
        rollout.valid = rollout.valid & ends_later
        zeros = rollout.rewards * 0
        returns = lambda_returns(rollout.rewards, zeros, rollout.terminated, rollout.ended, self.config.gamma, 1.0)
        baseline = returns[rollout.valid].mean() if rollout.valid.any() else 0.0
        rollout.set_advantages(returns - baseline, returns)

    def update(self, rollout: Rollout, remaining: float) -> Metrics:
        """Take one gradient step on the whole rollout."""
        c = self.config
        learning_rate, record = self.learning_rate(remaining), UpdateRecord(self.n_updates)
        for minibatch in rollout.minibatches(rollout.valid.size, self.random.order, whiten=c.normalize_advantage):
            self.optimizer.zero()
            record.begin()
            for batch, share in self.policy.microbatches(minibatch):  # gradient accumulation
                new = self.policy.evaluate(batch)
                policy_loss = -(new.log_prob * batch.advantages).mean()
                value = new.value if c.baseline == "critic" else new.value.detach()
                value_loss, entropy = F.mse_loss(value, batch.returns), new.entropy.mean()
                loss = policy_loss + c.vf_coef * value_loss
                if c.ent_coef:
                    loss = loss - c.ent_coef * entropy
                record.add(share, loss, policy_loss, value_loss, entropy, new.log_prob - batch.log_probs)
                self.optimizer.add(loss, share)
            self.optimizer.step(learning_rate, c.max_grad_norm)
        return record.metrics(rollout, learning_rate)
