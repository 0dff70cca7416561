"""Causal language models: loading, stepping token by token, sampling, log-probabilities.

The names below are imported on first use, so that `import textrlhf` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .causal_lm import CausalLM as CausalLM
    from .causal_lm import LanguageError as LanguageError
    from .causal_lm import load as load
    from .chat_template import ChatTemplateError as ChatTemplateError
    from .conversation import Conversation as Conversation
    from .families import make_memory as make_memory
    from .generation import generate as generate
    from .logprobs import Choices as Choices
    from .logprobs import choice_logprobs as choice_logprobs
    from .logprobs import token_logprobs as token_logprobs
    from .memory import TokenMemory as TokenMemory
    from .sampling import sample as sample

_MODULES = {
    "CausalLM": "causal_lm",
    "ChatTemplateError": "chat_template",
    "Choices": "logprobs",
    "Conversation": "conversation",
    "LanguageError": "causal_lm",
    "TokenMemory": "memory",
    "choice_logprobs": "logprobs",
    "generate": "generation",
    "load": "causal_lm",
    "make_memory": "families",
    "sample": "sampling",
    "token_logprobs": "logprobs",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
