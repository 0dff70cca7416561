"""Printing to the terminal: headings, names with values, tables, suggestions."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False)


def heading(text: str) -> None:
    """Print a bold line."""
    console.print(Text(text, style="bold"), soft_wrap=True)


def line(text: str = "", style: str = "") -> None:
    """Print a line as it is, without wrapping or markup."""
    console.print(Text(text, style=style), soft_wrap=True)


def key_values(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and their values, aligned."""
    width = max(len(name) for name, _ in pairs) + 2
    for name, value in pairs:
        console.print(Text.assemble((name.ljust(width), "cyan"), value), soft_wrap=True)


def side_by_side(titles: tuple[str, str], rows: Sequence[tuple[str, str]]) -> None:
    """Print texts in two columns."""
    table = Table(*titles, box=box.SIMPLE_HEAD, show_lines=True, expand=False)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def table(titles: Sequence[str], sections: Sequence[Sequence[Sequence[str]]]) -> None:
    """Print rows in sections with a line between them: names on the left, numbers on the right."""
    found = Table(box=box.SIMPLE_HEAD, expand=False)
    for i, title in enumerate(titles):
        found.add_column(title, justify="right" if i else "left")
    for rows in sections:
        for row in rows:
            found.add_row(*map(Text, row), end_section=row is rows[-1])
    console.print(found)


def try_next(commands: Sequence[tuple[str, str]]) -> None:
    """Print commands to copy, each with its purpose."""
    width = max(len(command) for command, _ in commands) + 2
    line()
    heading("Try next")
    for command, what in commands:
        console.print(Text.assemble("  ", (command.ljust(width), "green"), (what, "dim")), soft_wrap=True)
