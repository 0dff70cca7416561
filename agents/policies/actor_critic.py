"""The common part of the MLP and the GRU policy: encoder, actor and critic heads, action distribution."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from ..environment.masks import Mask
from ..environment.spaces import ActionCodec, Flags, Ints, Leaves
from ..experience.rollout import Minibatch, Segments
from .distributions import Distribution, make_distribution
from .encoder import Encoder
from .policy import Act

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu, "silu": F.silu}


class MLP(nn.Module):
    """Linear layers with orthogonal weights (gain √2, `gain` for the last) and zero biases.

    One module instead of a Sequential: for small layers calling a module costs more than its computation.
    """

    def __init__(self, sizes: Sequence[int], activation: str, gain: float) -> None:
        super().__init__()
        layers = [nn.Linear(n_in, n_out) for n_in, n_out in itertools.pairwise(sizes)]
        for layer in layers:
            nn.init.orthogonal_(layer.weight, gain if layer is layers[-1] else 2**0.5)
            nn.init.zeros_(layer.bias)
        self.layers = nn.ModuleList(layers)
        self.activation = ACTIVATIONS[activation]
        self._weights = [(layer.weight, layer.bias) for layer in layers]

    def forward(self, x: Tensor) -> Tensor:
        """(M, sizes[0]) -> (M, sizes[-1])."""
        for weight, bias in self._weights[:-1]:
            x = self.activation(F.linear(x, weight, bias))
        weight, bias = self._weights[-1]
        return F.linear(x, weight, bias)


class StepLog:
    """Stores every observation."""

    def __init__(self, device: torch.device, memory: Tensor | None = None) -> None:
        self.device, self.memory = device, memory
        self._steps: list[Leaves] = []
        self._flat: tuple[Tensor, ...] | None = None

    def add(self, observation: Leaves, starts: Flags) -> None:
        """Record the observation of the next step."""
        self._steps.append(observation)
        self.last = observation

    def flat(self) -> tuple[Tensor, ...]:
        """All steps of all slots, each leaf (T·N, ...)."""
        if self._flat is None:
            columns = [np.concatenate(column) for column in zip(*self._steps, strict=True)]
            self._flat = tuple(torch.from_numpy(column).to(self.device) for column in columns)
            self._steps.clear()
        return self._flat

    def take(self, steps: Tensor, segments: Segments | None) -> tuple[Tensor, ...]:
        """The observations of those steps."""
        return tuple(leaf[steps] for leaf in self.flat())


class ActorCritic(nn.Module):
    """Encoder, actor and critic heads, and a distribution over the action space; subclasses define `read`."""

    actor: MLP
    critic: MLP
    distribution: Distribution

    def __init__(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], *, normalize: bool
    ) -> None:
        super().__init__()
        self.encoder = Encoder(observation_space, normalize)
        self.codec = ActionCodec(action_space)
        self.device = torch.device("cpu")

    @abstractmethod
    def read(self, observation: tuple[Tensor, ...], memory: Any) -> tuple[Tensor, Tensor, Any]:
        """The inputs of actor and critic (N, ...), and the next memory."""

    @torch.no_grad()
    def act(
        self,
        observation: Leaves,
        memory: Any,
        starts: Flags,
        *,
        deterministic: bool = False,
        masks: Mask | None = None,
        generator: torch.Generator | None = None,
    ) -> Act:
        """See `Policy.act`."""
        if memory is not None and starts.any():
            memory = memory.masked_fill(torch.from_numpy(starts).to(memory.device)[:, None], 0.0)
        for_actor, for_critic, memory = self.read(self.tensors(observation), memory)
        allowed = None if masks is None else torch.from_numpy(masks).to(self.device)
        action, log_prob = self.distribution.sample(
            self.actor(for_actor), deterministic=deterministic, generator=generator, masks=allowed
        )
        return Act(action, log_prob, memory, self.critic(for_critic).squeeze(-1))

    @torch.no_grad()
    def value(self, observation: Leaves, memory: Any, rows: Ints | None = None) -> Tensor:
        """See `Policy.value`."""
        if memory is not None and rows is not None:
            memory = memory[torch.from_numpy(rows).to(memory.device)]
        value: Tensor = self.critic(self.read(self.tensors(observation), memory)[1]).squeeze(-1)
        return value

    def to_device(self, device: torch.device) -> None:
        """See `Policy.to_device`."""
        self.device = device
        self.to(device)

    def add_distribution(self, log_std_init: float) -> int:
        """Add the action distribution; return the number of outputs the actor needs."""
        self.distribution = make_distribution(self.codec.choices, self.codec.size, log_std_init)
        return self.distribution.n_outputs

    @property
    def network(self) -> nn.Module:
        """See `Policy.network`."""
        return self

    def tensors(self, observation: Leaves) -> tuple[Tensor, ...]:
        """A batch of observations on the policy's device."""
        return tuple(torch.from_numpy(leaf).to(self.device) for leaf in observation)

    def values(self, log: StepLog, acts: Sequence[Act]) -> Tensor:
        """See `Policy.values`; they were computed while acting."""
        known = [act.value for act in acts if act.value is not None]
        return torch.stack([*known, self.value(log.last, acts[-1].memory)])

    def microbatches(self, batch: Minibatch) -> Iterable[tuple[Minibatch, float]]:
        """The minibatch as a whole."""
        return ((batch, 1.0),)

    def export(self, run: Path) -> None:
        """Nothing: no other library loads these networks."""

    def update_statistics(self, log: StepLog, valid: Flags) -> None:
        """See `Policy.update_statistics`."""
        if self.encoder.normalizes:
            steps = torch.from_numpy(np.flatnonzero(valid)).to(self.device)
            self.encoder.update_statistics(log.take(steps, None))
