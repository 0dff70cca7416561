"""Learners. Nothing here knows what an environment is about.

The names below are imported when first asked for, so that settings can be read without waiting for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agent import Agent
    from .clone import Clone, CloneConfig
    from .demonstrations.demonstrations import Demonstrations, Episode
    from .demonstrations.recording import record
    from .ppo import PPO, PPOConfig
    from .training.callbacks import AdaptiveKL, Callback, Evaluate, Save, StopAfter, StopAtReturn
    from .training.evaluation import Scores, evaluate

_MODULES = {
    "PPO": "ppo",
    "AdaptiveKL": "training.callbacks",
    "Agent": "agent",
    "Callback": "training.callbacks",
    "Clone": "clone",
    "CloneConfig": "clone",
    "Demonstrations": "demonstrations.demonstrations",
    "Episode": "demonstrations.demonstrations",
    "Evaluate": "training.callbacks",
    "PPOConfig": "ppo",
    "Save": "training.callbacks",
    "Scores": "training.evaluation",
    "StopAfter": "training.callbacks",
    "StopAtReturn": "training.callbacks",
    "evaluate": "training.evaluation",
    "record": "demonstrations.recording",
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
