"""What agents share whose actor and critic are one of the policies here."""

from __future__ import annotations

import torch

from .agent import Agent
from .policies import Policy
from .policies.factory import PolicyConfig, make_policy_for


class PolicyAgent(Agent):
    """Has a `Policy`; a subclass says what it learns from."""

    config: PolicyConfig

    def _build(self) -> None:
        self.policy = self.make_policy()
        self.policy.to_device(self.device)

    def make_policy(self) -> Policy:
        """The policy for this environment and config."""
        return make_policy_for(self.env, self.config)

    def precision(self) -> torch.autocast:
        """Held around all that policy and reference compute: the rounding of both is then no difference."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16)
