"""How many tokens of texts one forward may have, by the model's size and the memory that is free.

More tokens at once are faster until they leave the cache of a CPU or fill a GPU. Beyond that, memory is the limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .causal_lm import LanguageError
from .free_memory import free_memory
from .hf import layers_of, recompute_layers
from .logprobs import at_once

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TRAINING = {"cpu": 1 << 11, "cuda": 1 << 16}  # padded tokens per forward of an update, where memory allows
LEAST = 1 << 8  # so that updates of large models are no slower than their memory asks for; a text is never split
SHARE = 0.5  # of free memory, for activations
ENOUGH = {"cpu": 1 << 30}  # bytes of activations: with 135M weights 512 tokens took one, and 2,048 were no faster
KEPT = 1.5  # activations kept for gradients over inputs and outputs of linear layers: 1.1 of Llama, 1.8 of GPT-2


def training_tokens(
    model: PreTrainedModel, *, recompute: bool = False, free: int | None = None, most: dict[str, int] = TRAINING
) -> int:
    """The number of padded tokens in one forward of an update: a power of two.

    `free` is the memory, in bytes, that the update may use; by default on a GPU half of what is free now. `most` are
    the tokens on each kind of device beyond which more are not wanted.
    """
    if free is None and model.device.type != "cpu":  # there the same seed gives the same run whatever else runs
        now = free_memory(model.device)
        free = None if now is None else int(SHARE * now)
    wanted, enough = at_once(most, model.device), ENOUGH.get(model.device.type)
    limits = [limit for limit in (free, enough) if limit is not None]
    if not limits:
        return wanted
    fit = min(limits) // kept_per_token(model, recompute=recompute)
    return min(max(1 << max(fit.bit_length() - 1, 0), LEAST), wanted)


def kept_per_token(model: PreTrainedModel, *, recompute: bool = False) -> int:
    """About how many bytes a forward keeps per token for gradients; `recompute`: with gradient checkpointing."""
    trunk = model.base_model
    whole = _linear_widths(trunk)
    if recompute and (layers := layers_of(trunk)):
        one, width = max(map(_linear_widths, layers)), model.config.get_text_config().hidden_size
        whole = one + len(layers) * width
    return int(KEPT * whole * model.dtype.itemsize)


def recompute_activations(model: nn.Module) -> None:
    """Turn gradient checkpointing on: layers keep their inputs only, and are computed again for gradients."""
    if not recompute_layers(model):
        raise LanguageError(
            f"gradient_checkpointing=True: {type(model).__name__} has none of the layers that transformers can "
            "recompute: leave it out; adapters (lora_rank) and smaller minibatches save memory too"
        )


def _linear_widths(module: nn.Module) -> int:
    """The sum of the inputs' and outputs' sizes of the linear layers."""
    return sum(
        sum(weight.shape)
        for name, layer in module.named_modules()
        if not (isinstance(layer, nn.Embedding) or ".lora_" in name)  # adapters read what their layers read
        if isinstance(weight := getattr(layer, "weight", None), torch.Tensor) and weight.ndim == 2
    )
