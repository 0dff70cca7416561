"""Returns and advantages over a rollout, as functions of rewards and values. Layout: (T, N) = steps, slots.

`next_values` are the critic's values of the state each step led to: for a truncated episode that of its final
observation; for a terminated one they are ignored. `ended` is terminated or truncated.
"""

from __future__ import annotations

import numpy as np

from ..environment.spaces import Flags, Floats


def gae(
    rewards: Floats,
    values: Floats,
    next_values: Floats,
    terminated: Flags,
    ended: Flags,
    gamma: float,
    gae_lambda: float,
) -> Floats:
    """Generalized advantage estimation (Schulman et al., 2016): Σ (γλ)ᵏ δ, with δ = r + γV′ − V."""
    deltas = rewards + gamma * np.where(terminated, 0.0, next_values) - values
    decay = gamma * gae_lambda * ~ended
    advantages = np.empty_like(deltas)
    running = np.zeros(deltas.shape[1])
    for t in range(len(deltas) - 1, -1, -1):
        running = deltas[t] + decay[t] * running
        advantages[t] = running
    return advantages


def lambda_returns(
    rewards: Floats, next_values: Floats, terminated: Flags, ended: Flags, gamma: float, lam: float
) -> Floats:
    """TD(λ) returns: G = r + γ((1 − λ)V′ + λG′); λ = 1 gives discounted returns, λ = 0 one-step targets."""
    bootstrap = np.where(terminated, 0.0, next_values)
    returns = np.empty_like(rewards)
    following = bootstrap[-1]  # the rollout's end is a truncation
    for t in range(len(rewards) - 1, -1, -1):
        following = np.where(ended[t], bootstrap[t], following)
        returns[t] = rewards[t] + gamma * ((1 - lam) * bootstrap[t] + lam * following)
        following = returns[t]
    return returns


def n_step_returns(
    rewards: Floats, next_values: Floats, terminated: Flags, ended: Flags, gamma: float, n: int
) -> Floats:
    """Σ γᵏ r over up to `n` steps, then γⁿ V; fewer steps if the episode or the rollout ends earlier."""
    bootstrap = np.where(terminated, 0.0, next_values)
    returns = rewards + gamma * bootstrap
    for _ in range(n - 1):
        following = bootstrap.copy()
        following[:-1] = np.where(ended[:-1], bootstrap[:-1], returns[1:])
        returns = rewards + gamma * following
    return returns
