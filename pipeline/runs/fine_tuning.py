"""The environment of supervised fine-tuning: it needs no reward model, and samples continue the user's prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def fine_tuning(agent: str, env: str, env_kwargs: Mapping[str, Any], demonstrations: str | None) -> dict[str, Any]:
    """Return the arguments of a text environment, completed where `Clone` gets a model or prompts of the user's."""
    own = {"model", "prompts"} & set(env_kwargs) and not {"task", "reward_model"} & set(env_kwargs)
    if agent != "clone" or env.rpartition(":")[2] != "TextRLHF-v0" or not own:
        return dict(env_kwargs)
    more = {"reward_model": "none"}
    if "prompts" not in env_kwargs and str(demonstrations).endswith(".jsonl"):
        more |= {"prompts": str(demonstrations), "prompt_overflow": "drop"}
    return {**more, **env_kwargs}
