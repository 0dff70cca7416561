"""The progress bar on a terminal and off one, and the stopwatch behind "where the time goes"."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from textrlhf.records.progress import ProgressBar, Stopwatch, rounded, shares_text

TITLE = "PPO(Maze[/b][3])"  # what looks like rich's markup is only a name


def shown(total: int, step: int, *, terminal: bool, show: bool = True, note: str = "return 12.5") -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    with ProgressBar(total, TITLE, show=show, console=console) as bar:
        for done in range(step, total + step, step):
            bar.update(done, note)
    return out.getvalue()


@pytest.mark.parametrize(("total", "step"), [(1000, 1), (1000, 7), (100_000, 2048)])
def test_ten_lines_without_a_terminal(total: int, step: int) -> None:
    """A log file with a line an update is unreadable; one with none looks hung."""
    lines = shown(total, step, terminal=False).splitlines()
    assert len(lines) == 10
    assert all(TITLE in line and line.endswith("return 12.5") for line in lines)
    assert f"{total:,}/{total:,}" in lines[-1]  # never beyond the total, though the last rollout went past it


def test_few_updates_give_a_line_each() -> None:
    assert len(shown(100, 34, terminal=False).splitlines()) == 3


def test_no_escape_sequences_without_a_terminal() -> None:
    out = shown(10, 1, terminal=False, note="x" * 300)
    assert "\x1b" not in out
    assert len(out.splitlines()) == 10


def test_live_bar_on_a_terminal() -> None:
    out = shown(100, 50, terminal=True)
    assert "\x1b" in out
    assert TITLE in out
    assert "return 12.5" in out
    assert "100%" in out


@pytest.mark.parametrize("terminal", [True, False])
def test_hidden_bar_prints_nothing(terminal: bool) -> None:
    assert shown(100, 10, terminal=terminal, show=False) == ""


def test_error_releases_the_terminal() -> None:
    """A live display left running would swallow the traceback, and forbid a second one."""
    console = Console(file=io.StringIO(), force_terminal=True)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), ProgressBar(10, TITLE, console=console):
            _ = 1 / 0


def ticks(*seconds: float) -> Iterator[float]:
    yield from seconds


def test_stopwatch_adds_laps_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ticks(100.0, 101.0, 104.0, 106.0)
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = Stopwatch()
    for name in ("acting", "update", "acting"):
        watch.lap(name)
    assert watch.seconds == {"acting": 3.0, "update": 3.0}
    assert watch.shares() == {"acting": 0.5, "update": 0.5}
    assert shares_text({"acting": 0.3, "update": 0.7}) == "acting 30% update 70%"


def test_shares_sum_to_one_on_the_real_clock() -> None:
    watch = Stopwatch()
    assert watch.shares() == {}
    for k in range(100):
        watch.lap(f"part {k % 3}")
    assert sum(watch.shares().values()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    ("value", "text"),
    [(475.29, "475.3"), (-21.0, "-21.0"), (0.7421, "0.742"), (-0.5, "-0.500"), (0, "0.0"), (3.0, "3.0")],
)
def test_rounded_keeps_three_digits_below_ten(value: float, text: str) -> None:
    """One digit after the point would show every success rate between 0.65 and 0.75 as 0.7."""
    assert rounded(value) == text
