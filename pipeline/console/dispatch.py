"""Running a command by its name, from a table of commands."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence

from .errors import UserError, did_you_mean
from .printing import heading, key_values, line

Commands = Mapping[str, tuple[str, str]]
"""name -> the module with a function of that name (imported only when called), and what it does"""


def run_command(
    argv: Sequence[str], program: str, package: str, commands: Commands, overview: Callable[[], None]
) -> None:
    """Run the command that `argv` names, or print the overview."""
    name = argv[0] if argv else "--help"
    if name in commands:
        getattr(importlib.import_module(f".{commands[name][0]}", package), name)(argv[1:])
    elif name in ("-h", "--help", "help"):
        overview()
    else:
        hint = did_you_mean(name, commands, f"there are {', '.join(commands)}")
        raise UserError(f"{program} has no command {name!r}: {hint} ({program} --help)")


def print_overview(program: str, about: str, commands: Commands, examples: Sequence[str]) -> None:
    """Print a program's commands with examples."""
    line(f"usage: {program} COMMAND [OPTIONS]")
    line()
    line(about)
    line()
    heading("Commands")
    key_values([(f"  {name}", what) for name, (_, what) in commands.items()])
    line()
    heading("Examples")
    for example in examples:
        line(f"  {example}")
    line()
    line(f"`{program} COMMAND --help` lists a command's options.")
