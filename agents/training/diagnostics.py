"""Diagnostics of an update, collected without waiting for the device until it is over."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...records.run import DivergedError
from ..experience.rollout import Rollout
from .learner import Metrics


class UpdateRecord:
    """Losses and log-ratios of every minibatch of one update."""

    def __init__(self, n_updates: int) -> None:
        self.n_updates = n_updates
        self._losses: list[list[Tensor]] = []  # (4,) by minibatch and part
        self._log_ratios: list[list[Tensor]] = []  # (M,) by minibatch and part

    def begin(self) -> None:
        """Start a minibatch."""
        self._losses.append([])
        self._log_ratios.append([])

    def add(
        self, share: float, loss: Tensor, policy_loss: Tensor, value_loss: Tensor, entropy: Tensor, log_ratio: Tensor
    ) -> None:
        """Add a part of the minibatch with that share of its steps."""
        self._losses[-1].append(torch.stack([loss, policy_loss, value_loss, entropy]).detach() * share)
        self._log_ratios[-1].append(log_ratio.detach())

    def last_kl(self) -> float:
        """KL from the old to the new policy on the last minibatch (Schulman's k3 estimator)."""
        return float(_k3(torch.cat(self._log_ratios[-1])).mean())

    def metrics(self, rollout: Rollout, learning_rate: float, clip_range: float | None = None) -> Metrics:
        """Means over the update; DivergedError if a loss was not finite."""
        if not self._losses:  # every step of the rollout was a reset
            return {"train/learning_rate": learning_rate}
        losses = torch.stack([sum(parts[1:], parts[0]) for parts in self._losses])  # (minibatches, 4)
        finite = losses[:, 0].isfinite()
        if not finite.all():
            minibatch = int((~finite).nonzero()[0])
            raise DivergedError(f"the loss of minibatch {minibatch} of update {self.n_updates} is not finite")
        _, policy_loss, value_loss, entropy = losses.mean(0).tolist()
        by_minibatch = [torch.cat(parts) for parts in self._log_ratios]
        first, log_ratio = by_minibatch[0], torch.cat(by_minibatch)
        metrics = {
            "train/policy_loss": policy_loss,
            "train/value_loss": value_loss,
            "train/entropy": entropy,
            "train/approx_kl": float(_k3(log_ratio).mean()),
            "train/ratio": float(log_ratio.exp().mean()),
            "train/first_ratio_error": float((first.exp() - 1).abs().max()),
            "train/explained_variance": explained_variance(rollout),
            "train/learning_rate": learning_rate,
        }
        if clip_range is not None:
            clipped = (log_ratio.exp() - 1).abs() > clip_range
            metrics |= {"train/clip_fraction": float(clipped.float().mean()), "train/clip_range": clip_range}
        return metrics


def explained_variance(rollout: Rollout) -> float:
    """1 − Var(returns − values) / Var(returns): 1 is a perfect critic, 0 a constant one."""
    valid = rollout.valid
    returns, values = rollout.returns.cpu().numpy()[valid], rollout.values.cpu().numpy()[valid]
    variance = np.var(returns)
    return float(1 - np.var(returns - values) / variance) if variance > 0 else float("nan")


def _k3(log_ratio: Tensor) -> Tensor:
    return log_ratio.exp() - 1 - log_ratio
