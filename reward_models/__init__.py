"""Reward models and reward functions: learned from judgements, combined, evaluated. Independent of environments.

The names below are imported on first use, so that importing this package does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .best_of_n import best_of, best_of_kl, expected_best
    from .composite import AtLeast, AtMost, Composite
    from .ensemble import Ensemble
    from .evaluation.evaluate import evaluate
    from .feedback import Labelled, Ranked, Rated, SimulatedAnnotator, read_judgements, write_judgements
    from .loading import load_reward_model
    from .reward_function import RewardFunction, RewardFunctionError, call_reward
    from .text.reward_model import RewardModel
    from .training.distill import distill
    from .training.pretrain import pretrain_on_halves
    from .training.train_reward_model import train_reward_model
    from .training.trainer import TrainConfig, train

_MODULES = {
    "best_of_n": ("best_of", "best_of_kl", "expected_best"),
    "composite": ("AtLeast", "AtMost", "Composite"),
    "ensemble": ("Ensemble",),
    "evaluation.evaluate": ("evaluate",),
    "feedback": ("Labelled", "Ranked", "Rated", "SimulatedAnnotator", "read_judgements", "write_judgements"),
    "loading": ("load_reward_model",),
    "reward_function": ("RewardFunction", "RewardFunctionError", "call_reward"),
    "text.reward_model": ("RewardModel",),
    "training.distill": ("distill",),
    "training.pretrain": ("pretrain_on_halves",),
    "training.trainer": ("TrainConfig", "train"),
    "training.train_reward_model": ("train_reward_model",),
}
__all__ = [
    "AtLeast",
    "AtMost",
    "Composite",
    "Ensemble",
    "Labelled",
    "Ranked",
    "Rated",
    "RewardFunction",
    "RewardFunctionError",
    "RewardModel",
    "SimulatedAnnotator",
    "TrainConfig",
    "best_of",
    "best_of_kl",
    "call_reward",
    "distill",
    "evaluate",
    "expected_best",
    "load_reward_model",
    "pretrain_on_halves",
    "read_judgements",
    "train",
    "train_reward_model",
    "write_judgements",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
