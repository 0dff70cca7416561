"""Learners. Nothing here knows what an environment is about."""

from __future__ import annotations

from .agent import Agent
from .callbacks import Callback, Evaluate, Save, StopAfter, StopAtReturn
from .evaluation import Scores, evaluate
from .ppo import PPO, PPOConfig

__all__ = [
    "PPO",
    "Agent",
    "Callback",
    "Evaluate",
    "PPOConfig",
    "Save",
    "Scores",
    "StopAfter",
    "StopAtReturn",
    "evaluate",
]
