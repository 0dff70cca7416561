"""PPO with a policy whose memory is modified in place, on an environment of tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from slot_policy import SlotPolicy
from textrlhf.agents import PPO
from textrlhf.records.progress import Stopwatch
from token_env import CONTEXT, TokenEnv, TokenVectorEnv

MODES = list(AutoresetMode)


class SlotPPO(PPO):
    """PPO as it is, with another policy."""

    policy_class = SlotPolicy

    def make_policy(self):
        return self.policy_class()


def make(env, policy=SlotPolicy, **hyperparameters) -> PPO:
    kind = type("Kind", (SlotPPO,), {"policy_class": policy})
    defaults = {"n_steps": 16, "batch_size": 32, "n_epochs": 2, "seed": 3, "gamma": 1.0}
    return kind(env, **{**defaults, **hyperparameters})


def worst_first_ratio(agent: PPO, updates: int = 6) -> float:
    """The largest |ratio − 1| in the first minibatch of any of some updates."""
    agent.cut(None)
    errors = [agent.advance(1.0, Stopwatch())["train/first_ratio_error"] for _ in range(updates)]
    return max(errors)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("native", [True, False])
def test_first_ratio_is_one(mode: AutoresetMode, native: bool) -> None:
    env = TokenVectorEnv(5, mode) if native else SyncVectorEnv([TokenEnv] * 5, autoreset_mode=mode)
    assert worst_first_ratio(make(env)) < 1e-5


class ReadsTwice(SlotPolicy):
    """Forgets to move the mark of a token it has read, once in a while."""

    def feed(self, memory, rows, tokens):
        super().feed(memory, rows, tokens)
        if len(rows) == len(memory.read):
            memory.read[0] = max(0, memory.read[0] - 1)


class LosesTokens(SlotPolicy):
    """Reads one token a step, whatever the environment added."""

    def feed(self, memory, rows, tokens):
        lengths = (tokens >= 0).sum(1)
        memory.read[rows] = np.where(memory.read[rows] > 0, lengths - 1, memory.read[rows])
        super().feed(memory, rows, tokens)


class NeverForgets(SlotPolicy):
    """Carries one text's state into the next."""

    def forget(self, memory, rows):
        memory.read[rows] = 0


class KeepsStaleState(SlotPolicy):
    """Goes on after an update with what the old weights computed."""

    def after_update(self, memory):
        return memory


@pytest.mark.parametrize("policy", [ReadsTwice, LosesTokens, NeverForgets, KeepsStaleState])
def test_sabotaged_memory_changes_the_first_ratio(policy: type[SlotPolicy]) -> None:
    # At this learning rate an update moves the weights enough for a stale state to show.
    assert worst_first_ratio(make(TokenVectorEnv(5), policy, learning_rate=3e-3)) > 1e-4


def test_value_leaves_the_memory_unchanged() -> None:
    env = TokenVectorEnv(5, AutoresetMode.SAME_STEP)
    agent = make(env)
    agent.cut(None)
    agent.collect(Stopwatch())
    read, state = agent.collector.memory.read.copy(), agent.collector.memory.state.clone()
    agent.policy.value((np.full((2, CONTEXT), 4),), agent.collector.memory, np.array([1, 3]))
    np.testing.assert_array_equal(agent.collector.memory.read, read)
    assert torch.equal(agent.collector.memory.state, state)


@pytest.mark.parametrize("mode", MODES)
def test_log_stores_one_context_per_segment(mode: AutoresetMode) -> None:
    agent = make(TokenVectorEnv(4, mode), n_steps=40)
    agent.cut(None)
    rollout = agent.collect(Stopwatch())
    assert len(rollout.log.contexts) <= len(rollout.segments()) + 4 < 40 * 4 / 3


@pytest.mark.slow
def test_training_raises_the_return() -> None:
    agent = make(
        TokenVectorEnv(16, kl_coef=0.02), n_steps=32, batch_size=128, n_epochs=4, learning_rate=1e-2, gae_lambda=1.0
    )
    agent.cut(None)
    first = agent.advance(1.0, Stopwatch()) | agent.episodes.metrics()
    agent.learn(16 * 32 * 25, progress=False)
    assert agent.episodes.metrics()["rollout/return"] > first["rollout/return"] + 0.3
