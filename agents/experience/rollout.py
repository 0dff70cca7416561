"""What one stretch of acting leaves behind, and how it is cut for learning. Layout: (T, N) = steps, slots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..environment.masks import unpack
from ..environment.spaces import Leaves
from .returns import Flags, Floats, gae

Segments = NDArray[np.int64]  # (S, 3): slot, first step, one past the last


class ObservationLog(Protocol):
    """What a rollout keeps of the observations; the policy says what that is."""

    def add(self, observation: Leaves, starts: Flags) -> None:
        """Record what is about to be acted on, one call a step."""

    def take(self, steps: Tensor, segments: Segments | None) -> Any:
        """Return what `policy.evaluate` needs for these steps (flat indices t·N + n), or for these segments."""


@dataclass(slots=True)
class Minibatch:
    """Some steps of a rollout, M in all; for a policy with memory they are whole segments end to end."""

    observations: Any  # whatever the policy's log returned
    segments: Segments | None
    actions: Tensor  # (M,) or (M, K) or (M, D)
    log_probs: Tensor  # (M,) when the action was taken
    values: Tensor  # (M,) likewise
    advantages: Tensor  # (M,)
    returns: Tensor  # (M,)
    masks: Tensor | None  # (M, A) bool


@dataclass
class Rollout:
    """T steps of N slots. `valid` is False where a step was spent on a reset; such steps are never learned from."""

    log: ObservationLog
    by_segments: bool
    actions: Tensor  # (T, N, ...)
    log_probs: Tensor  # (T, N)
    values: Tensor  # (T, N)
    rewards: Floats  # (T, N)
    terminated: Flags
    truncated: Flags
    valid: Flags
    starts: Flags  # (T, N) the observation acted on opened an episode
    next_values: Floats  # (T, N)
    kl: Floats | None = None  # (T, N) log π − log π_ref of the actions, where the environment says it
    masks: NDArray[np.uint8] | None = None  # (T, N, bytes) packed
    mask_width: int = 0
    advantages: Tensor = field(init=False)  # (T, N)
    returns: Tensor = field(init=False)  # (T, N)
    _whole: dict[bool, Minibatch] = field(default_factory=dict)

    @property
    def ended(self) -> Flags:
        """Where an episode ended, either way."""
        return self.terminated | self.truncated

    def estimate_advantages(self, gamma: float, gae_lambda: float) -> None:
        """Set advantages by GAE, and the critic's targets to advantages + values."""
        values = self.values.double().cpu().numpy()
        advantages = gae(self.rewards, values, self.next_values, self.terminated, self.ended, gamma, gae_lambda)
        self.set_advantages(advantages, advantages + values)

    def set_advantages(self, advantages: Floats, returns: Floats) -> None:
        """Set what the policy (`advantages`) and the critic (`returns`) learn from, (T, N) each."""
        device = self.values.device
        self._whole.clear()
        self.advantages = torch.from_numpy(advantages.astype(np.float32)).to(device)
        self.returns = torch.from_numpy(returns.astype(np.float32)).to(device)

    def minibatches(self, batch_size: int, rng: np.random.Generator, whiten: bool = False) -> Iterator[Minibatch]:
        """Yield every valid step once, in shuffled minibatches of about `batch_size` steps.

        With `whiten` each minibatch's advantages have mean 0 and deviation 1.
        """
        n_batches = -(-int(self.valid.sum()) // batch_size)
        if not n_batches:
            return
        if n_batches == 1 and whiten in self._whole:
            yield self._whole[whiten]
            return
        if self.by_segments:
            segments = self.segments()
            if n_batches > 1:
                segments = segments[rng.permutation(len(segments))]
            parts = split_evenly(segments, segments[:, 2] - segments[:, 1], n_batches)
            batches = (self._take(steps_of(part, self.valid.shape[1]), part) for part in parts)
        else:
            steps = np.flatnonzero(self.valid)
            if n_batches > 1:
                steps = rng.permutation(steps)
            batches = (self._take(part, None) for part in np.array_split(steps, n_batches))
        for batch in batches:
            if whiten and len(batch.advantages) > 1:
                std, mean = torch.std_mean(batch.advantages)
                batch.advantages = (batch.advantages - mean) / (std + 1e-8)
            if n_batches == 1:
                self._whole[whiten] = batch  # the same for every epoch
            yield batch

    def segments(self) -> Segments:
        """Cut each slot's steps into episodes (or the parts of them that lie in this rollout)."""
        before = np.vstack([np.zeros_like(self.valid[:1]), self.valid[:-1]])
        opens = self.valid & (self.starts | ~before)
        closes = self.valid & np.vstack([opens[1:] | ~self.valid[1:], np.ones_like(self.valid[:1])])
        slots, first = np.nonzero(opens.T)
        _, last = np.nonzero(closes.T)
        return np.stack([slots, first, last + 1], 1)

    def _take(self, steps: NDArray[np.int64], segments: Segments | None) -> Minibatch:
        index = torch.from_numpy(steps).to(self.values.device)
        masks = None
        if self.masks is not None:
            masks = unpack(self.masks.reshape(-1, self.masks.shape[-1])[steps], self.mask_width, index.device)
        return Minibatch(
            self.log.take(index, segments),
            segments,
            self.actions.flatten(0, 1)[index],
            self.log_probs.flatten()[index],
            self.values.flatten()[index],
            self.advantages.flatten()[index],
            self.returns.flatten()[index],
            masks,
        )


def split_evenly(items: NDArray[np.int64], sizes: NDArray[np.int64], n: int) -> list[NDArray[np.int64]]:
    """Cut `items`, in order, into at most `n` parts of about the same total size."""
    stops = np.cumsum(sizes)
    parts = np.split(items, np.searchsorted(stops, stops[-1] * np.arange(1, n) / n) + 1)
    return [part for part in parts if len(part)]


def steps_of(segments: Segments, n_slots: int) -> NDArray[np.int64]:
    """Which steps they are made of, end to end, as flat indices t·N + n."""
    return np.concatenate([np.arange(first, stop) * n_slots + slot for slot, first, stop in segments])
