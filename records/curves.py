"""The pictures of a run, drawn from its `metrics.jsonl` alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .metrics import Row, read_metrics
from .plots import BLUE, FEW, RED, label, picture, smooth, thousands, trajectory

Line = tuple[list[float], list[float]]
SCORES = {"score": "rollout/score", "true score": "rollout/gold"}
PANELS: tuple[tuple[str, dict[str, str]], ...] = (
    ("episode return", {"training": "rollout/return", "evaluation": "evaluation/return"}),
    ("score", SCORES),
    ("KL to the reference model", {"": "rollout/kl"}),
    ("episode length", {"": "rollout/length"}),
    ("explained variance", {"": "train/explained_variance"}),
    ("entropy", {"": "train/entropy"}),
    ("KL of an update", {"": "train/approx_kl"}),
    ("clip fraction", {"": "train/clip_fraction"}),
    ("loss", {"training": "train/loss", "held out": "heldout/loss"}),
)
ACROSS = 3


def draw_curves(folder: str | Path, title: str = "") -> Path:
    """Draw `curves.png` into a run folder, one panel per metric that it has, and return its path."""
    folder = Path(folder)
    rows = read_metrics(folder / "metrics.jsonl")
    panels = [(name, found) for name, lines in PANELS if (found := _lines(rows, lines))]
    down = max(-(-len(panels) // ACROSS), 1)

    def draw(figure: Any) -> None:
        for axes in (grid := figure.subplots(down, ACROSS, squeeze=False).flat)[len(panels) :]:
            axes.set_axis_off()
        for axes, (name, lines) in zip(grid, panels, strict=False):
            axes.set(title=name, xlabel="steps")
            highest = max(lines, key=lambda words: smooth(lines[words][1])[-1])
            for (words, (steps, values)), color in zip(lines.items(), (BLUE, RED), strict=False):
                axes.plot(steps, values, color=color, lw=1, alpha=0.35)
                axes.plot(steps, line := smooth(values), color=color, marker="o" if len(steps) < FEW else None, ms=5)
                text, va = f"{line[-1]:.3g}", "bottom" if words == highest else "top"
                where = {"text": text} if len(lines) == 1 else {"text": f"{words}\n{text}", "va": va}
                label(axes, steps[-1], line[-1], color=color, **where)
            if name == "explained variance":
                axes.set_ylim(-1, 1.05)  # one bad update reaches −10 and would flatten the rest
            thousands(axes.xaxis)

    return picture(folder / "curves.png", draw, (4 * ACROSS, 0.6 + 2.9 * down), title or folder.name)


def draw_frontier(folder: str | Path, title: str = "") -> Path | None:
    """Draw `frontier.png`, the score over the KL it cost; None where a run has no KL to a reference model."""
    folder = Path(folder)
    panels = _lines(read_metrics(folder / "metrics.jsonl"), SCORES, over="rollout/kl")
    if not panels:
        return None

    def draw(figure: Any) -> None:
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (name, line), color in zip(grid, panels.items(), (BLUE, RED), strict=False):
            start, end = trajectory(axes, *line, color)
            axes.set(title=f"{name}: {start:.2f} → {end:.2f}", xlabel="KL to the reference model (nats per text)")

    note = "Means over the last 100 texts. Open circle: start, filled circle: end."
    return picture(folder / "frontier.png", draw, (5.5 * len(panels), 4.5), title or folder.name, note)


def _lines(rows: Sequence[Row], names: dict[str, str], over: str = "step") -> dict[str, Line]:
    """The lines that have values, by their labels; where two are equal, only the first."""
    found: dict[str, Line] = {}
    for words, name in names.items():
        known = [row for row in rows if row.get(name) is not None and row.get(over) is not None]
        line = [row[over] for row in known], [row[name] for row in known]
        if known and line not in found.values():
            found[words] = line
    return found
