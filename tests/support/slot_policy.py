"""A stand-in for a language model: its memory is a cache modified in place, one slot per text.

What it has read of a text is one nonlinear state, so a token read twice, skipped, or left over from the text
before changes every later output.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from textrlhf.agents.policies import Act, Evaluation
from textrlhf.agents.policies.distributions import Categorical
from token_env import CONTEXT, V

H = 16


class SlotMemory:
    """How many tokens each slot has read, and what came of it."""

    def __init__(self, n: int) -> None:
        self.read = np.zeros(n, np.int64)
        self.state = torch.zeros(n, H)


class ContextLog:
    """One context a segment instead of one a step: O(T) tokens."""

    def __init__(self, memory: SlotMemory) -> None:
        self.lengths: list[np.ndarray] = []
        self.contexts: dict[tuple[int, int], np.ndarray] = {}  # (slot, last step) -> the longest observation
        self._last: np.ndarray | None = None

    def add(self, observation, starts) -> None:
        self.last, tokens = observation, observation[0]
        t = len(self.lengths)
        for slot in range(len(tokens)):
            if not starts[slot]:
                self.contexts.pop((slot, t - 1), None)  # the text continues: only its latest state is kept
            self.contexts[slot, t] = tokens[slot]
        self.lengths.append((tokens >= 0).sum(1))

    def take(self, steps, segments):
        lengths = np.stack(self.lengths)
        contexts, positions, rows = [], [], []
        for row, (slot, first, stop) in enumerate(segments):
            last = stop - 1
            while (slot, last) not in self.contexts:
                last += 1  # a NEXT_STEP row after the end holds the final observation
            contexts.append(self.contexts[slot, last])
            positions.append(lengths[first:stop, slot] - 1)
            rows.append(np.full(stop - first, row))
        return np.stack(contexts), np.concatenate(positions), np.concatenate(rows)


class SlotPolicy(nn.Module):
    """A recurrence over tokens with an actor and a critic head."""

    by_segments = True

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, H)
        self.recurrence = nn.Linear(H, H)
        self.actor, self.critic = nn.Linear(H, V), nn.Linear(H, 1)
        self.distribution = Categorical([V])

    @property
    def network(self) -> nn.Module:
        return self

    def to_device(self, device) -> None:
        self.to(device)

    def initial_memory(self, n: int) -> SlotMemory:
        return SlotMemory(n)

    def read(self, state: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.recurrence(state) + self.embedding(token))

    def feed(self, memory: SlotMemory, rows: np.ndarray, tokens: np.ndarray) -> None:
        """Read what lies beyond each slot's mark, writing in place."""
        lengths = (tokens >= 0).sum(1)
        while (behind := memory.read[rows] < lengths).any():
            slots = rows[behind]
            new = torch.from_numpy(tokens[behind, memory.read[slots]])
            memory.state[slots] = self.read(memory.state[slots], new)
            memory.read[slots] += 1

    def forget(self, memory: SlotMemory, rows) -> None:
        memory.read[rows] = 0
        memory.state[rows] = 0.0

    @torch.no_grad()
    def act(self, observation, memory, starts, *, deterministic=False, masks=None, generator=None) -> Act:
        self.forget(memory, starts)
        self.feed(memory, np.arange(len(starts)), observation[0])
        outputs = self.actor(memory.state)
        action, log_prob = self.distribution.sample(outputs, deterministic=deterministic, generator=generator)
        return Act(action, log_prob, memory, self.critic(memory.state).squeeze(-1))

    def values(self, log, acts) -> torch.Tensor:
        return torch.stack([*(act.value for act in acts), self.value(log.last, acts[-1].memory)])

    @torch.no_grad()
    def value(self, observation, memory, rows=None):
        rows = np.arange(len(memory.read)) if rows is None else rows
        scratch = SlotMemory(len(rows))
        scratch.read[:], scratch.state[:] = memory.read[rows], memory.state[rows]
        self.feed(scratch, np.arange(len(rows)), observation[0])
        return self.critic(scratch.state).squeeze(-1)

    def evaluate(self, batch) -> Evaluation:
        contexts, positions, rows = batch.observations
        tokens = torch.from_numpy(contexts).clamp_min(0)
        state, states = torch.zeros(len(tokens), H), []
        for t in range(CONTEXT):
            state = self.read(state, tokens[:, t])
            states.append(state)
        features = torch.stack(states, 1)[rows, positions]
        log_prob, entropy = self.distribution.evaluate(self.actor(features), batch.actions)
        return Evaluation(log_prob, entropy, self.critic(features).squeeze(-1))

    def microbatches(self, batch):
        return ((batch, 1.0),)

    def new_log(self, memory: SlotMemory) -> ContextLog:
        return ContextLog(memory)

    def after_update(self, memory: SlotMemory) -> SlotMemory:
        self.forget(memory, slice(None))  # all that was computed with the old weights
        return memory

    def update_statistics(self, log, valid) -> None:
        pass

    def export(self, run) -> None:
        pass
