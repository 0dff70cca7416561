"""One seed per agent: every random stream is derived from it, and no global generator is used."""

from __future__ import annotations

import base64
from enum import IntEnum
from typing import Any

import numpy as np
import torch


class Stream(IntEnum):
    """The random streams, one per purpose."""

    WEIGHTS = 0
    ACTIONS = 1
    MINIBATCHES = 2
    PREDICTIONS = 3
    ENVIRONMENTS = 4
    PLAYERS = 5
    SAMPLES = 6
    DEMONSTRATIONS = 7
    HELD_OUT = 8


def draw_seed() -> int:
    """A random seed, for an agent without one."""
    return int(np.random.SeedSequence().generate_state(1)[0] >> 1)


def derive_seed(seed: int, stream: Stream, n: int = 0) -> int:
    """The `n`-th seed (below 2³¹) of a stream; seeds of different streams or numbers are independent."""
    return int(np.random.SeedSequence((seed, stream, n)).generate_state(1)[0] >> 1)


def torch_generator(seed: int, stream: Stream, device: torch.device) -> torch.Generator:
    """A torch generator for one stream."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, stream))


class Randomness:
    """The two streams of training: actions (drawn on the agent's device) and the order of minibatches."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.actions = torch_generator(seed, Stream.ACTIONS, device)
        self.order = np.random.Generator(np.random.PCG64(derive_seed(seed, Stream.MINIBATCHES)))

    def state_dict(self) -> dict[str, Any]:
        """The states of both generators as plain JSON."""
        actions = base64.b64encode(self.actions.get_state().numpy().tobytes()).decode()
        return {"device": self.actions.device.type, "actions": actions, "order": self.order.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`; on another type of device the actions' stream restarts."""
        if state["device"] == self.actions.device.type:
            actions = np.frombuffer(base64.b64decode(state["actions"]), np.uint8).copy()
            self.actions.set_state(torch.from_numpy(actions))
        self.order.bit_generator.state = state["order"]
