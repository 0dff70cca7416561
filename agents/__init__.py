"""Agents: reinforcement learning and imitation in any Gymnasium environment, control or text.

Names are imported on first use, so that reading hyperparameters does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..records.lazy import lazily
from .settings.registry import AGENTS

if TYPE_CHECKING:  # for type checkers and editors; a test compares it with the registry
    from .agent import Agent as Agent
    from .clone import Clone as Clone
    from .clone import CloneConfig as CloneConfig
    from .demonstrations.demonstrations import Demonstrations as Demonstrations
    from .demonstrations.demonstrations import Episode as Episode
    from .demonstrations.recording import record as record
    from .ppo import PPO as PPO
    from .ppo import PPOConfig as PPOConfig
    from .reinforce import REINFORCE as REINFORCE
    from .reinforce import REINFORCEConfig as REINFORCEConfig
    from .training.callbacks import AdaptiveKL as AdaptiveKL
    from .training.callbacks import Evaluate as Evaluate
    from .training.callbacks import Save as Save
    from .training.callbacks import StopAfter as StopAfter
    from .training.callbacks import StopAtReturn as StopAtReturn
    from .training.evaluation import Scores as Scores
    from .training.evaluation import evaluate as evaluate
    from .training.learner import Callback as Callback
    from .training.warn import Warn as Warn

_MODULES = {
    **{name: module for module, cls in AGENTS.values() for name in (cls, f"{cls}Config")},
    **dict.fromkeys(("AdaptiveKL", "Evaluate", "Save", "StopAfter", "StopAtReturn"), "training.callbacks"),
    "Agent": "agent",
    "Callback": "training.learner",
    "Demonstrations": "demonstrations.demonstrations",
    "Episode": "demonstrations.demonstrations",
    "Scores": "training.evaluation",
    "Warn": "training.warn",
    "evaluate": "training.evaluation",
    "record": "demonstrations.recording",
}
if not TYPE_CHECKING:  # type checkers see the names imported above
    __all__ = [*sorted(_MODULES)]  # noqa: PLE0604

__getattr__ = lazily(__name__, _MODULES)
