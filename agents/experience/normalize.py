"""Running mean and variance of observations (inside the policy) and of discounted returns (for rewards)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..environment.spaces import Flags, Floats

CLIP = 10.0
EPSILON = 1e-8


class ObservationNorm(nn.Module):
    """Normalizes observations by their running mean and variance.

    The statistics are updated between rollouts only, so that within an update the policy reproduces the
    log-probabilities it acted with: the first ratio is 1.
    """

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("var", torch.ones(shape, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self._cache: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:  # (M, *shape)
        """Normalize to about mean 0 and standard deviation 1, clipped at ±10."""
        if self._cache is None or self._cache[0].device != x.device:
            self._cache = (self.mean.float(), (self.var + EPSILON).rsqrt().float())
        mean, scale = self._cache
        return ((x - mean) * scale).clamp_(-CLIP, CLIP)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Add a batch (M, *shape) to the statistics."""
        x = x.double()
        mean, var, count = _combined(self.mean, self.var, self.count, x.mean(0), x.var(0, correction=0), len(x))
        self.mean.copy_(mean)
        self.var.copy_(var)
        self.count.copy_(count)
        self._cache = None

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._cache = None


class RewardNorm:
    """Divides rewards by the running standard deviation of the discounted return, without centring them."""

    def __init__(self, n_envs: int, gamma: float) -> None:
        self.gamma = gamma
        self.returns = np.zeros(n_envs)  # each environment's discounted return so far
        self.mean, self.var, self.count = 0.0, 1.0, 0.0

    def __call__(self, rewards: Floats, ended: Flags, valid: Flags) -> Floats:
        """Add a rollout (T, N) to the statistics and return its scaled rewards."""
        returns = np.empty_like(rewards)
        for t in range(len(rewards)):
            self.returns = self.returns * self.gamma + np.where(valid[t], rewards[t], 0.0)
            returns[t] = self.returns
            self.returns = np.where(ended[t], 0.0, self.returns)
        batch = returns[valid]
        if not batch.size:
            return rewards
        combined = _combined(self.mean, self.var, self.count, batch.mean(), batch.var(), batch.size)
        self.mean, self.var, self.count = map(float, combined)
        scaled: Floats = np.clip(rewards / np.sqrt(self.var + EPSILON), -CLIP, CLIP)
        return scaled

    def cut(self) -> None:
        """Forget the unfinished episodes: their environments have been reset."""
        self.returns[:] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The statistics as plain JSON."""
        return {"mean": self.mean, "var": self.var, "count": self.count, "returns": self.returns.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self.mean, self.var, self.count = state["mean"], state["var"], state["count"]
        if len(state["returns"]) == len(self.returns):  # else the number of environments has changed: start anew
            self.returns = np.asarray(state["returns"], np.float64)


def _combined(mean: Any, var: Any, count: Any, batch_mean: Any, batch_var: Any, n: int) -> tuple[Any, Any, Any]:
    """Mean, variance and count of two samples together (Chan et al., 1979)."""
    total = count + n
    delta = batch_mean - mean
    spread = var * count + batch_var * n
    return mean + delta * n / total, (spread + delta**2 * count * n / total) / total, total
