"""One look for every picture: means with bands over seeds, labels at the ends of lines, light and dark."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .folder import write_file

# ink, muted, grid, page; then a palette that colour-blind eyes tell apart (Okabe and Ito): blue, red, green, purple
LIGHT = ("#1f2328", "#656d76", "#d3d8de", "#ffffff", "#0072b2", "#d55e00", "#009e73", "#b3589b")
DARK = ("#e6e9ed", "#9aa4af", "#3a424c", "#0d1117", "#56b4e9", "#f08a3c", "#2dc8a0", "#e39ac8")
BLUE, RED, GREEN, PURPLE, MUTED, PAGE = (f"C{i}" for i in range(6))  # of the theme that is being drawn
Draw = Callable[[Any], None]
Size = tuple[float, float]
FEW = 30  # points that are drawn one by one, and not smoothed


def picture(path: str | Path, draw: Draw, size: Size, title: str, note: str = "", dark: bool = False) -> Path:
    """Write the PNG that `draw` puts onto a matplotlib figure; with `dark`, also NAME-dark.png for dark pages."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for theme, ending in ((LIGHT, ""), (DARK, "-dark"))[: 1 + dark]:
        with matplotlib.rc_context(_style(theme)):
            figure = Figure(size, dpi=150, layout="constrained")
            figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)  # type: ignore[union-attr, call-arg]
            figure.suptitle(title, x=0.012, ha="left", size=15, weight="bold")
            if note:
                figure.supxlabel(note, x=0.012, ha="left", size=10.5, color=MUTED)
            draw(figure)
            image = io.BytesIO()
            FigureCanvasAgg(figure).print_png(image)  # type: ignore[no-untyped-call]
        write_file(Path(path).with_stem(Path(path).stem + ending), image.getvalue())
    return Path(path)


def band(axes: Any, x: Sequence[float], seeds: ArrayLike, color: str = BLUE) -> None:
    """The mean of several seeds as a line, from the lowest to the highest as a band: (seeds, len(x)) values."""
    values = np.asarray(seeds, dtype=float)
    axes.fill_between(x, values.min(0), values.max(0), color=color, alpha=0.2, lw=0)
    axes.plot(x, values.mean(0), color=color)


def trajectory(axes: Any, x: ArrayLike, y: ArrayLike, color: str = BLUE) -> tuple[float, float]:
    """Where a run went, smoothed, from an open to a filled circle; its points faint. Returns y at both circles."""
    axes.plot(x, y, "o", ms=4, mew=0, alpha=0.25, color=color)
    line = smooth(x, 0.2, 0), smooth(y, 0.2, 0)
    axes.plot(*line, color=color)
    ends(axes, line[0], line[1], color)
    return float(line[1][0]), float(line[1][-1])


def ends(axes: Any, x: Any, y: Any, color: str = BLUE) -> None:
    """An open circle where something begins, a filled one where it ends."""
    for i, fill in ((0, PAGE), (-1, color)):
        axes.plot(x[i], y[i], "o", ms=8, mew=2, mec=color, mfc=fill, zorder=4, clip_on=False)


def label(axes: Any, x: float, y: float, text: str, color: str = BLUE, **where: Any) -> None:
    """Words beside a point, to its right by default."""
    where = {"xytext": (9, 0), "va": "center", **where}
    axes.annotate(text, (x, y), textcoords="offset points", color=color, annotation_clip=False, **where)


def smooth(values: ArrayLike, share: float = 0.1, few: int = FEW) -> NDArray[np.float64]:
    """Means over that share of the values to each side, but for the first, which stays; a few values all stay."""
    values = np.asarray(values, dtype=float)
    reach = math.ceil(share * (len(values) - 1)) if len(values) >= few else 0
    return np.array([values[max(i - reach, 0) : i + min(reach, i) + 1].mean() for i in range(len(values))])


def thousands(axis: Any) -> None:
    """Few ticks, written 150k."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(4))
    axis.set_major_formatter(EngFormatter(sep=""))


def _style(theme: tuple[str, ...]) -> Any:
    from cycler import cycler

    ink, muted, grid, page, *colors = theme
    style = {"font.size": 12, "axes.titlesize": 13, "axes.titlelocation": "left", "lines.linewidth": 2.2}
    style |= {"axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True}
    style |= {"xtick.major.size": 0, "ytick.major.size": 0, "axes.prop_cycle": cycler(color=[*colors, muted, page])}
    style |= dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), muted)
    style |= {"text.color": ink, "axes.titlecolor": ink, "grid.color": grid, "grid.linewidth": 0.8}
    return style | {"figure.facecolor": page, "axes.facecolor": page}
