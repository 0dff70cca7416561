"""What is no language model, though its weights would load as one with a head that was never trained to write."""

from __future__ import annotations

import os
from typing import Any

REWARD_MODEL = "textrlhf"  # the key in a config.json under which a reward model saved here has its settings
REWARD_MODEL_FOLDER, ENSEMBLE = "reward_model", "ensemble.json"  # of a reward model's run; of several reward models
CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification")


def why_not_a_config(config: Any) -> str | None:
    """What a model is by its Hugging Face config, if it is no language model."""
    if getattr(config, REWARD_MODEL, None) is not None:
        return f"a reward model, which scores texts and writes none: {_REMEDY}"
    made_as = (getattr(config, "architectures", None) or [""])[0]
    if made_as.endswith(CLASSIFIERS):
        return f"a classifier ({made_as}), as reward models are, which writes no text: {_REMEDY}"
    return None


def why_not_a_folder(folder: str) -> str | None:
    """What a folder holds, if it is an ensemble or a run of reward models."""
    if os.path.isfile(os.path.join(folder, ENSEMBLE)):
        return f"an ensemble of reward models, which score texts and write none: {_REMEDY}"
    if all(os.path.exists(os.path.join(folder, name)) for name in ("metrics.jsonl", REWARD_MODEL_FOLDER)):
        return f"the run of a reward model, which scores texts and writes none: {_REMEDY}"
    return None


_REMEDY = "name it as the reward model (reward_model=, --reward-model), and a language model here"
