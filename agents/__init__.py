"""Learners. Nothing here knows what an environment is about.

The names below are imported when first asked for, so that settings can be read without waiting for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agent import Agent
    from .callbacks import AdaptiveKL, Callback, Evaluate, Save, StopAfter, StopAtReturn
    from .clone import Clone, CloneConfig
    from .demonstrations import Demonstrations, Episode
    from .evaluation import Scores, evaluate
    from .ppo import PPO, PPOConfig
    from .recording import record

_MODULES = {
    "PPO": "ppo",
    "AdaptiveKL": "callbacks",
    "Agent": "agent",
    "Callback": "callbacks",
    "Clone": "clone",
    "CloneConfig": "clone",
    "Demonstrations": "demonstrations",
    "Episode": "demonstrations",
    "Evaluate": "callbacks",
    "PPOConfig": "ppo",
    "Save": "callbacks",
    "Scores": "evaluation",
    "StopAfter": "callbacks",
    "StopAtReturn": "callbacks",
    "evaluate": "evaluation",
    "record": "recording",
}
__all__ = [
    "PPO",
    "AdaptiveKL",
    "Agent",
    "Callback",
    "Clone",
    "CloneConfig",
    "Demonstrations",
    "Episode",
    "Evaluate",
    "PPOConfig",
    "Save",
    "Scores",
    "StopAfter",
    "StopAtReturn",
    "evaluate",
    "record",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
