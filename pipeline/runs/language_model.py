"""The language model that a command's argument names."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ...records.hub import is_id
from ...records.run import Run
from ..console.checks import existing_folder
from ..console.errors import UserError
from .run_folder import holds_reward_model, holds_run

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")  # of the hub's oldest models, such as gpt2


def language_model_of(run: str) -> Path:
    """The language model's folder of a run."""
    place = existing_folder(run)
    folder = place / "model"
    if folder.is_dir():
        return folder
    if holds_reward_model(place):
        raise UserError(
            f"{run} is the run of a reward model, which scores texts and writes none: `textrlhf reward score {run} "
            "--prompt TEXT --response TEXT` scores one; to write, name a language model or a run of `textrlhf train`"
        )
    if empty := Run(place).why_empty():
        raise UserError(empty)
    if holds_run(place):
        raise UserError(
            f"{run} has no language model yet: a run on a text environment writes one when it ends or is "
            f"interrupted; finish it with `textrlhf resume {run}`"
        )
    raise UserError(
        f"{run} has no language model: train one (textrlhf train --env TextRLHF-v0 --run DIR), or name one with --model"
    )


def language_model_named(name: str) -> str | Path:
    """A model's name, or the folder of a run's language model; what there is no folder of is said to be the hub's."""
    from ...language.causal_lm import shipped

    place = Path(name).expanduser()
    if (place / "metrics.jsonl").is_file() or (place.is_dir() and holds_reward_model(place)):
        return language_model_of(name)
    if place.exists() or name in shipped():
        return name
    if name.startswith("runs/") or not (is_id(name) or HUB_NAME.fullmatch(name)):  # runs are there by default
        existing_folder(name)
    print(f"textrlhf: there is no folder {name}, so it is looked for on the Hugging Face hub", file=sys.stderr)
    return name
