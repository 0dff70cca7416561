"""The charts of a reward model's report, as SVG in the page's colours or as PNG."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ...records.plots import LIGHT
from .metrics import Calibration
from .results import Histogram, Part, RatedPart

(INK, MUTED, GRID), (BLUE, RED) = LIGHT[:3], LIGHT[4:6]
ON_PAGE = {INK: "--ink", MUTED: "--muted", GRID: "--grid", BLUE: "--blue", RED: "--red"}
WIDTH = 4.2  # inches, about a phone's width, so that text stays legible
Draw = Callable[[Any], None]  # draws on a matplotlib figure


def svg(name: str, draw: Draw, height: float = 2.7) -> str:
    """A chart as SVG for a page; `name` makes its ids unique in the page."""
    buffer = io.StringIO()
    with _style(name):
        _figure(draw, height).savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:xmlns(?::\w+)?|version)="[^"]*"', "", text)
    for name in ("width", "height"):  # the page sets the width, viewBox keeps the aspect ratio
        text = re.sub(rf'(<svg[^>]*?) {name}="[^"]*"', r"\1", text, count=1)
    text = re.sub(r' id="[a-z][\w.]*_\d+"', "", text)  # matplotlib's counters, the same in every chart
    for colour, variable in ON_PAGE.items():
        text = text.replace(colour, f"var({variable})")
    return text


def png(draw: Draw, height: float = 2.7) -> bytes:
    """A chart as PNG."""
    buffer = io.BytesIO()
    with _style("png"):
        _figure(draw, height).savefig(buffer, format="png", dpi=200, facecolor="white")
    return buffer.getvalue()


def reliability(of: Calibration, confidence: str, right: str) -> Draw:
    """Observed frequency against predicted probability, and the number of cases in each bin."""

    def draw(figure: Any) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        low, high = of.bins[0].low, of.bins[-1].high
        filled = [b for b in of.bins if b.count]
        width = of.bins[0].high - low
        upper.plot([low, high], [low, high], color=MUTED, lw=1, ls=(0, (4, 3)))
        for b in filled:  # where a true probability would be in two cases of three
            spread = (max(b.confidence - b.error, 0), min(b.confidence + b.error, 1))
            upper.plot([b.confidence, b.confidence], spread, color=GRID, lw=7, solid_capstyle="butt")
        upper.plot([b.confidence for b in filled], [b.right for b in filled], color=BLUE, lw=1.4, marker="o", ms=4.5)
        upper.set_ylim(min([low, *(b.right for b in filled)]) - 0.04, 1.04)
        upper.set_ylabel(right)
        bars = [b.low + width / 2 for b in filled]
        lower.bar(bars, [b.count for b in filled], width * 0.86, color=BLUE)
        for x, b in zip(bars, filled, strict=True):
            lower.annotate(_count(b.count), (x, b.count), (0, 1.5), textcoords="offset points", ha="center", fontsize=7)
        lower.set_ylim(0, 1.5 * max(b.count for b in filled))
        lower.set_yticks([])
        lower.spines["left"].set_visible(False)
        lower.set_ylabel("cases")
        lower.set_xlabel(confidence)
        for axes in (upper, lower):
            axes.set_xlim(low - 0.01 * (high - low), high + 0.01 * (high - low))
            axes.xaxis.set_major_formatter(_percent)
        upper.yaxis.set_major_formatter(_percent)

    return draw


def accuracy_bars(parts: Sequence[Part], label: str, signed: bool = False) -> Draw:
    """The accuracy of each part, with its bounds and size."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        axes.bar(range(len(parts)), [part.accuracy for part in parts], 0.72, color=BLUE)
        axes.axhline(0.5, color=MUTED, lw=1, ls=(0, (4, 3)))
        small: Any = {"textcoords": "offset points", "fontsize": 7.5}
        axes.annotate("chance", (1, 0.5), (3, 0), ("axes fraction", "data"), color=MUTED, va="center", **small)
        for x, part in enumerate(parts):
            axes.annotate(_percent(part.accuracy), (x, part.accuracy), (0, 2), ha="center", **small)
        _name_parts(axes, parts, signed)
        axes.set_xlim(-0.6, max(len(parts), 3) - 0.4)
        axes.tick_params(axis="x", length=0)
        axes.set_ylim(0, 1.12)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.yaxis.set_major_formatter(_percent)
        axes.set_ylabel("accuracy")
        axes.set_xlabel(label)

    return draw


def histogram(of: Histogram, better: str, worse: str) -> Draw:
    """Histograms of the scores of the better and of the worse texts."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for counts, name, colour in ((of.worse, worse, RED), (of.better, better, BLUE)):
            axes.stairs(counts, of.edges, fill=True, color=colour, alpha=0.28, lw=0)
            axes.stairs(counts, of.edges, color=colour, lw=1.4, label=name)
        axes.set_ylim(0, 1.15 * max(1, *of.better, *of.worse))
        axes.set_ylabel("texts")
        axes.set_xlabel("score")
        axes.legend(loc="upper left", frameon=False, ncols=2, fontsize=8, borderaxespad=0)

    return draw


def by_rating(parts: Sequence[RatedPart]) -> Draw:
    """Median and quartiles of the scores of each rating."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for x, part in enumerate(parts):
            axes.plot([x, x], part.quartiles[::2], color=BLUE, alpha=0.35, lw=7, solid_capstyle="butt")
        axes.plot(range(len(parts)), [part.quartiles[1] for part in parts], color=BLUE, lw=1.4, marker="o", ms=4.5)
        _name_parts(axes, parts)
        axes.set_xlim(-0.5, len(parts) - 0.5)
        axes.set_ylabel("score")
        axes.set_xlabel("rating")

    return draw


def learning_curve(rows: Sequence[Mapping[str, Any]]) -> Draw:
    """The training loss and the held-out loss by step."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        styles = (("loss", "training", BLUE, "-"), ("heldout_loss", "held out", RED, (0, (5, 2))))
        for name, label, colour, dashes in styles:
            if points := curve(rows, name):
                few = "o" if len(points) < 12 else None
                axes.plot(*zip(*points, strict=True), color=colour, lw=1.2, ls=dashes, marker=few, ms=4, label=label)
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.legend(loc="upper right", frameon=False, fontsize=8)

    return draw


def curve(rows: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    """The (step, value) of the rows that have a finite value."""
    return [(row["step"], row[name]) for row in rows if row.get(name) is not None and math.isfinite(row[name])]


def _figure(draw: Draw, height: float) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    draw(figure)
    return figure


@contextmanager
def _style(salt: str) -> Iterator[None]:
    import matplotlib

    settings: Any = {
        "font.size": 8.5,
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": salt,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "text.color": INK,
    }
    with matplotlib.rc_context(settings):
        yield


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
