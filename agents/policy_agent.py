"""The base class of agents with a `Policy`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from .agent import Agent
from .environment.masks import Mask, checked, require_an_action
from .environment.play import Act
from .environment.spaces import Array, Flags, Leaves
from .policies import Memory, Policy
from .policies.factory import PolicyConfig, make_policy_for
from .settings.seeding import Stream, torch_generator


class PolicyAgent(Agent):
    """An agent whose actor and critic are one `Policy`."""

    config: PolicyConfig
    policy: Policy

    def _build(self) -> None:
        self.policy = self.make_policy()
        self.policy.to_device(self.device)
        self.networks["model"] = self.policy.network
        self.env.share_observations(not getattr(self.policy, "keeps_observations", True))
        self._predictions = torch_generator(self.seed, Stream.PREDICTIONS, self.device)

    def make_policy(self) -> Policy:
        """The policy for this environment and config; override it to use your own."""
        return make_policy_for(self.env, self.config)

    def precision(self) -> torch.autocast:
        """bfloat16 autocast if configured, for policy and reference model alike."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16)

    def predict(
        self,
        observation: Any,
        state: Memory = None,
        episode_start: Flags | None = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[Array, Memory]:
        """See `Agent.predict`."""
        leaves, single = self._batch(observation)
        n = len(leaves[0])
        if state is None:
            state = self.policy.initial_memory(n)
        starts = np.zeros(n, bool) if episode_start is None else np.asarray(episode_start, bool).reshape(n)
        masks = None
        if action_masks is not None and self.env.codec.choices:
            masks = checked(np.asarray(action_masks, bool), (n, sum(self.env.codec.choices)))
            require_an_action(masks)
        act = self.policy.act(
            leaves, state, starts, deterministic=deterministic, masks=masks, generator=self._predictions
        )
        action = self.env.codec.to_env(act.on_host()[0])
        return (action[0] if single else action), act.memory

    def value(self, observation: Any, state: Memory = None) -> Any:
        """The critic's value of an observation (a float) or of a batch (an array)."""
        leaves, single = self._batch(observation)
        state = self.policy.initial_memory(len(leaves[0])) if state is None else state
        values = self.policy.value(leaves, state).cpu().numpy()
        return float(values[0]) if single else values

    def player(self, n_envs: int, seed: int = 0, deterministic: bool = False) -> Act:
        """See `Agent.player`."""
        memory = self.policy.initial_memory(n_envs)
        generator = torch_generator(seed, Stream.PLAYERS, self.device)

        def act(observation: Leaves, starts: Flags, masks: Mask | None) -> tuple[Array, Array]:
            nonlocal memory
            chosen = self.policy.act(
                observation, memory, starts, deterministic=deterministic, masks=masks, generator=generator
            )
            memory = chosen.memory
            return chosen.on_host()

        return act

    def export(self, run: Path) -> None:
        """See `Agent.export`."""
        self.policy.export(run)
