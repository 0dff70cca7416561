"""The checkpoints of a run: one folder a step, the newest two kept, the newest whole one resumed from."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

from .checkpoint import Checkpoint, CheckpointError, load_checkpoint

log = logging.getLogger("textrlhf")
KEEP = 2  # on disk


def checkpoint_path(run: str | os.PathLike[str], step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return Path(run) / "checkpoints" / f"step-{step:010d}"


def checkpoint_steps(run: str | os.PathLike[str]) -> list[int]:
    """Return the steps of which there are checkpoints, in order."""
    return sorted(int(path.name.removeprefix("step-")) for path in (Path(run) / "checkpoints").glob("step-*"))


def last_checkpoint(run: str | os.PathLike[str]) -> Checkpoint:
    """Read the newest checkpoint of a run that is whole."""
    steps = checkpoint_steps(run)
    if not steps:
        raise CheckpointError(f"no checkpoint in {run}: expected a folder that a run with checkpoints has filled")
    for step in reversed(steps[1:]):
        try:
            return load_checkpoint(checkpoint_path(run, step))
        except CheckpointError as error:
            log.warning("%s; going back to the one before", error)
    return load_checkpoint(checkpoint_path(run, steps[0]))


def prune(run: str | os.PathLike[str]) -> None:
    """Delete all but the newest checkpoints."""
    for step in checkpoint_steps(run)[:-KEEP]:
        shutil.rmtree(checkpoint_path(run, step))
