"""The learning curve of a run, drawn from its `metrics.jsonl` alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from .folder import write_file
from .metrics import Row, read_metrics

PANELS = (
    ("episode return", ("rollout/return", "evaluation/return")),
    ("episode length", ("rollout/length",)),
    ("explained variance", ("train/explained_variance",)),
    ("entropy", ("train/entropy",)),
    ("KL of an update", ("train/approx_kl",)),
    ("clipped share", ("train/clip_fraction",)),
)


def draw_curves(folder: str | Path, title: str = "") -> Path:
    """Draw `curves.png` into a run folder and return its path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    folder = Path(folder)
    rows = read_metrics(folder / "metrics.jsonl")
    figure = Figure(figsize=(12, 6), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(title or folder.name)
    for axes, (label, names) in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        axes.set_title(label, fontsize=10)
        for name in names:
            steps, values = _series(rows, name)
            if steps:
                axes.plot(steps, values, marker="o" if len(steps) < 30 else None, ms=3, label=name)
        if label == "explained variance":
            axes.set_ylim(-1, 1.05)  # one bad update reaches −10 and would flatten the rest
        axes.set_xlabel("steps", fontsize=8)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0] and len(names) > 1:
            axes.legend(fontsize=8)
    path = folder / "curves.png"
    image = io.BytesIO()
    canvas.print_png(image)  # type: ignore[no-untyped-call]
    write_file(path, image.getvalue())
    return path


def _series(rows: Sequence[Row], name: str) -> tuple[list[float], list[float]]:
    found = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    return [step for step, _ in found], [value for _, value in found]
