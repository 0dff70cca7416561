"""Runs that are interrupted or killed, and comparing their results."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from textrlhf.agents import Callback
from textrlhf.records.metrics import read_metrics


class Interrupt(Callback):
    """Raises KeyboardInterrupt at the n-th update."""

    def __init__(self, update: int) -> None:
        self.update = update

    def on_update(self, agent, metrics) -> bool:
        if agent.n_updates == self.update:
            raise KeyboardInterrupt
        return True


def killed(script: str, run: Path, where: str, at: int) -> None:
    """Run a script that kills itself at a given point."""
    child = subprocess.run(
        [sys.executable, script, run, where, str(at)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr


def final_bytes(run: Path) -> tuple[bytes, bytes]:
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    return (last / "model.safetensors").read_bytes(), (last / "optimizer.safetensors").read_bytes()


def learned_rows(run: Path) -> list[dict[str, float]]:
    """The metrics without times."""
    rows = read_metrics(run / "metrics.jsonl")
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in rows]
