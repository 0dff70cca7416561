"""The language model that a command's argument names."""

from __future__ import annotations

from pathlib import Path

from ..console.checks import existing_folder
from ..console.errors import UserError


def language_model_of(run: str) -> Path:
    """The language model's folder of a run."""
    folder = existing_folder(run) / "model"
    if not folder.is_dir():
        raise UserError(
            f"{run} has no language model: a run on a text environment saves one with its first checkpoint "
            "(textrlhf train --env TextRLHF-v0 --run DIR); or name a model"
        )
    return folder


def language_model_named(name: str) -> str | Path:
    """A model's name, or the folder of a run's language model."""
    return language_model_of(name) if (Path(name) / "metrics.jsonl").is_file() else name
