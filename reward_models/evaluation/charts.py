"""The charts of a reward model's report, as SVG in the page's colours or as PNG."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...records.plots import LIGHT
from .metrics import Calibration
from .results import Histogram, Part, RatedPart

(INK, MUTED, GRID), (BLUE, RED) = LIGHT[:3], LIGHT[4:6]
ON_PAGE = {INK: "--ink", MUTED: "--muted", GRID: "--grid", BLUE: "--blue", RED: "--red"}
WIDTH, HEIGHT, TALL = 4.2, 2.7, 3.6  # inches, about a phone's width, so that text stays legible
STYLE: Any = {
    "font.size": 8.5,
    "svg.fonttype": "none",  # text stays text
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), MUTED),
    "text.color": INK,
}
Draw = Callable[[Any], None]  # draws on a matplotlib figure


def svg(name: str, draw: Draw) -> str:
    """A chart as SVG for a page; `name` makes its ids unique in the page."""
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    text = _drawn(draw, name, format="svg", transparent=True, metadata=nothing).decode()
    tag, end, content = text[text.index("<svg") :].partition(">")
    tag = re.sub(r' (?:xmlns(?::\w+)?|version|width|height)="[^"]*"', "", tag)  # the page sets the width
    content = re.sub(r' id="[A-Za-z][\w.]*_\d+"', "", content)  # matplotlib's counters, the same in every chart
    text = tag + end + content
    for colour, variable in ON_PAGE.items():
        text = text.replace(colour, f"var({variable})")
    return text


def png(draw: Draw) -> bytes:
    """A chart as PNG."""
    return _drawn(draw, "png", format="png", dpi=200, facecolor="white")


def _drawn(draw: Draw, salt: str, **options: Any) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    image = io.BytesIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        draw(figure)
        figure.savefig(image, **options)
    return image.getvalue()


def reliability(figure: Any, of: Calibration, confidence: str, right: str) -> None:
    """Observed frequency against predicted probability, and the number of cases in each bin."""
    figure.set_figheight(TALL)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    low, high, width = of.bins[0].low, of.bins[-1].high, of.bins[0].high - of.bins[0].low
    filled = [b for b in of.bins if b.count]
    x, y, error = np.array([(b.confidence, b.right, b.error) for b in filled]).T
    upper.plot([low, high], [low, high], color=MUTED, lw=1, ls=(0, (4, 3)))
    # where a true probability would be in two cases of three
    upper.vlines(x, np.maximum(x - error, 0), np.minimum(x + error, 1), color=GRID, lw=7)
    upper.plot(x, y, color=BLUE, lw=1.4, marker="o", ms=4.5)
    upper.set_ylim(min(low, y.min()) - 0.04, 1.04)
    upper.set_ylabel(right)
    upper.yaxis.set_major_formatter(_percent)
    counts = [b.count for b in filled]
    bars = lower.bar([b.low + width / 2 for b in filled], counts, width * 0.86, color=BLUE)
    lower.bar_label(bars, map(_count, counts), padding=1.5, fontsize=7)
    lower.set(ylim=(0, 1.5 * max(counts)), yticks=[], ylabel="cases", xlabel=confidence)
    lower.spines["left"].set_visible(False)
    lower.set_xlim(low - 0.01 * (high - low), high + 0.01 * (high - low))
    lower.xaxis.set_major_formatter(_percent)


def accuracy_bars(figure: Any, parts: Sequence[Part], label: str, signed: bool = False) -> None:
    """The accuracy of each part with its interval, bounds and size."""
    axes = figure.subplots()
    ends = [(part.accuracy - part.interval[0], part.interval[1] - part.accuracy) for part in parts]
    errors: Any = [[max(end, 0.0) for end in side] for side in zip(*ends, strict=True)]
    lines = {"yerr": errors, "error_kw": {"ecolor": MUTED, "elinewidth": 1}}
    bars = axes.bar(range(len(parts)), [part.accuracy for part in parts], 0.72, color=BLUE, **lines)
    axes.bar_label(bars, [_percent(part.accuracy) for part in parts], padding=2, fontsize=7.5)
    axes.axhline(0.5, color=MUTED, lw=1, ls=(0, (4, 3)))
    where: Any = {"xytext": (3, 0), "xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
    axes.annotate("chance", (1, 0.5), **where, color=MUTED, va="center", fontsize=7.5)
    _name_parts(axes, parts, signed)
    axes.set(xlim=(-0.6, max(len(parts), 3) - 0.4), ylim=(0, 1.12), ylabel="accuracy", xlabel=label)
    axes.tick_params(axis="x", length=0)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    axes.yaxis.set_major_formatter(_percent)


def histogram(figure: Any, of: Histogram, better: str, worse: str) -> None:
    """Histograms of the scores of the better and of the worse texts."""
    figure.set_figheight(TALL)
    axes = figure.subplots()
    for counts, name, colour in ((of.worse, worse, RED), (of.better, better, BLUE)):
        axes.stairs(counts, of.edges, fill=True, color=colour, alpha=0.28, lw=0)
        axes.stairs(counts, of.edges, color=colour, lw=1.4, label=name)
    axes.set(ylim=(0, 1.15 * max(1, *of.better, *of.worse)), ylabel="texts", xlabel="score")
    axes.legend(loc="upper left", frameon=False, ncols=2, fontsize=8, borderaxespad=0)


def by_rating(figure: Any, parts: Sequence[RatedPart]) -> None:
    """Median and quartiles of the scores of each rating."""
    axes = figure.subplots()
    x, (lower, median, upper) = range(len(parts)), zip(*(part.quartiles for part in parts), strict=True)
    axes.vlines(x, lower, upper, color=BLUE, alpha=0.35, lw=7)
    axes.plot(x, median, color=BLUE, lw=1.4, marker="o", ms=4.5)
    _name_parts(axes, parts)
    axes.set(xlim=(-0.5, len(parts) - 0.5), ylabel="score", xlabel="rating")


def learning_curve(figure: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """The training loss and the held-out loss by step."""
    axes = figure.subplots()
    styles = (("loss", "training", BLUE, "-"), ("heldout_loss", "held out", RED, (0, (5, 2))))
    for name, label, colour, dashes in styles:
        if points := curve(rows, name):
            few = "o" if len(points) < 12 else None
            axes.plot(*zip(*points, strict=True), color=colour, lw=1.2, ls=dashes, marker=few, ms=4, label=label)
    axes.set(xlabel="step", ylabel="loss")
    axes.legend(loc="upper right", frameon=False, fontsize=8)


def curve(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """The (step, value) of the rows that have a value."""
    return [(row["step"], row[name]) for row in rows if row.get(name) is not None]


def _name_parts(axes: Any, parts: Sequence[Part | RatedPart], signed: bool = False) -> None:
    largest = max(abs(bound) for part in parts for bound in (part.low, part.high)) or 1
    names = [f"{_bounds(part.low, part.high, largest, signed)}\nn = {_count(part.count)}" for part in parts]
    axes.set_xticks(range(len(parts)), names, fontsize=7.5)


def _percent(value: float, _: object = None) -> str:
    return f"{100 * value:.0f} %"


def _count(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k"


def _bounds(low: float, high: float, largest: float, signed: bool = False) -> str:
    if float(low).is_integer() and float(high).is_integer() and largest < 1e5:
        form = ".0f"
    elif 1e-3 <= largest < 1e5:
        form = f".{0 if largest >= 100 else max(1, 1 - math.floor(math.log10(largest)))}f"
    else:
        form = ".0e"
    first, last = (format(x, f"+{form}" if signed and x else form) for x in (low, high))
    return (first if first == last else f"{first} … {last}").replace("-", "−")
