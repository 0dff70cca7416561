"""The environment of supervised fine-tuning: it needs no reward model, and samples continue the user's prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...language.conversation import WHOLE
from ...records.jsonl import DataError
from ...records.rows import read_rows
from ..console.errors import UserError

PROMPTS = ("prompt", *WHOLE)  # the fields of a row that a sample can continue


def fine_tuning(agent: str, env: str, env_kwargs: Mapping[str, Any], demonstrations: str | None) -> dict[str, Any]:
    """Return the arguments of a text environment, completed where `Clone` gets a model or prompts of the user's."""
    own = {"model", "prompts"} & set(env_kwargs) and not {"task", "reward_model"} & set(env_kwargs)
    if agent != "clone" or env.rpartition(":")[2] != "TextRLHF-v0" or not own:
        return dict(env_kwargs)
    more = {"reward_model": "none"}
    if "prompts" not in env_kwargs and not str(demonstrations).endswith(".npz"):
        _check_prompts(str(demonstrations))
        more |= {"prompts": str(demonstrations), "prompt_overflow": "drop"}
    return {**more, **env_kwargs}


def _check_prompts(demonstrations: str) -> None:
    """Refuse rows without prompts; what else may be wrong with the file is told by those that read it."""
    try:
        rows = read_rows(demonstrations)
    except DataError:
        return
    for place, row in rows:
        if isinstance(row, Mapping) and all(row.get(key) is None for key in PROMPTS):
            raise UserError(
                f"{place}: the row has no prompt that samples could continue: name some with --prompts FILE, "
                'such as {"prompt": "The film"}'
            )
