"""The same few episodes again and again while an agent learns, as the environment tells of them in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...records.samples import Sample
from ..environment.adapter import EnvAdapter
from ..environment.episode_info import numbers
from ..environment.vectorize import remake
from ..settings.seeding import derive

if TYPE_CHECKING:
    from ..agent import Agent

N = 4  # episodes


class Sampler:
    """Plays the first episode of a few slots, seeded alike each time: the same prompts, the same dice."""

    def __init__(self, agent: Agent) -> None:
        assert agent.env.recipe is not None
        self.agent, self.env = agent, EnvAdapter(remake(agent.env.recipe, N))
        self.seed = derive(agent.seed, 6, 0)

    @staticmethod
    def suits(agent: Agent) -> bool:
        """Whether there is something to read: a environment of texts that can be made again."""
        return agent.env.reference_model is not None and agent.env.recipe is not None

    def take(self) -> list[Sample]:
        """Play, and return what was told of each episode, slot by slot."""
        adapter, player = self.env, self.agent.player(N, self.seed)
        if adapter.has_kl_penalty and self.agent.env.has_kl_penalty:
            adapter.kl_coef = self.agent.env.kl_coef
        observation, starts = adapter.reset(self.seed), np.ones(N, bool)
        found: dict[int, Sample] = {}
        while len(found) < N:
            result = adapter.step(*player(observation, starts, adapter.masks, False))
            for slot, told in result.told.items():
                words = {name: value for name, value in told.items() if isinstance(value, str)}
                found.setdefault(slot, {**words, **numbers(told)})
            for slot in np.flatnonzero(result.terminated | result.truncated).tolist():
                found.setdefault(slot, {})
            observation, starts = result.observation, result.starts
        return [found[slot] for slot in range(N)]

    def close(self) -> None:
        """Close the environment."""
        self.env.close()
