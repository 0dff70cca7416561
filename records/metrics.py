"""Metrics: rows of `metrics.jsonl`, and the same numbers in TensorBoard."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from .folder import file_named, write_file

Row = dict[str, float]


class MetricLog:
    """Appends rows to a run folder; rows after the `step` it is opened at are dropped.

    So a resumed run ends with the same file as an uninterrupted one.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / "metrics.jsonl"
        if self.path.exists():
            rows = [row for row in read_metrics(self.path) if row["step"] <= step]
            write_file(self.path, "".join(json.dumps(row) + "\n" for row in rows))
        self._stream: IO[str] = self.path.open("a")
        self._board = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add one row."""
        row: dict[str, Any] = {"step": step}
        for name, value in metrics.items():
            value = float(value)  # also of NumPy's types
            row[name] = value if math.isfinite(value) else None
            self._board.add_scalar(name, value, step)
        with file_named(self.path):
            self._stream.write(json.dumps(row) + "\n")
            self._stream.flush()

    def write_text(self, step: int, name: str, markdown: str) -> None:
        """Show a text in TensorBoard."""
        self._board.add_text(name, markdown, step)

    def close(self) -> None:
        """Flush and close both files."""
        with file_named(self.path), contextlib.closing(self._board):
            self._stream.close()


def read_metrics(path: str | Path) -> list[Row]:
    """Read the rows of a `metrics.jsonl`; an incomplete last line is ignored."""
    rows: list[Row] = []
    lines = Path(path).read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and "step" in row:
            rows.append(row)
        elif number < len(lines):
            raise ValueError(f"{path}, line {number}: not a JSON object with a step: {line[:60]!r}")
    return rows
