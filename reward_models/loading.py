"""Loading reward models by name, whatever they are."""

from __future__ import annotations

import os
from pathlib import Path

from ..language.causal_lm import pick_device
from .ensemble import Ensemble
from .text.cache import cached
from .text.config import ENSEMBLE_FILE
from .text.folder import find_reward_model
from .text.reward_model import RewardModel, load_cached


def load_reward_model(name: str | os.PathLike[str], device: str = "auto") -> RewardModel | Ensemble:
    """Load a reward model, once per process: a shipped one, a folder, a run, an ensemble, or a classifier's hub id."""
    place = find_reward_model(name)
    if (Path(place) / ENSEMBLE_FILE).is_file():
        device = str(pick_device(device))
        return cached(
            place, (device,), lambda: Ensemble.load(place, lambda folder: RewardModel.load(folder, device=device))
        )
    return load_cached(place, device, {})
