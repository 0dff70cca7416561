"""The recurrent policy: a GRU between the encoder and each head, for partially observable environments."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from gymnasium import spaces
from torch import Tensor, nn

from ..environment.spaces import Flags, Leaves
from ..experience.rollout import Minibatch, Segments
from .actor_critic import MLP, ActorCritic, StepLog
from .policy import Evaluation


class SegmentLog(StepLog):
    """Stores every observation, and each slot's memory at the start of the rollout."""

    def add(self, observation: Leaves, starts: Flags) -> None:
        """Record the next step; slots that start an episode with the first one begin with an empty memory."""
        if not self._steps and self.memory is not None:
            self.memory = self.memory.masked_fill(torch.from_numpy(starts).to(self.device)[:, None], 0.0)
        super().add(observation, starts)

    def take(self, steps: Tensor, segments: Segments | None) -> tuple[Any, ...]:
        """The observations of those steps; with segments also each one's initial memory (S, 2H)."""
        observations = super().take(steps, segments)
        if segments is None or self.memory is None:
            return observations
        carried = torch.from_numpy(segments[:, 1] == 0).to(self.device)  # the others start an episode
        memory = self.memory[torch.from_numpy(segments[:, 0]).to(self.device)]
        return observations, torch.where(carried[:, None], memory, 0.0)


class GRUPolicy(ActorCritic):
    """Actor and critic each have a GRU; the memory is both hidden states side by side (N, 2H).

    Training runs over whole segments, as packed sequences.
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
        """Unchanged: as usual in recurrent PPO, a hidden state of slightly older weights is kept."""
        return memory

    def read(self, observation: tuple[Tensor, ...], memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `ActorCritic.read`."""
        features = self.encoder(observation)[None]
        halves = zip(self.grus, memory.chunk(2, -1), strict=True)
        for_actor, for_critic = (gru(features, half[None].contiguous())[1][0] for gru, half in halves)
        return for_actor, for_critic, torch.cat([for_actor, for_critic], -1)

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
            features.append(padded[real])  # (M, H), segments concatenated
        log_prob, entropy = self.distribution.evaluate(self.actor(features[0]), batch.actions, batch.masks)
        return Evaluation(log_prob, entropy, self.critic(features[1]).squeeze(-1))

    def new_log(self, memory: Tensor) -> SegmentLog:
        """See `Policy.new_log`."""
        return SegmentLog(self.device, memory)
