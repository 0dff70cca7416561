"""What the MLP and the GRU policy share: an encoder, two heads and a distribution."""

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
from numpy.typing import NDArray
from torch import Tensor, nn

from ..environment.masks import Mask
from ..environment.spaces import ActionCodec, Leaves
from ..experience.rollout import Minibatch, Segments
from .distributions import Distribution, make_distribution
from .encoder import Encoder
from .policy import Act

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu, "silu": F.silu}


class MLP(nn.Module):
    """Linear layers of given sizes, orthogonal with √2 between and `gain` at the end, biases 0.

    One module in place of a Sequential of many: on layers this small, calling a module costs more than its work.
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
    """Keeps every observation as it came; each leaf (T·N, ...) once gathered."""

    def __init__(self, device: torch.device, memory: Tensor | None = None) -> None:
        self.device, self.memory = device, memory
        self._steps: list[Leaves] = []
        self._flat: tuple[Tensor, ...] | None = None

    def add(self, observation: Leaves, starts: NDArray[np.bool_]) -> None:
        """Record one step."""
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
    """Encoder, actor and critic heads on `features_size`, and the distribution of the action space."""

    distribution: Distribution

    def __init__(
        self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any], *, normalize: bool
    ) -> None:
        super().__init__()
        self.encoder = Encoder(observation_space, normalize)
        self.codec = ActionCodec(action_space)
        self.device = torch.device("cpu")

    @abstractmethod
    def value(self, observation: Leaves, memory: Any, rows: NDArray[np.int64] | None = None) -> Tensor:
        """See `Policy.value`."""

    def to_device(self, device: torch.device) -> None:
        """Move the weights; inputs follow."""
        self.device = device
        self.to(device)

    def add_distribution(self, log_std_init: float) -> int:
        """Add the distribution; return how many outputs the actor needs."""
        self.distribution = make_distribution(self.codec.choices, self.codec.size, log_std_init)
        return self.distribution.n_outputs

    @property
    def network(self) -> nn.Module:
        """The module that is learned and saved: this one."""
        return self

    def tensors(self, observation: Leaves) -> tuple[Tensor, ...]:
        """A batch of observations on the policy's device."""
        return tuple(torch.from_numpy(leaf).to(self.device) for leaf in observation)

    def mask_tensor(self, masks: Mask | None) -> Tensor | None:
        """Action masks on the policy's device."""
        return None if masks is None else torch.from_numpy(masks).to(self.device)

    def values(self, log: StepLog, acts: Sequence[Act]) -> Tensor:
        """See `Policy.values`: each act already has its value."""
        known = [act.value for act in acts if act.value is not None]
        return torch.stack([*known, self.value(log.last, acts[-1].memory)])

    def microbatches(self, batch: Minibatch) -> Iterable[tuple[Minibatch, float]]:
        """All of it: small networks take any minibatch at once."""
        return ((batch, 1.0),)

    def export(self, run: Path) -> None:
        """Nothing: no other library knows these networks."""

    def update_statistics(self, log: StepLog, valid: NDArray[np.bool_]) -> None:
        """Move the observation normaliser on by a rollout."""
        if self.encoder.normalizes:
            steps = torch.from_numpy(np.flatnonzero(valid)).to(self.device)
            self.encoder.update_statistics(log.take(steps, None))
