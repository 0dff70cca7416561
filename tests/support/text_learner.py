"""PPO on tiny text environments of every kind, and rollouts of it one by one."""

from __future__ import annotations

from collections.abc import Iterator

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode

import textrlhf  # noqa: F401  (registers the environments)
from textrlhf.agents import PPO
from textrlhf.agents.experience.rollout import Rollout
from textrlhf.records.progress import Stopwatch
from tiny_envs import Chatting, text_env
from word_scores import Words

SAME_STEP, NEXT_STEP, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED
ENVS = {
    "plain": {},
    "cut": {"on_length": "truncate", "max_new_tokens": 4},
    "masks": {"min_new_tokens": 2, "allowed_tokens": range(2, 40, 3)},
    "dialogue": {"task": Chatting()},
    "credit": {"reward_model": Words(), "credit": "token"},
}
N = 4


def batch(kind: str = "plain", family: str = "gpt2", mode: AutoresetMode = SAME_STEP, **options):
    """A native batch of `N` texts, with prompts of different lengths."""
    return gym.make_vec("TextRLHF-v0", N, autoreset_mode=mode, **text_env(family=family, **{**ENVS[kind], **options}))


def learner(env, kind: type[PPO] = PPO, *, moved: float = 0.0, **hyperparameters) -> PPO:
    """An agent with a high learning rate and seven steps per rollout, so that texts span rollouts.

    `moved` is the scale of noise added to its weights.
    """
    defaults = {"n_steps": 7, "batch_size": 12, "n_epochs": 2, "seed": 3, "learning_rate": 3e-3, "torch_threads": 1}
    agent = kind(env, **{**defaults, **hyperparameters})
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        agent.optimizer.flat += moved * torch.randn(len(agent.optimizer.flat), generator=draws).to(agent.device)
    agent.cut(None)
    return agent


def rollouts(agent: PPO, n: int, *, learn: bool) -> Iterator[Rollout]:
    """Some rollouts with advantages; with `learn`, an update follows each."""
    for _ in range(n):
        with agent.precision():
            rollout = agent.collect(Stopwatch())
        rollout.estimate_advantages(agent.config.gamma, agent.config.gae_lambda)
        yield rollout
        if learn:
            with agent.precision():
                agent.update(rollout, 1.0)
            agent.collector.memory = agent.policy.after_update(agent.collector.memory)
