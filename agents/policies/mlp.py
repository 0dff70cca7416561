"""The policy without memory: separate actor and critic networks."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..experience.rollout import Minibatch
from .actor_critic import ActorCritic


class MLPPolicy(ActorCritic):
    """Actor and critic share only the encoder, which has weights for images and embeddings alone."""

    by_segments: ClassVar[bool] = False

    def add_memory(self, size: int) -> int:
        """None: there is nothing between encoder and heads."""
        return self.encoder.size

    def initial_memory(self, n: int) -> None:
        """None: there is no memory."""

    def read(self, observation: tuple[Tensor, ...], memory: None) -> tuple[Tensor, Tensor, None]:
        """See `ActorCritic.read`."""
        features = self.encoder(observation)
        return features, features, None

    def features(self, batch: Minibatch) -> tuple[Tensor, Tensor]:
        """See `ActorCritic.features`."""
        return self.read(batch.observations, None)[:2]
