"""Judges: what a text is worth, by rule, by a learned model, or by several of either. Nothing here knows of a world.

The names below are imported when first asked for, so that settings can be read without waiting for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .best_of_n import best_of, best_of_kl, expected_best
    from .composite import AtLeast, AtMost, Composite
    from .distilling import distilled
    from .ensemble import Ensemble
    from .evaluation import evaluate
    from .feedback import Labelled, Ranked, Rated, SimulatedAnnotator, read_judgements, write_judgements
    from .halves import practised
    from .judge import Judge, JudgeError, judged
    from .reward_model import RewardModel, load_judge
    from .training import TrainConfig, train

_MODULES = {
    "AtLeast": "composite",
    "AtMost": "composite",
    "Composite": "composite",
    "Ensemble": "ensemble",
    "Judge": "judge",
    "JudgeError": "judge",
    "Labelled": "feedback",
    "Ranked": "feedback",
    "Rated": "feedback",
    "RewardModel": "reward_model",
    "SimulatedAnnotator": "feedback",
    "TrainConfig": "training",
    "best_of": "best_of_n",
    "best_of_kl": "best_of_n",
    "distilled": "distilling",
    "evaluate": "evaluation",
    "expected_best": "best_of_n",
    "judged": "judge",
    "load_judge": "reward_model",
    "practised": "halves",
    "read_judgements": "feedback",
    "train": "training",
    "write_judgements": "feedback",
}
__all__ = [
    "AtLeast",
    "AtMost",
    "Composite",
    "Ensemble",
    "Judge",
    "JudgeError",
    "Labelled",
    "Ranked",
    "Rated",
    "RewardModel",
    "SimulatedAnnotator",
    "TrainConfig",
    "best_of",
    "best_of_kl",
    "distilled",
    "evaluate",
    "expected_best",
    "judged",
    "load_judge",
    "practised",
    "read_judgements",
    "train",
    "write_judgements",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
