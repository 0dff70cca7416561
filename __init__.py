"""textrlhf: text generation as Gymnasium environments, learned reward models, and one PPO for text and control.

Importing it costs no more than importing gymnasium: torch is loaded when an agent is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .envs.registration import register as _register

if TYPE_CHECKING:
    from .agents import PPO, Agent, Clone, PPOConfig, evaluate, record

__version__ = "0.1.0"
_register()
__all__ = ["PPO", "Agent", "Clone", "PPOConfig", "__version__", "evaluate", "record"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(".agents", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
