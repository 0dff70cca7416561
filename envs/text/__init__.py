"""Text environments: a text is written token by token and scored at its end, with a KL penalty per token.

The names below are imported on first use, so that `import textrlhf` does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...records.lazy import lazily

if TYPE_CHECKING:
    from .env import TextEnv
    from .options import TextOptions
    from .task import Prompt, Task
    from .turns import ask
    from .vector import TextVectorEnv

_MODULES = {
    "Prompt": "task",
    "Task": "task",
    "TextEnv": "env",
    "TextOptions": "options",
    "TextVectorEnv": "vector",
    "ask": "turns",
}
__all__ = ["Prompt", "Task", "TextEnv", "TextOptions", "TextVectorEnv", "ask"]

__getattr__ = lazily(__name__, _MODULES)
