"""What PPO and its kin ask of a policy: to act, to value, to be evaluated, with or without a memory.

A language model is a recurrent policy whose memory is its KV cache, a GRU carries a vector, an MLP nothing.
Every one of them answers these questions, so no learner asks which it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...language.device_copies import to_host
from ...language.sampling import check_drawn
from ..environment.masks import Mask
from ..environment.spaces import Array, Leaves
from ..experience.rollout import Minibatch, ObservationLog

Flags = NDArray[np.bool_]
Memory = Any  # the policy's own: None, tensors, or an object written in place


@dataclass(slots=True)
class Act:
    """What a policy does in N slots."""

    action: Tensor  # (N,) or (N, K) or (N, D)
    log_prob: Tensor  # (N,)
    memory: Memory
    value: Tensor | None = None  # (N,), where the policy knows it at once
    unchecked: bool = False  # nobody has seen yet whether the log-probabilities are finite

    def on_host(self) -> tuple[Array, Array]:
        """Actions and log-probabilities as arrays, in one copy and checked."""
        action, log_prob = to_host(self.action, self.log_prob)
        if self.unchecked:
            check_drawn(log_prob)
        return action, log_prob


@dataclass(slots=True)
class Evaluation:
    """What a policy thinks of M steps taken before; gradients flow."""

    log_prob: Tensor  # (M,)
    entropy: Tensor  # (M,)
    value: Tensor  # (M,), or of demonstrations, whose worth nobody knows, perhaps none


class Policy(Protocol):
    """An actor and a critic, with a memory."""

    by_segments: ClassVar[bool]
    """Minibatches are whole segments (policies with memory) instead of loose steps."""

    @property
    def network(self) -> nn.Module:
        """The module whose parameters are learned and saved."""

    def to_device(self, device: torch.device) -> None:
        """Move the network."""

    def initial_memory(self, n: int) -> Memory:
        """The memory of `n` slots that have seen nothing."""

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
        """Read what is new in each slot's observation and choose; slots in `starts` first forget everything.

        The memory passed in may be written to: only the one returned counts afterwards.
        """

    def value(self, observation: Leaves, memory: Memory, rows: NDArray[np.int64] | None = None) -> Tensor:
        """Value observations (R, ...) as the continuation of those slots' memories, and leave the memories alone."""

    def values(self, log: Any, acts: Sequence[Act]) -> Tensor:  # -> (T+1, N)
        """Value all observations of a rollout, as `act` did, or now; the log's last one is what the acts led to.

        Where it opens an episode its value is never asked for.
        """

    def evaluate(self, batch: Minibatch) -> Evaluation:
        """Reward model the steps of a minibatch again under the present weights."""

    def microbatches(self, batch: Minibatch) -> Iterable[tuple[Minibatch, float]]:
        """A minibatch in parts that are not too much to `evaluate` at once, each with its share of the steps."""

    def new_log(self, memory: Memory) -> ObservationLog:
        """Begin recording a rollout that starts from `memory`."""

    def after_update(self, memory: Memory) -> Memory:
        """The memory after the weights have changed: what was computed with the old ones is dropped."""

    def update_statistics(self, log: Any, valid: Flags) -> None:
        """Take a rollout's observations into running statistics, where the policy keeps any."""

    def export(self, run: Path) -> None:
        """Leave in a run's folder what other libraries can load, where there is such a thing."""
