"""Reward models and reward functions: learned from judgements, combined, evaluated. Independent of environments.

The names below are imported on first use, so that importing this package does not wait for torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..records.lazy import lazily

if TYPE_CHECKING:  # for type checkers and editors
    from .best_of_n import best_of as best_of
    from .best_of_n import best_of_kl as best_of_kl
    from .best_of_n import expected_best as expected_best
    from .composite import AtLeast as AtLeast
    from .composite import AtMost as AtMost
    from .composite import Composite as Composite
    from .ensemble import Ensemble as Ensemble
    from .evaluation.evaluate import evaluate as evaluate
    from .feedback import Labelled as Labelled
    from .feedback import Ranked as Ranked
    from .feedback import Rated as Rated
    from .feedback import SimulatedAnnotator as SimulatedAnnotator
    from .feedback import Tied as Tied
    from .feedback import import_judgements as import_judgements
    from .feedback import read_judgements as read_judgements
    from .feedback import write_judgements as write_judgements
    from .loading import load_reward_model as load_reward_model
    from .reward_function import RewardFunction as RewardFunction
    from .reward_function import RewardFunctionError as RewardFunctionError
    from .reward_function import call_reward as call_reward
    from .text.reward_model import RewardModel as RewardModel
    from .training.distill import distill as distill
    from .training.pretrain import pretrain_on_halves as pretrain_on_halves
    from .training.train_config import TrainConfig as TrainConfig
    from .training.train_reward_model import train_reward_model as train_reward_model
    from .training.trainer import train as train

_FEEDBACK = ("Labelled", "Ranked", "Rated", "SimulatedAnnotator", "Tied", "import_judgements")
_MODULES = {
    **dict.fromkeys(("best_of", "best_of_kl", "expected_best"), "best_of_n"),
    **dict.fromkeys(("AtLeast", "AtMost", "Composite"), "composite"),
    **dict.fromkeys((*_FEEDBACK, "read_judgements", "write_judgements"), "feedback"),
    **dict.fromkeys(("RewardFunction", "RewardFunctionError", "call_reward"), "reward_function"),
    "TrainConfig": "training.train_config",
    "train": "training.trainer",
    "Ensemble": "ensemble",
    "RewardModel": "text.reward_model",
    "distill": "training.distill",
    "evaluate": "evaluation.evaluate",
    "load_reward_model": "loading",
    "pretrain_on_halves": "training.pretrain",
    "train_reward_model": "training.train_reward_model",
}
if not TYPE_CHECKING:  # type checkers see the names imported above
    __all__ = [*sorted(_MODULES)]  # noqa: PLE0604

__getattr__ = lazily(__name__, _MODULES)
