"""Sides of a comparison: processes, each in an environment of its own, that learn an update at a time when asked to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Worker:
    """One side, seen from whoever compares. The script in it answers by `Turns`."""

    def __init__(self, python: str, script: str, given: dict) -> None:
        folder = given["folder"]
        quiet = {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "TOKENIZERS_PARALLELISM": "false"}
        threads = {"OMP_NUM_THREADS": str(given["threads"]), "HF_HOME": folder}
        handle, words_path = tempfile.mkstemp(dir=folder, suffix=".words")
        self.words = Path(words_path)
        with open(handle, "w") as words:
            self.process = subprocess.Popen(
                [python, HERE / script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
                env={**os.environ, **quiet, **threads},
            )
        self.about = self.turn(given)

    def turn(self, say: object = "go on") -> dict:
        """An update, or the beginning."""
        try:
            self.process.stdin.write(json.dumps(say) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            self.process.wait()
            sys.exit(f"a side ended; are the environments made as --help says?\n{self.words.read_text()[-4000:]}")

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def in_turn(workers: dict[str, Worker], repetitions: int, show: str | None) -> tuple[list[dict], dict[str, int]]:
    """An update of each side, uncounted, then so many of each in turn: what they took, and each side's peak in MiB."""
    peak = {name: worker.turn()["mib"] for name, worker in workers.items()}
    rows: list[dict] = []
    for _ in range(repetitions):
        rows.append({name: worker.turn() for name, worker in workers.items()})
        peak |= {name: one["mib"] for name, one in rows[-1].items()}
        if show:
            print(show, json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows, peak
