"""Causal language models: loading, stepping token by token, sampling, log-probabilities.

The names below are imported on first use, so that `import textrlhf` does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .causal_lm import CausalLM, LanguageError, load
    from .families import make_memory
    from .logprobs import Choices, choice_logprobs, token_logprobs
    from .memory import TokenMemory
    from .sampling import sample
    from .writing import generate

_MODULES = {
    "CausalLM": "causal_lm",
    "LanguageError": "causal_lm",
    "Choices": "logprobs",
    "TokenMemory": "memory",
    "choice_logprobs": "logprobs",
    "generate": "writing",
    "load": "causal_lm",
    "make_memory": "families",
    "sample": "sampling",
    "token_logprobs": "logprobs",
}
__all__ = [
    "CausalLM",
    "Choices",
    "LanguageError",
    "TokenMemory",
    "choice_logprobs",
    "generate",
    "load",
    "make_memory",
    "sample",
    "token_logprobs",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f".{_MODULES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
