"""The learning curve of a run, drawn from its `metrics.jsonl` alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .folder import write_file
from .metrics import Row, read_metrics

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

PANELS = (
    ("episode return", ("rollout/return", "evaluation/return")),
    ("score", ("rollout/score", "rollout/gold")),
    ("KL to the reference", ("rollout/kl",)),
    ("episode length", ("rollout/length",)),
    ("explained variance", ("train/explained_variance",)),
    ("entropy", ("train/entropy",)),
    ("KL of an update", ("train/approx_kl",)),
    ("clipped share", ("train/clip_fraction",)),
    ("loss", ("train/loss", "heldout/loss")),
)
ACROSS = 3


def draw_curves(folder: str | Path, title: str = "") -> Path:
    """Draw `curves.png` into a run folder and return its path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    folder = Path(folder)
    rows = read_metrics(folder / "metrics.jsonl")
    panels = [panel for panel in PANELS if any(_series(rows, name)[0] for name in panel[1])]
    down = max(-(-len(panels) // ACROSS), 1)
    figure = Figure(figsize=(4 * ACROSS, 3 * down), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title or folder.name)
    grid = figure.subplots(down, ACROSS, squeeze=False).flat
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes, (label, names) in zip(grid, panels, strict=False):
        axes.set_title(label, fontsize=10)
        for name in names:
            steps, values = _series(rows, name)
            if steps:
                axes.plot(steps, values, marker="o" if len(steps) < 30 else None, ms=3, label=name)
        if label == "explained variance":
            axes.set_ylim(-1, 1.05)  # one bad update reaches −10 and would flatten the rest
        axes.set_xlabel("steps", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 150k
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0] and len(names) > 1:
            axes.legend(fontsize=8)
    return _written(canvas, folder / "curves.png")


def draw_frontier(folder: str | Path, title: str = "") -> Path | None:
    """Draw `frontier.png`, what was gained for the KL it cost; None where a run has no KL to a reference."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder = Path(folder)
    rows = [row for row in read_metrics(folder / "metrics.jsonl") if row.get("rollout/kl") is not None]
    lines = {"reward model's score": "rollout/score", "gold, the true score": "rollout/gold"}
    if not any(row.get(name) is not None for row in rows for name in lines.values()):
        return None
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    for label, name in lines.items():
        found = [(row["rollout/kl"], row[name]) for row in rows if row.get(name) is not None]
        if found:
            axes.plot(*zip(*found, strict=True), marker="o", ms=3, label=label)
            axes.annotate("end", found[-1], textcoords="offset points", xytext=(6, 4), fontsize=8)
    axes.set_title(title or folder.name)
    axes.set_xlabel("KL to the reference (nats a text)")
    axes.set_ylabel("mean over the last hundred texts")
    axes.grid(alpha=0.3)
    axes.legend()
    return _written(canvas, folder / "frontier.png")


def _written(canvas: FigureCanvasAgg, path: Path) -> Path:
    image = io.BytesIO()
    canvas.print_png(image)  # type: ignore[no-untyped-call]
    write_file(path, image.getvalue())
    return path


def _series(rows: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
    found = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return [step for step, _ in found], [value for _, value in found]
