"""The right cache for a model: chosen by its config, then verified on a few tokens."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .causal_lm import CausalLM, LanguageError
from .column_cache import ColumnCache
from .memory import TokenMemory
from .slot_cache import SlotCache

if TYPE_CHECKING:
    from transformers import PretrainedConfig

log = logging.getLogger("textrlhf")
_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}  # relative to the largest logit; half precision: 5e-2
_chosen: weakref.WeakKeyDictionary[Any, type[TokenMemory]] = weakref.WeakKeyDictionary()


def make_memory(lm: CausalLM, n: int) -> TokenMemory:
    """Make the fastest cache that is correct for this model."""
    return memory_class(lm)(lm, n)


def memory_class(lm: CausalLM) -> type[TokenMemory]:
    """Return `SlotCache` where it is correct for this model, else `ColumnCache`."""
    if lm.model not in _chosen:
        _chosen[lm.model] = _choose(lm)
    return _chosen[lm.model]


def _choose(lm: CausalLM) -> type[TokenMemory]:
    candidates: list[type[TokenMemory]] = [ColumnCache] if has_window(lm.model.config) else [SlotCache, ColumnCache]
    seen: list[str] = []
    for kind in candidates:
        try:
            error = _error(lm, kind)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, NotImplementedError) as failure:
            seen.append(f"{kind.__name__} failed with {type(failure).__name__}: {failure}")
            continue
        if error <= _TOLERANCE.get(lm.model.dtype, 5e-2):
            log.debug("%s reads with %s (relative error %.1e)", lm, kind.__name__, error)
            return kind
        seen.append(f"{kind.__name__} differs from a full forward by {error:.1e}")
    raise LanguageError(
        f"{lm} cannot be stepped token by token: {'; '.join(seen)}. Supported are decoder-only transformers with "
        "a key-value cache, such as GPT-2, Llama, Qwen, Gemma or BLOOM"
    )


def has_window(config: PretrainedConfig) -> bool:
    """Whether some layer attends to part of the text only, which a check on a few tokens would not show."""
    config = config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention"}:
        return True
    if "local" in (getattr(config, "attention_layers", None) or ()):  # GPT-Neo
        return True
    return not kinds and bool(getattr(config, "sliding_window", None))


@torch.no_grad()
def _error(lm: CausalLM, kind: type[TokenMemory]) -> float:
    """Read two texts in pieces, one of them restarted half-way, and compare with full forwards."""
    rng = np.random.default_rng(0)
    first, second, third = (rng.integers(0, lm.vocab_size, size) for size in (5, 3, 4))
    memory = kind(lm, 3)
    memory.read(np.array([0, 1]), [first[:3], second[:2]])
    memory.read(np.array([0, 1]), [first[3:4], second[2:]])
    memory.reset([1])
    memory.read(np.array([1]), [third[:2]])
    memory.read(np.array([1]), [third[2:3]])
    stepped = lm.head(memory.read(np.array([0, 1]), [first[4:], third[3:]]))
    full = torch.stack([_full(lm, text) for text in (first, third)])
    return float((stepped - full).abs().max() / full.abs().max().clamp(min=1e-6))


def _full(lm: CausalLM, text: np.ndarray[Any, Any]) -> Tensor:  # -> (V,)
    ids = torch.from_numpy(text[None]).to(lm.device)
    logits: Tensor = lm.model(ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -1]
    return logits
