"""Running mean and deviation, for observations (inside the policy) and for rewards."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

CLIP = 10.0
EPSILON = 1e-8


class ObservationNorm(nn.Module):
    """Centres and scales an observation by what has been seen of it so far.

    The statistics stand still while a rollout is gathered and learned from, so that what the policy computed
    when it acted can be computed again; they move on between one rollout and the next.
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
        """Normalise to about mean 0 and deviation 1, clipped at ±10."""
        if self._cache is None or self._cache[0].device != x.device:
            self._cache = (self.mean.float(), (self.var + EPSILON).rsqrt().float())
        mean, scale = self._cache
        return ((x - mean) * scale).clamp_(-CLIP, CLIP)

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Add a batch (M, *shape) to the statistics."""
        x = x.double()
        count = self.count + len(x)
        delta = x.mean(0) - self.mean
        call_each = self.var * self.count + x.var(0, correction=0) * len(x)
        self.var.copy_((call_each + delta**2 * self.count * len(x) / count) / count)
        self.mean.add_(delta * len(x) / count)
        self.count.copy_(count)
        self._cache = None

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._cache = None


class RewardNorm:
    """Scales rewards by the deviation of the discounted return, keeping their mean."""

    def __init__(self, n_envs: int, gamma: float) -> None:
        self.gamma = gamma
        self.returns = np.zeros(n_envs)  # each environment's discounted return so far
        self.mean, self.var, self.count = 0.0, 1.0, 0.0

    def __call__(
        self, rewards: NDArray[np.float64], ended: NDArray[np.bool_], valid: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Take a rollout (T, N) into the statistics and return its rewards scaled by them."""
        returns = np.empty_like(rewards)
        for t in range(len(rewards)):
            self.returns = self.returns * self.gamma + np.where(valid[t], rewards[t], 0.0)
            returns[t] = self.returns
            self.returns = np.where(ended[t], 0.0, self.returns)
        batch = returns[valid]
        if not batch.size:
            return rewards
        count = self.count + batch.size
        delta = batch.mean() - self.mean
        call_each = self.var * self.count + batch.var() * batch.size
        self.var = float((call_each + delta**2 * self.count * batch.size / count) / count)
        self.mean += float(delta * batch.size / count)
        self.count = count
        scaled: NDArray[np.float64] = np.clip(rewards / np.sqrt(self.var + EPSILON), -CLIP, CLIP)
        return scaled

    def cut(self) -> None:
        """Forget the episodes under way: their environments have been reset."""
        self.returns[:] = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes, as plain JSON."""
        return {"mean": self.mean, "var": self.var, "count": self.count, "returns": self.returns.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.mean, self.var, self.count = state["mean"], state["var"], state["count"]
        if len(state["returns"]) == len(self.returns):  # else other environments, and their episodes begin anew
            self.returns = np.asarray(state["returns"], np.float64)


def _combined(mean: Any, var: Any, count: Any, batch_mean: Any, batch_var: Any, n: int) -> tuple[Any, Any, Any]:
    """Mean, variance and count of two samples together (Chan's parallel formula)."""
    total = count + n
    delta = batch_mean - mean
    spread = var * count + batch_var * n
    return mean + delta * n / total, (spread + delta**2 * count * n / total) / total, total
