"""Reward models: what a text is worth, by rule, by a learned model, or by several of either. Nothing here knows of a
environment.

The names below are imported when first asked for, so that settings can be read without waiting for torch.
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
    from .reward_function import RewardFunction, RewardFunctionError, call_reward
    from .text.reward_model import RewardModel, load_reward_model
    from .training.distill import distill
    from .training.pretrain import pretrain_on_halves
    from .training.train import TrainConfig, train

_MODULES = {
    "AtLeast": "composite",
    "AtMost": "composite",
    "Composite": "composite",
    "Ensemble": "ensemble",
    "RewardFunction": "reward_function",
    "RewardFunctionError": "reward_function",
    "Labelled": "feedback",
    "Ranked": "feedback",
    "Rated": "feedback",
    "RewardModel": "text.reward_model",
    "SimulatedAnnotator": "feedback",
    "TrainConfig": "training.train",
    "best_of": "best_of_n",
    "best_of_kl": "best_of_n",
    "distill": "training.distill",
    "evaluate": "evaluation.evaluate",
    "expected_best": "best_of_n",
    "call_reward": "reward_function",
    "load_reward_model": "text.reward_model",
    "pretrain_on_halves": "training.pretrain",
    "read_judgements": "feedback",
    "train": "training.train",
    "write_judgements": "feedback",
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
    "write_judgements",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
