"""The agents by name; the commands and the public names of the package are made from this table."""

from __future__ import annotations

import importlib
from typing import Any

AGENTS = {  # name: (module in textrlhf.agents, class); the module has <class>Config too
    "ppo": ("ppo", "PPO"),
    "reinforce": ("reinforce", "REINFORCE"),
    "clone": ("clone", "Clone"),
}


def agent_class(name: str) -> Any:
    """The class of the agent called `name`; KeyError if there is none."""
    module, cls = AGENTS[name]
    return getattr(importlib.import_module(f"...{module}", __name__), cls)
