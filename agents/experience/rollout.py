"""The rollout buffer of on-policy agents, and its minibatches. Layout: (T, N) = steps, slots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..environment.masks import unpack
from ..environment.spaces import Flags, Floats, Ints, Leaves
from .returns import gae

Segments = Ints  # (S, 3): slot, first step, one past the last
NUMBERS = ("actions", "log_probs", "values", "advantages", "returns")  # by step, in rollouts and minibatches


class ObservationLog(Protocol):
    """What a rollout stores of the observations; each policy has its own."""

    def add(self, observation: Leaves, starts: Flags) -> None:
        """Record the observation of the next step."""

    def take(self, steps: Tensor, segments: Segments | None) -> Any:
        """What `policy.evaluate` needs for these steps (flat indices t·N + n), or for these segments."""


@dataclass(slots=True)
class Minibatch:
    """M steps of a rollout; for a policy with memory whole segments, concatenated."""

    observations: Any  # from the policy's log
    segments: Segments | None
    actions: Tensor  # (M,) or (M, K) or (M, D)
    log_probs: Tensor  # (M,) of the policy that acted
    values: Tensor  # (M,) of the critic at that time
    advantages: Tensor  # (M,)
    returns: Tensor  # (M,)
    masks: Tensor | None  # (M, A) bool


@dataclass
class Rollout:
    """T steps of N slots. `valid` is False for steps that only reset an environment: training ignores them."""

    log: ObservationLog
    by_segments: bool
    actions: Tensor  # (T, N, ...)
    log_probs: Tensor  # (T, N)
    values: Tensor  # (T, N)
    rewards: Floats  # (T, N)
    terminated: Flags
    truncated: Flags
    valid: Flags
    starts: Flags  # (T, N) the step's observation is the first of its episode
    next_values: Floats  # (T, N)
    kl: Floats | None = None  # (T, N) log π − log π_ref of the actions, if the environment reports it
    credit: Floats | None = None  # (T, N) at truncations: the last potential of shaped rewards, which is their sum
    masks: NDArray[np.uint8] | None = None  # (T, N, bytes) packed
    mask_width: int = 0
    advantages: Tensor = field(init=False)  # (T, N)
    returns: Tensor = field(init=False)  # (T, N)
    _whole: dict[bool, Minibatch] = field(default_factory=dict)

    @property
    def ended(self) -> Flags:
        """Terminated or truncated, (T, N)."""
        return self.terminated | self.truncated

    def estimate_advantages(self, gamma: float, gae_lambda: float) -> None:
        """Compute advantages by GAE, and the critic's targets as advantages + values."""
        values = self.values.double().cpu().numpy()
        advantages = gae(self.rewards, values, self.next_values, self.terminated, self.ended, gamma, gae_lambda)
        self.set_advantages(advantages, advantages + values)

    def set_advantages(self, advantages: Floats, returns: Floats) -> None:
        """Set the policy's `advantages` and the critic's targets, `returns`, (T, N) each."""
        device = self.values.device
        self._whole.clear()
        self.advantages = torch.from_numpy(advantages.astype(np.float32)).to(device)
        self.returns = torch.from_numpy(returns.astype(np.float32)).to(device)

    def minibatches(self, batch_size: int, rng: np.random.Generator, whiten: bool = False) -> Iterator[Minibatch]:
        """Yield every valid step once, in shuffled minibatches of about `batch_size` steps.

        With `whiten` each minibatch's advantages have mean 0 and standard deviation 1.
        """
        n_batches = -(-int(self.valid.sum()) // batch_size)
        if not n_batches:
            return
        if n_batches == 1 and whiten in self._whole:
            yield self._whole[whiten]
            return
        items = self.segments() if self.by_segments else np.flatnonzero(self.valid)
        if n_batches > 1:
            items = items[rng.permutation(len(items))]
        if self.by_segments:
            parts = split_evenly(items, items[:, 2] - items[:, 1], n_batches)
            batches = (self._take(steps_of(part, self.valid.shape[1]), part) for part in parts)
        else:
            batches = (self._take(part, None) for part in np.array_split(items, n_batches))
        for batch in batches:
            if whiten and len(batch.advantages) > 1:
                std, mean = torch.std_mean(batch.advantages)
                batch.advantages = (batch.advantages - mean) / (std + 1e-8)
            if n_batches == 1:
                self._whole[whiten] = batch  # reused in every epoch
            yield batch

    def segments(self) -> Segments:
        """Cut each slot's steps into episodes, or the parts of them within this rollout."""
        before = np.vstack([np.zeros_like(self.valid[:1]), self.valid[:-1]])
        opens = self.valid & (self.starts | ~before)
        closes = self.valid & np.vstack([opens[1:] | ~self.valid[1:], np.ones_like(self.valid[:1])])
        slots, first = np.nonzero(opens.T)
        _, last = np.nonzero(closes.T)
        return np.stack([slots, first, last + 1], 1)

    def _take(self, steps: Ints, segments: Segments | None) -> Minibatch:
        index = torch.from_numpy(steps).to(self.values.device)
        masks = None
        if self.masks is not None:
            masks = unpack(self.masks.reshape(-1, self.masks.shape[-1])[steps], self.mask_width, index.device)
        taken = {name: getattr(self, name).flatten(0, 1)[index] for name in NUMBERS}
        return Minibatch(self.log.take(index, segments), segments, masks=masks, **taken)


def split_evenly(items: Ints, sizes: Ints, n: int) -> list[Ints]:
    """Cut `items`, in order, into at most `n` parts of about the same total size."""
    stops = np.cumsum(sizes)
    parts = np.split(items, np.searchsorted(stops, stops[-1] * np.arange(1, n) / n) + 1)
    return [part for part in parts if len(part)]


def steps_of(segments: Segments, n_slots: int) -> Ints:
    """The steps of the segments, concatenated, as flat indices t·N + n."""
    return np.concatenate([np.arange(first, stop) * n_slots + slot for slot, first, stop in segments])
