"""The policy without memory: separate actor and critic networks on the encoded observation."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from ..environment.masks import Mask
from ..environment.spaces import Leaves
from ..experience.rollout import Minibatch
from .actor_critic import MLP, ActorCritic, StepLog
from .policy import Act, Evaluation


class MLPPolicy(ActorCritic):
    """Actor and critic share the encoder (which has weights only for pictures and embeddings), nothing else."""

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
        """None: nothing is remembered."""

    def after_update(self, memory: None) -> None:
        """None: nothing is remembered."""

    @torch.no_grad()
    def act(
        self,
        observation: Leaves,
        memory: None,
        starts: NDArray[np.bool_],
        *,
        deterministic: bool = False,
        masks: Mask | None = None,
        generator: torch.Generator | None = None,
    ) -> Act:
        """See `Policy.act`."""
        features = self.encoder(self.tensors(observation))
        action, log_prob = self.distribution.sample(
            self.actor(features),
            deterministic=deterministic,
            generator=generator,
            masks=self.mask_tensor(masks),
        )
        return Act(action, log_prob, None, self.critic(features).squeeze(-1))

    @torch.no_grad()
    def value(self, observation: Leaves, memory: None, rows: NDArray[np.int64] | None = None) -> Tensor:
        """See `Policy.value`."""
        value: Tensor = self.critic(self.encoder(self.tensors(observation))).squeeze(-1)
        return value

    def evaluate(self, batch: Minibatch) -> Evaluation:
        """See `Policy.evaluate`."""
        features = self.encoder(batch.observations)
        log_prob, entropy = self.distribution.evaluate(self.actor(features), batch.actions, batch.masks)
        return Evaluation(log_prob, entropy, self.critic(features).squeeze(-1))

    def new_log(self, memory: None) -> StepLog:
        """See `Policy.new_log`."""
        return StepLog(self.device)
