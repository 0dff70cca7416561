"""The agents by name."""

from __future__ import annotations

import importlib
from typing import Any

AGENTS = {"ppo": ("ppo", "PPO"), "clone": ("clone", "Clone")}
"""name -> module here, class"""


def agent_class(name: str) -> Any:
    """The class of the agent called `name`; KeyError if there is none."""
    module, cls = AGENTS[name]
    return getattr(importlib.import_module(f"...{module}", __name__), cls)
