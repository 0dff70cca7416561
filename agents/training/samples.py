"""The same few episodes again and again while an agent learns, as the environment tells of them in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...records.samples import Sample
from ..environment.adapter import World
from ..environment.episode_info import numbers
from ..environment.vectorize import remake
from ..settings.seeding import derive

if TYPE_CHECKING:
    from ..agent import Agent

N = 4  # episodes


class Sampler:
    """Plays the first episode of a few slots, seeded alike each time: the same prompts, the same dice."""

    def __init__(self, agent: Agent) -> None:
        assert agent.world.recipe is not None
        self.agent, self.world = agent, World(remake(agent.world.recipe, N))
        self.seed = derive(agent.seed, 6, 0)

    @staticmethod
    def suits(agent: Agent) -> bool:
        """Whether there is something to read: a world of texts that can be made again."""
        return agent.world.reference_model is not None and agent.world.recipe is not None

    def take(self) -> list[Sample]:
        """Play, and return what was told of each episode, slot by slot."""
        world, player = self.world, self.agent.player(N, self.seed)
        if world.charges_kl and self.agent.world.charges_kl:
            world.kl_coef = self.agent.world.kl_coef
        observation, starts = world.reset(self.seed), np.ones(N, bool)
        found: dict[int, Sample] = {}
        while len(found) < N:
            turn = world.step(*player(observation, starts, world.masks, False))
            for slot, told in turn.told.items():
                words = {name: value for name, value in told.items() if isinstance(value, str)}
                found.setdefault(slot, {**words, **numbers(told)})
            for slot in np.flatnonzero(turn.terminated | turn.truncated).tolist():
                found.setdefault(slot, {})
            observation, starts = turn.observation, turn.starts
        return [found[slot] for slot in range(N)]

    def close(self) -> None:
        """Close the environment."""
        self.world.close()
