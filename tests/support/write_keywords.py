"""Writes agents/settings/keywords.py, one TypedDict per config class: `make keywords`."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import textrlhf
from textrlhf.agents.settings.registry import AGENTS, agent_class

TARGET = Path(textrlhf.__file__).parent / "agents/settings/keywords.py"
HEADER = '''"""Hyperparameters as keyword arguments, for type checkers and editors. Written by `make keywords`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypedDict

from .config import Schedule
'''


def source() -> str:
    """The whole module."""
    classes: dict[type[Any], None] = {}
    for name in AGENTS:
        classes |= dict.fromkeys(reversed(agent_class(name).config_class.__mro__[:-1]))
    return "\n\n".join([HEADER, *map(_typed_dict, classes)])


def _typed_dict(config_class: type[Any]) -> str:
    base = config_class.__mro__[1]
    name, parent = (kind.__name__.replace("Config", "Keywords") for kind in (config_class, base))
    lines = [f"class {name}({'TypedDict' if base is object else parent}, total=False):"]
    lines += [f'    """Hyperparameters of `{config_class.__name__}`."""', ""]
    for field in fields(config_class):
        if field.name in inspect.get_annotations(config_class):
            lines.append(f"    {field.name}: {field.type}".replace("'", '"'))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(source())
