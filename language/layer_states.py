"""Hidden states of several layers from one forward: before, halfway through and after the trunk."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor, nn

from .causal_lm import CausalLM
from .hf import inputs_of, layers_of

_watched: weakref.WeakKeyDictionary[nn.Module, list[nn.Module] | None] = weakref.WeakKeyDictionary()


def layer_states(lm: CausalLM, **inputs: Any) -> list[Tensor]:  # (R, q, d) each
    """Call the trunk with these arguments; states before the first layer and the middle one, and after the last."""
    if lm.trunk not in _watched:
        _watched[lm.trunk] = _to_watch(lm.trunk, lm.model.config.get_text_config().num_hidden_layers)
    watched = _watched[lm.trunk]
    if watched is None:
        out = lm.trunk(**inputs, output_hidden_states=True)
        return [*(out.hidden_states[i] for i in _places(len(out.hidden_states) - 1)), out.last_hidden_state]
    with inputs_of(watched) as found:  # all layers' states of many tokens would be gigabytes
        out = lm.trunk(**inputs)
    return [*found, out.last_hidden_state]


def _places(n_layers: int) -> list[int]:
    return sorted({0, n_layers // 2} - {n_layers})


def _to_watch(trunk: nn.Module, n_layers: int) -> list[nn.Module] | None:
    """The layers whose inputs are wanted; None where the layers cannot be told from other modules."""
    layers = layers_of(trunk)
    return [layers[i] for i in _places(n_layers)] if len(layers) == n_layers else None
