"""Everything random in an agent comes from one seed, through these; the global generators are left alone."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch


def draw_seed() -> int:
    """A seed nobody chose."""
    return int(np.random.SeedSequence().generate_state(1)[0] >> 1)


def derive(seed: int, *path: int) -> int:
    """A seed for one purpose, below 2³¹: the same for the same path, unrelated for another."""
    return int(np.random.SeedSequence((seed, *path)).generate_state(1)[0] >> 1)


class Randomness:
    """The two streams an agent draws from: actions (on its device) and the order of minibatches."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.actions = torch.Generator(device=device)
        self.actions.manual_seed(derive(seed, 1, 0))
        self.order = np.random.Generator(np.random.PCG64(derive(seed, 2, 0)))

    def state_dict(self) -> dict[str, Any]:
        """Both streams' positions as plain JSON."""
        actions = base64.b64encode(self.actions.get_state().numpy().tobytes()).decode()
        return {"device": self.actions.device.type, "actions": actions, "order": self.order.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` stood; another kind of device has another generator, which begins afresh."""
        if state["device"] == self.actions.device.type:
            actions = np.frombuffer(base64.b64decode(state["actions"]), np.uint8).copy()
            self.actions.set_state(torch.from_numpy(actions))
        self.order.bit_generator.state = state["order"]
