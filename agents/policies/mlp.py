"""The policy without memory, and what it shares with the GRU: encoder, actor and critic heads, action distribution."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from ..environment.masks import Mask
from ..environment.spaces import ActionCodec, Flags, Ints, Leaves
from ..experience.rollout import Minibatch, Segments
from .distributions import Categorical, DiagonalGaussian
from .encoder import Encoder
from .policy import Act, Evaluation, Policy

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

    def forward(self, x: Tensor) -> Tensor:
        """(M, sizes[0]) -> (M, sizes[-1])."""
        layers: Any = self.layers
        *hidden, last = layers
        for layer in hidden:
            x = self.activation(F.linear(x, layer.weight, layer.bias))
        return F.linear(x, last.weight, last.bias)


class StepLog:
    """Stores every observation, and each slot's memory at the start of the rollout."""

    def __init__(self, device: torch.device, memory: Tensor | None = None) -> None:
        self.device, self.memory = device, memory
        self._steps: list[Leaves] = []
        self._flat: tuple[Tensor, ...] | None = None  # all steps of all slots, each leaf (T·N, ...)

    def add(self, observation: Leaves, starts: Flags) -> None:
        """Record the next step; slots that start an episode with the first one begin with an empty memory."""
        if not self._steps and self.memory is not None:
            self.memory = forgotten(self.memory, starts)
        self._steps.append(observation)
        self.last = observation

    def take(self, steps: Tensor, segments: Segments | None) -> tuple[Any, ...]:
        """The observations of those steps; with a memory and segments also each one's initial memory (S, 2H)."""
        if self._flat is None:
            columns = [np.concatenate(column) for column in zip(*self._steps, strict=True)]
            self._flat = tuple(torch.from_numpy(column).to(self.device) for column in columns)
            self._steps.clear()
        observations = tuple(leaf[steps] for leaf in self._flat)
        if segments is None or self.memory is None:
            return observations
        memory = self.memory[torch.from_numpy(segments[:, 0]).to(self.device)]
        return observations, forgotten(memory, segments[:, 1] > 0)  # later segments start an episode


def forgotten(memory: Tensor, rows: Flags) -> Tensor:
    """A memory (N, H) with these rows emptied."""
    return memory.masked_fill(torch.from_numpy(rows).to(memory.device)[:, None], 0.0)


class MLPPolicy(nn.Module, Policy):
    """Actor and critic share only the encoder, which has weights for images and embeddings alone.

    Subclasses may have a memory, and layers of their own between the encoder and the heads.
    """

    by_segments: ClassVar[bool] = False

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        net_arch: tuple[int, ...] = (64, 64),
        activation: str = "tanh",
        memory_size: int = 64,
        log_std_init: float = 0.0,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.device = torch.device("cpu")
        self.encoder = Encoder(observation_space, normalize)
        sizes = (self.add_memory(memory_size), *net_arch)
        codec = ActionCodec(action_space)
        self.distribution = Categorical(codec.choices) if codec.choices else DiagonalGaussian(codec.size, log_std_init)
        self.actor = MLP((*sizes, self.distribution.n_outputs), activation, gain=0.01)
        self.critic = MLP((*sizes, 1), activation, gain=1.0)

    def add_memory(self, size: int) -> int:
        """Add the layers between encoder and heads, if any; return the width of the heads' inputs."""
        return self.encoder.size

    def initial_memory(self, n: int) -> Any:
        """See `Policy.initial_memory`; by default there is none."""

    def read(self, observation: tuple[Tensor, ...], memory: Any) -> tuple[Tensor, Tensor, Any]:
        """The inputs of actor and critic (N, ...), and the next memory."""
        features = self.encoder(observation)
        return features, features, None

    def features(self, batch: Minibatch) -> tuple[Tensor, Tensor]:
        """The inputs of actor and critic (M, ...) at the steps of a minibatch."""
        features = self.encoder(batch.observations)
        return features, features

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
            memory = forgotten(memory, starts)
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

    def evaluate(self, batch: Minibatch) -> Evaluation:
        """See `Policy.evaluate`."""
        for_actor, for_critic = self.features(batch)
        log_prob, entropy = self.distribution.evaluate(self.actor(for_actor), batch.actions, batch.masks)
        return Evaluation(log_prob, entropy, self.critic(for_critic).squeeze(-1))

    def new_log(self, memory: Any) -> StepLog:
        """See `Policy.new_log`."""
        return StepLog(self.device, memory)

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

    def update_statistics(self, log: StepLog, valid: Flags) -> None:
        """See `Policy.update_statistics`."""
        if self.encoder.normalizes:
            steps = torch.from_numpy(np.flatnonzero(valid)).to(self.device)
            self.encoder.update_statistics(log.take(steps, None))
