"""The one module that depends on what Hugging Face and torch do not promise to keep: private names and inner parts."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def uses_sdpa(model: PreTrainedModel) -> bool:
    """Whether the model's attention takes boolean masks, as torch's `scaled_dot_product_attention` does."""
    return bool(model.config._attn_implementation == "sdpa")


def ready_to_run(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model in eval mode, with GPT-2's activation (eight operations) as torch's single one.

    The given model stays as it is: where something has to change, it is changed in a copy with the same parameters.
    """
    from transformers.activations import NewGELUActivation

    if not any(module.training or isinstance(module, NewGELUActivation) for module in model.modules()):
        return model
    model = with_parameters_of(model)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, NewGELUActivation):
                setattr(module, name, nn.GELU(approximate="tanh"))
    model.eval()
    return model


def with_parameters_of(model: PreTrainedModel, *, frozen: bool = False) -> PreTrainedModel:
    """Return a copy of the modules around the same parameters; `frozen`: around the same numbers, without gradients."""
    shared: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for parameter in model.parameters():
        shared[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False) if frozen else parameter
    copied: PreTrainedModel = copy.deepcopy(model, shared)
    return copied
