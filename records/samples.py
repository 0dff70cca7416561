"""Sample texts over training: `samples.jsonl`, and a table in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .jsonl import read_jsonl, write_jsonl
from .progress import rounded

Sample = dict[str, Any]  # texts and numbers by name


class SampleLog:
    """Appends samples to a run folder; those after the `step` it is opened at are dropped."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.path = folder / "samples.jsonl"
        self.rows = [row for row in read_samples(self.path) if row["step"] <= step] if self.path.exists() else []

    def add(self, step: int, samples: Sequence[Sample]) -> None:
        """Add the samples of a step."""
        self.rows += [{"step": step, **sample} for sample in samples]
        write_jsonl(self.path, self.rows)

    def has(self, step: int) -> bool:
        """Whether there are samples of that step."""
        return any(row["step"] == step for row in self.rows)


def read_samples(path: str | Path) -> list[Sample]:
    """Read a `samples.jsonl`."""
    rows = [row for _, row in read_jsonl(path, expected="one sample per line, as a run writes them")]
    return [row for row in rows if isinstance(row, dict) and "step" in row]


def markdown_table(samples: Sequence[Mapping[str, Any]]) -> str:
    """Samples as the rows of a Markdown table."""
    names = list(dict.fromkeys(name for sample in samples for name in sample))
    lines = ["| " + " | ".join(names) + " |", "| " + " | ".join("---" for _ in names) + " |"]
    lines += ["| " + " | ".join(_cell(sample.get(name, "")) for name in names) + " |" for sample in samples]
    return "\n".join(lines)


def one_line(sample: Mapping[str, Any]) -> str:
    """A sample's prompt and response, then its scores."""
    text = " ".join(sample[name].strip() for name in ("prompt", "response") if isinstance(sample.get(name), str))
    scores = [f"{name} {rounded(sample[name])}" for name in ("score", "gold", "kl") if name in sample]
    return f"{text}  [{', '.join(scores)}]" if scores else text


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return rounded(value)
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", "<br>")
