"""The protocol of policies: acting, values and evaluation, with or without a memory.

A language model is a recurrent policy whose memory is its KV cache; a GRU's is a vector, an MLP has none. The agents
use this protocol only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ...language.device_copies import to_host
from ...language.sampling import check_drawn
from ..environment.masks import Mask
from ..environment.spaces import Array, Flags, Ints, Leaves
from ..experience.rollout import Minibatch, ObservationLog

Memory = Any  # None, tensors, or an object modified in place


@dataclass(slots=True)
class Act:
    """A policy's actions in N slots."""

    action: Tensor  # (N,) or (N, K) or (N, D)
    log_prob: Tensor  # (N,)
    memory: Memory
    value: Tensor | None = None  # (N,), if it is computed while acting
    unchecked: bool = False  # whether the log-probabilities may be NaN

    def on_host(self) -> tuple[Array, Array]:
        """Actions and log-probabilities as arrays, copied together and checked."""
        action, log_prob = to_host(self.action, self.log_prob)
        if self.unchecked:
            check_drawn(log_prob)
        return action, log_prob


@dataclass(slots=True)
class Evaluation:
    """Steps of a minibatch under the current weights; gradients flow."""

    log_prob: Tensor  # (M,)
    entropy: Tensor  # (M,)
    value: Tensor  # (M,), possibly empty for demonstrations


class Policy(Protocol):
    """An actor and a critic, with a memory."""

    by_segments: ClassVar[bool]
    """Whether minibatches are whole segments (policies with memory) or single steps."""

    @property
    def network(self) -> nn.Module:
        """The module that is trained and saved."""

    def to_device(self, device: torch.device) -> None:
        """Move the network."""

    def initial_memory(self, n: int) -> Memory:
        """The empty memory of `n` slots."""

    def act(
        self,
        observation: Leaves,
        memory: Memory,
        starts: Flags,
        *,
        deterministic: bool = False,
        masks: Mask | None = None,
        generator: torch.Generator | None = None,
    ) -> Act:
        """Choose actions; slots in `starts` first reset their memory.

        The memory passed in may be modified: use the returned one afterwards.
        """

    def value(self, observation: Leaves, memory: Memory, rows: Ints | None = None) -> Tensor:
        """The values of observations (R, ...) that follow the memories of slots `rows`; these are left unchanged."""

    def values(self, log: Any, acts: Sequence[Act]) -> Tensor:  # -> (T+1, N)
        """The values of all observations of a rollout and of the one after it.

        Values of observations that start an episode after the rollout's last step are not used.
        """

    def evaluate(self, batch: Minibatch) -> Evaluation:
        """Log-probabilities, entropy and values of a minibatch under the current weights."""

    def microbatches(self, batch: Minibatch) -> Iterable[tuple[Minibatch, float]]:
        """Parts of a minibatch that fit into memory, each with its share of the steps, to accumulate gradients."""
        return ((batch, 1.0),)

    def new_log(self, memory: Memory) -> ObservationLog:
        """An empty observation log for a rollout that starts from `memory`."""

    def after_update(self, memory: Memory) -> Memory:
        """The memory to continue with after the weights have changed.

        By default unchanged: as usual in recurrent PPO, a hidden state of slightly older weights is kept.
        """
        return memory

    def update_statistics(self, log: Any, valid: Flags) -> None:
        """Update the observation statistics, if any, with a rollout."""

    def export(self, run: Path) -> None:
        """Write files for other libraries into a run's folder; by default none."""
        return
