"""What an agent did on the same few tasks over time: `samples.jsonl`, and a table in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .jsonl import read_jsonl, write_jsonl
from .progress import rounded

SPOKEN = ("prompt", "response")
Sample = dict[str, Any]  # words and numbers by name


class SampleLog:
    """Appends samples to a run folder; opened at a step, it first drops all after that step."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.path = folder / "samples.jsonl"
        self.rows = [row for row in read_samples(self.path) if row["step"] <= step] if self.path.exists() else []

    def add(self, step: int, samples: Sequence[Sample]) -> None:
        """Write what was done at a step; a file is there whole or as it was."""
        self.rows += [{"step": step, **sample} for sample in samples]
        write_jsonl(self.path, self.rows)

    def has(self, step: int) -> bool:
        """Whether there are samples of that step."""
        return any(row["step"] == step for row in self.rows)


def read_samples(path: str | Path) -> list[Sample]:
    """Read a `samples.jsonl`."""
    rows = [row for _, row in read_jsonl(path, expected="a sample a line, as a run writes them")]
    return [row for row in rows if isinstance(row, dict) and "step" in row]


def table(samples: Sequence[Mapping[str, Any]]) -> str:
    """Samples as a Markdown table, one a row."""
    names = list(dict.fromkeys(name for sample in samples for name in sample))
    lines = ["| " + " | ".join(names) + " |", "| " + " | ".join("---" for _ in names) + " |"]
    lines += ["| " + " | ".join(_cell(sample.get(name, "")) for name in names) + " |" for sample in samples]
    return "\n".join(lines)


def in_a_line(sample: Mapping[str, Any]) -> str:
    """A sample's words, and after them its numbers."""
    words = " ".join(value.strip() for name, value in sample.items() if isinstance(value, str) and name in SPOKEN)
    told = [f"{name} {rounded(sample[name])}" for name in ("score", "gold", "kl") if name in sample]
    return f"{words}  [{', '.join(told)}]" if told else words


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return rounded(value)
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")
