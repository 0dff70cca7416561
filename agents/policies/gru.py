"""The recurrent policy: a GRU between the encoder and each head, for partially observable environments."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from ..experience.rollout import Minibatch
from .mlp import MLPPolicy


class GRUPolicy(MLPPolicy):
    """Actor and critic each have a GRU; the memory is both hidden states side by side (N, 2H).

    Training runs over whole segments, as packed sequences.
    """

    by_segments: ClassVar[bool] = True

    def add_memory(self, size: int) -> int:
        """See `MLPPolicy.add_memory`."""
        self.grus = nn.ModuleList(nn.GRU(self.encoder.size, size) for _ in ("actor", "critic"))
        for name, weight in self.grus.named_parameters():
            nn.init.orthogonal_(weight) if "weight" in name else nn.init.zeros_(weight)
        self.memory_size = size
        return size

    def initial_memory(self, n: int) -> Tensor:
        """Zeros (n, 2H)."""
        return torch.zeros(n, 2 * self.memory_size, device=self.device)

    def read(self, observation: tuple[Tensor, ...], memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `MLPPolicy.read`."""
        features = self.encoder(observation)[None]
        halves = zip(self.grus, memory.chunk(2, -1), strict=True)
        for_actor, for_critic = (gru(features, half[None].contiguous())[1][0] for gru, half in halves)
        return for_actor, for_critic, torch.cat([for_actor, for_critic], -1)

    def features(self, batch: Minibatch) -> tuple[Tensor, Tensor]:
        """See `MLPPolicy.features`."""
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
        return features[0], features[1]
