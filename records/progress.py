"""The progress bar, and a stopwatch for where the time goes."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Stopwatch:
    """Adds up seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """Add the time since the last lap to `name`."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now

    def shares(self) -> dict[str, float]:
        """Each name's share of the total."""
        total = sum(self.seconds.values()) or 1.0
        return {name: seconds / total for name, seconds in self.seconds.items()}


class ProgressBar:
    """A live progress bar on a terminal; elsewhere ten lines of text, or with `brief` its title when it begins."""

    def __init__(
        self, total: int, title: str, *, show: bool = True, brief: bool = False, console: Console | None = None
    ) -> None:
        self.total, self.title, self.show, self.brief = total, title, show, brief
        self.console = console or Console()
        self._printed, self._kept_back = 0, ""
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=self.console,
            disable=not (show and self.console.is_terminal),
        )

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        if self.brief and self._bar.disable:
            self.print(self.title)
        self._task = self._bar.add_task(self.title, total=self.total, note="")
        return self

    def update(self, done: int, note: str, detail: str = "") -> None:
        """Show progress; if the line is too short for `detail`, that is shown at the end."""
        if not self._bar.disable:
            roomy = self.console.width >= len(self.title) + len(note) + len(detail) + 32
            self._kept_back = "" if roomy else detail
            note = f"{note}  {detail}" if roomy else note
            self._bar.update(self._task, completed=min(done, self.total), note=note)
        elif self.show and not self.brief and done * 10 // self.total > self._printed:
            self._printed = done * 10 // self.total
            line = f"{self.title} {min(done, self.total):>9,}/{self.total:,}  {note}  {detail}".rstrip()
            self.console.print(line, soft_wrap=True, markup=False)

    def print(self, text: str) -> None:
        """Print a line above the bar."""
        if self.show:
            self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def __exit__(self, *error: object) -> None:
        self._bar.stop()
        if self._kept_back:
            self.console.print(f"{self.title}  {self._kept_back}", soft_wrap=True, markup=False)


def shares_text(shares: Mapping[str, float]) -> str:
    """Format shares: "acting 30% environment 20% update 50%"."""
    return " ".join(f"{name} {share:.0%}" for name, share in shares.items())


def rounded(value: float) -> str:
    """Format a number for reading: 475.3, but 0.742."""
    return f"{value:.1f}" if not abs(value) < 10 or value == round(value) else f"{value:.3f}"
