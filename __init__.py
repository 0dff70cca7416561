"""textrlhf: text generation as Gymnasium environments, learned reward models, and agents for text and control.

Importing it takes as long as importing gymnasium: torch is loaded when an agent is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .agents.settings.registry import AGENTS as _AGENTS
from .envs.registration import register as _register
from .records.lazy import lazily

if TYPE_CHECKING:
    from .agents import *  # noqa: F403

__version__ = "0.1.0"
_register()
_NAMES = {name for _, cls in _AGENTS.values() for name in (cls, f"{cls}Config")} | {"Agent", "evaluate", "record"}
if not TYPE_CHECKING:
    __all__ = [*sorted(_NAMES), "__version__"]  # noqa: PLE0604

__getattr__ = lazily(__name__, dict.fromkeys(_NAMES, "agents"))


def __dir__() -> list[str]:
    return sorted(_NAMES)
