"""The folder of a training run, of an agent or a model.

config.json      the agent or model, its hyperparameters, its environment
metrics.jsonl    metrics by step, beside TensorBoard's event files
samples.jsonl    sample texts on the same prompts over time
checkpoints/     step-…, the last two; training resumes from the last intact one
curves.png       the learning curves
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from .folder import write_file
from .metrics import MetricLog
from .samples import SampleLog

log = logging.getLogger("textrlhf")
KEEP = 2  # checkpoints on disk


class DivergedError(FloatingPointError):
    """A loss, gradient or weight became NaN or infinite."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: training stopped, checkpoints on disk are from before. Lower learning_rate or max_grad_norm, or "
            "normalize inputs and rewards"
        )


class Run:
    """The folder of one training run."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def refuse_beyond(self, step: int) -> None:
        """Raise FileExistsError if the folder has checkpoints of later steps, that is of another run."""
        for there in self.steps():
            if there > step:
                raise FileExistsError(
                    f"run={str(self.path)!r} already holds a run at step {there:,}: resume it, choose another folder, "
                    "or delete it"
                )

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write `config.json`."""
        write_file(self.path / "config.json", json.dumps(config, indent=1))

    def metrics(self, step: int) -> MetricLog:
        """Open the metrics; rows after `step` are dropped."""
        return MetricLog(self.path, step)

    def samples(self, step: int) -> SampleLog:
        """Open the samples; rows after `step` are dropped."""
        return SampleLog(self.path, step)

    def checkpoint_path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.path / "checkpoints" / f"step-{step:010d}"

    def steps(self) -> list[int]:
        """The steps with checkpoints, in order."""
        return sorted(int(path.name.removeprefix("step-")) for path in (self.path / "checkpoints").glob("step-*"))

    def save(self, step: int, state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Write a checkpoint, and delete all but the last two."""
        save_checkpoint(self.checkpoint_path(step), state, tensors)
        for old in self.steps()[:-KEEP]:
            shutil.rmtree(self.checkpoint_path(old))

    def last_checkpoint(self) -> Checkpoint:
        """Read the last intact checkpoint."""
        steps = self.steps()
        if not steps:
            raise CheckpointError(f"no checkpoint in {self.path}: expected the folder of a run")
        for step in reversed(steps[1:]):
            try:
                return load_checkpoint(self.checkpoint_path(step))
            except CheckpointError as error:
                log.warning("%s; falling back to the previous one", error)
        return load_checkpoint(self.checkpoint_path(steps[0]))
