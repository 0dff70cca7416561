"""The language model that a command's argument names."""

from __future__ import annotations

from pathlib import Path

from ..console.checks import existing_folder
from ..console.errors import UserError
from .run_folder import holds_run


def language_model_of(run: str) -> Path:
    """The language model's folder of a run."""
    folder = existing_folder(run) / "model"
    if not folder.is_dir():
        from ...records.run import Run

        if empty := Run(folder.parent).why_empty():
            raise UserError(empty)
        if holds_run(folder.parent):
            raise UserError(
                f"{run} has no language model yet: a run on a text environment writes one when it ends or is "
                f"interrupted; finish it with `textrlhf resume {run}`"
            )
        raise UserError(
            f"{run} has no language model: train one (textrlhf train --env TextRLHF-v0 --run DIR), or name one with "
            "--model"
        )
    return folder


def language_model_named(name: str) -> str | Path:
    """A model's name, or the folder of a run's language model."""
    return language_model_of(name) if (Path(name) / "metrics.jsonl").is_file() else name
