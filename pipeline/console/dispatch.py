"""Running a command by its name, from a table of commands."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

from .errors import UserError, did_you_mean
from .printing import heading, key_values, line

Commands = Mapping[str, tuple[str, str]]
"""name -> the module with a function of that name (imported only when called), and what it does"""


def run_command(
    argv: Sequence[str],
    program: str,
    package: str,
    commands: Commands,
    *,
    about: str,
    examples: Sequence[str],
    note: str,
) -> None:
    """Run the command that `argv` names, or print all of a program's commands with examples."""
    name = argv[0] if argv else "--help"
    if name in commands:
        getattr(importlib.import_module(f".{commands[name][0]}", package), name)(argv[1:])
        return
    if name not in ("-h", "--help", "help"):
        hint = did_you_mean(name, commands, f"there are {', '.join(commands)}")
        raise UserError(f"{program} has no command {name!r}: {hint} ({program} --help)")
    line(f"usage: {program} COMMAND [OPTIONS]\n\n{about}\n")
    heading("Commands")
    key_values([(f"  {name}", what) for name, (_, what) in commands.items()])
    line()
    heading("Examples")
    line("\n".join(f"  {example}" for example in examples))
    line(f"\n`{program} COMMAND --help` lists a command's options.\n{note}")
