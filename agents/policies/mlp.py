"""The policy without memory: separate actor and critic networks."""

from __future__ import annotations

from typing import Any, ClassVar

from gymnasium import spaces
from torch import Tensor

from ..experience.rollout import Minibatch
from .actor_critic import MLP, ActorCritic, StepLog
from .policy import Evaluation


class MLPPolicy(ActorCritic):
    """Actor and critic share only the encoder, which has weights for images and embeddings alone."""

    by_segments: ClassVar[bool] = False

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        net_arch: tuple[int, ...] = (64, 64),
        activation: str = "tanh",
        log_std_init: float = 0.0,
        normalize: bool = False,
    ) -> None:
        super().__init__(observation_space, action_space, normalize=normalize)
        sizes = (self.encoder.size, *net_arch)
        self.actor = MLP((*sizes, self.add_distribution(log_std_init)), activation, gain=0.01)
        self.critic = MLP((*sizes, 1), activation, gain=1.0)

    def initial_memory(self, n: int) -> None:
        """None: there is no memory."""

    def after_update(self, memory: None) -> None:
        """None: there is no memory."""

    def read(self, observation: tuple[Tensor, ...], memory: None) -> tuple[Tensor, Tensor, None]:
        """See `ActorCritic.read`."""
        features = self.encoder(observation)
        return features, features, None

    def evaluate(self, batch: Minibatch) -> Evaluation:
        """See `Policy.evaluate`."""
        features = self.encoder(batch.observations)
        log_prob, entropy = self.distribution.evaluate(self.actor(features), batch.actions, batch.masks)
        return Evaluation(log_prob, entropy, self.critic(features).squeeze(-1))

    def new_log(self, memory: None) -> StepLog:
        """See `Policy.new_log`."""
        return StepLog(self.device)
