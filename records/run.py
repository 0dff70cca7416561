"""The folder of a training run, of an agent or a model.

config.json      the agent or model, its hyperparameters, its environment
metrics.jsonl    metrics by step, beside TensorBoard's event files
samples.jsonl    sample texts on the same prompts over time
checkpoints/     step-…, the last two; training resumes from the last intact one
curves.png       the learning curves
.lock            held by the process that trains there

A folder belongs to one run: nothing of another one is overwritten.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from .checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from .folder import write_file
from .jsonl import shortened
from .lock import locked
from .metrics import MetricLog, read_metrics
from .samples import SampleLog

log = logging.getLogger("textrlhf")
LOCK = ".lock"
KEEP = 2  # scheduled checkpoints on disk
MODEL = {"trains": "model"}  # in the config of a run that trains no agent
IDENTITY = ("trains", "agent", "class", "env")  # entries of a config that are the same for the whole run


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
        self._locked = False

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Run:
        """The run at a path, or the run itself."""
        return path if isinstance(path, Run) else cls(path)

    def __fspath__(self) -> str:
        return str(self.path)

    @contextlib.contextmanager
    def writing(self, *, existing: bool = False) -> Iterator[Self]:
        """Make the folder and keep all others from training there; FileExistsError if one does already.

        With `existing` it must have checkpoints. May be nested on the same object.
        """
        if self._locked:
            yield self
            return
        if existing and not self.steps():
            raise self._no_checkpoint()
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"run={str(self.path)!r} is a file: name a folder")
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path / LOCK, f"run={str(self.path)!r}"):
            self._locked = True
            try:
                yield self
            finally:
                self._locked = False

    def refuse_another(self, config: Mapping[str, Any], there: Mapping[str, Any] | None = None) -> None:
        """Raise FileExistsError if the folder holds something other than a run with this config.

        What it holds is read from its `config.json`, if it is not given as `there`.
        """
        file, where = self.path / "config.json", f"run={str(self.path)!r}"
        if (self.path / "state.json").is_file():
            raise FileExistsError(f"{where} is a saved agent, not a run: choose another folder")
        if there is None:
            if not file.is_file():
                return
            try:
                there = dict(json.loads(file.read_text()))
            except (ValueError, TypeError):
                raise FileExistsError(f"{where} has a config.json that is no run's: choose another folder") from None
        for name in IDENTITY:
            if there.get(name) != config.get(name):
                one, other = (shortened(some.get(name)) for some in (there, config))
                raise FileExistsError(
                    f"{where} already holds a run of something else ({name}: {one}, here {other}): choose another "
                    "folder, or delete it"
                )

    def has_checkpoints(self) -> bool:
        """Whether there are checkpoints in it, or in the folders of an ensemble's members."""
        return bool(self.steps()) or any(self.path.glob("member-*/checkpoints/step-*"))

    def refuse_checkpoints(self) -> None:
        """Raise FileExistsError if the folder has checkpoints."""
        if steps := self.steps():
            raise FileExistsError(
                f"run={str(self.path)!r} already holds a run at step {steps[-1]:,}: resume it, choose another folder, "
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
        """Write a checkpoint, and delete all others but the last two, not counting "interrupted" ones."""
        save_checkpoint(self.checkpoint_path(step), state, tensors)
        scheduled = [there for there in self.steps() if not self._interrupted(there)]
        for old in set(self.steps()) - {step, *scheduled[-KEEP:]}:
            shutil.rmtree(self.checkpoint_path(old))

    def _interrupted(self, step: int) -> bool:
        try:
            return bool(json.loads((self.checkpoint_path(step) / "state.json").read_text()).get("interrupted"))
        except (OSError, ValueError, AttributeError):  # damaged
            return False

    def last_checkpoint(self) -> Checkpoint:
        """Read the last intact checkpoint."""
        steps = self.steps()
        if not steps:
            raise self._no_checkpoint()
        for step in reversed(steps[1:]):
            try:
                return load_checkpoint(self.checkpoint_path(step))
            except CheckpointError as error:
                log.warning("%s; falling back to the previous one", error)
        return load_checkpoint(self.checkpoint_path(steps[0]))

    def _no_checkpoint(self) -> CheckpointError:
        return CheckpointError(self.why_empty() or f"no checkpoint in {self.path}: expected the folder of a run")

    def why_empty(self) -> str | None:
        """Of an agent's run that has no checkpoint yet, or was killed before it, the error message; else None."""
        try:
            config = dict(json.loads((self.path / "config.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None
        if "agent" not in config or self.steps() or (self.path / "state.json").exists():
            return None
        rows = read_metrics(file) if (file := self.path / "metrics.jsonl").is_file() else []
        reached, plan = int(rows[-1]["step"]) if rows else 0, config.get("plan") or {}
        first = min(plan["start"] + plan["every"], plan["end"]) if plan else reached
        again = "If it was killed, start it again as before, in the same folder"
        if reached < first:
            return (
                f"{self.path} has no checkpoint yet: the first is due at step {first:,}, and its metrics end at step "
                f"{reached:,}. {again}; checkpoint_every=N (--checkpoint-every N) has the first earlier"
            )
        return (
            f"{self.path} has no checkpoint yet, though its metrics end at step {reached:,}: they are saved where that "
            f"takes at most 5% of the time, the first after ten minutes at the latest. {again}"
        )
