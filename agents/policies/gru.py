"""The policy with a small memory: a GRU between the encoder and the two heads, for partial observation."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from ..environment.masks import Mask
from ..environment.spaces import Leaves
from ..experience.rollout import Minibatch, Segments
from .actor_critic import MLP, ActorCritic, StepLog
from .policy import Act, Evaluation


class SegmentLog(StepLog):
    """Keeps the observations, and the memory each slot began the rollout with."""

    def add(self, observation: Leaves, starts: NDArray[np.bool_]) -> None:
        """Record one step; slots that open an episode at the first one carry no memory into the rollout."""
        if not self._steps and self.memory is not None:
            self.memory = self.memory.masked_fill(torch.from_numpy(starts).to(self.device)[:, None], 0.0)
        super().add(observation, starts)

    def take(self, steps: Tensor, segments: Segments | None) -> tuple[Any, ...]:
        """The observations of those steps; with segments also each one's first memory (S, 2H)."""
        observations = super().take(steps, segments)
        if segments is None or self.memory is None:
            return observations
        carried = torch.from_numpy(segments[:, 1] == 0).to(self.device)  # others open an episode: memory 0
        memory = self.memory[torch.from_numpy(segments[:, 0]).to(self.device)]
        return observations, torch.where(carried[:, None], memory, 0.0)


class GRUPolicy(ActorCritic):
    """Actor and critic each have a GRU; the memory is both states side by side (N, 2H).

    Learning runs over whole segments, packed so that none is padded.
    """

    by_segments: ClassVar[bool] = True

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        memory_size: int = 64,
        net_arch: tuple[int, ...] = (64,),
        activation: str = "tanh",
        log_std_init: float = 0.0,
        normalize: bool = False,
    ) -> None:
        super().__init__(observation_space, action_space, normalize=normalize)
        self.grus = nn.ModuleList(nn.GRU(self.encoder.size, memory_size) for _ in ("actor", "critic"))
        for name, weight in self.grus.named_parameters():
            nn.init.orthogonal_(weight) if "weight" in name else nn.init.zeros_(weight)
        self.actor = MLP((memory_size, *net_arch, self.add_distribution(log_std_init)), activation, gain=0.01)
        self.critic = MLP((memory_size, *net_arch, 1), activation, gain=1.0)
        self.memory_size = memory_size

    def initial_memory(self, n: int) -> Tensor:
        """Zeros (n, 2H)."""
        return torch.zeros(n, 2 * self.memory_size, device=self.device)

    def after_update(self, memory: Tensor) -> Tensor:
        """The same: a state from slightly older weights is the usual approximation of recurrent PPO."""
        return memory

    @torch.no_grad()
    def act(
        self,
        observation: Leaves,
        memory: Tensor,
        starts: NDArray[np.bool_],
        *,
        deterministic: bool = False,
        masks: Mask | None = None,
        generator: torch.Generator | None = None,
    ) -> Act:
        """See `Policy.act`."""
        if starts.any():
            memory = memory.masked_fill(torch.from_numpy(starts).to(memory.device)[:, None], 0.0)
        memory = self._read(observation, memory)
        for_actor, for_critic = memory.chunk(2, -1)
        action, log_prob = self.distribution.sample(
            self.actor(for_actor), deterministic=deterministic, generator=generator, masks=self.mask_tensor(masks)
        )
        return Act(action, log_prob, memory, self.critic(for_critic).squeeze(-1))

    @torch.no_grad()
    def value(self, observation: Leaves, memory: Tensor, rows: NDArray[np.int64] | None = None) -> Tensor:
        """See `Policy.value`."""
        if rows is not None:
            memory = memory[torch.from_numpy(rows).to(memory.device)]
        value: Tensor = self.critic(self._read(observation, memory).chunk(2, -1)[1]).squeeze(-1)
        return value

    def evaluate(self, batch: Minibatch) -> Evaluation:
        """See `Policy.evaluate`."""
        assert batch.segments is not None
        observations, memory = batch.observations
        lengths = torch.from_numpy(batch.segments[:, 2] - batch.segments[:, 1])
        parts = self.encoder(observations).split(lengths.tolist())
        packed = nn.utils.rnn.pack_sequence(parts, enforce_sorted=False)
        real = (torch.arange(int(lengths.max())) < lengths[:, None]).to(memory.device)  # (S, L)
        features = []
        for gru, first in zip(self.grus, memory.chunk(2, -1), strict=True):
            states, _ = gru(packed, first[None].contiguous())
            padded, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)  # (S, L, H)
            features.append(padded[real])  # (M, H), segments end to end
        log_prob, entropy = self.distribution.evaluate(self.actor(features[0]), batch.actions, batch.masks)
        return Evaluation(log_prob, entropy, self.critic(features[1]).squeeze(-1))

    def new_log(self, memory: Tensor) -> SegmentLog:
        """See `Policy.new_log`."""
        return SegmentLog(self.device, memory)

    def _read(self, observation: Leaves, memory: Tensor) -> Tensor:  # (N, 2H) -> (N, 2H)
        features = self.encoder(self.tensors(observation))[None]
        halves = zip(self.grus, memory.chunk(2, -1), strict=True)
        return torch.cat([gru(features, half[None].contiguous())[1][0] for gru, half in halves], -1)
