"""What training a language model takes of memory, before it starts: an estimate to warn and to refuse by."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from .free_memory import TooLittleMemoryError, free_memory, in_words
from .logprobs import LOGITS_KEPT, at_once
from .lora import LINEAR, Lora
from .sizes import kept_per_token

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger("textrlhf")
REMEDIES = {  # by the part that they make smaller
    "gradients and Adam's moments": "lora_rank=16 trains adapters instead of all weights",
    "copy of the model": "lora_rank=16 shares the reference's weights",
    "critic's trunk": "separate_critic=False",
    "activations": "gradient_checkpointing=True, or a smaller tokens_at_once",
    "keys and values": "fewer n_envs, or a shorter context",
}


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes by what takes them."""

    fixed: dict[str, int]  # until training ends
    passing: dict[str, int]  # during an update or a rollout

    @property
    def total(self) -> int:
        """The most at any time."""
        return sum(self.fixed.values()) + sum(self.passing.values())

    def __str__(self) -> str:
        parts = sorted((self.fixed | self.passing).items(), key=lambda part: -part[1])
        return ", ".join(f"{name} {in_words(size)}" for name, size in parts if size)

    def remedies(self, *, fixed: bool = False) -> str:
        """What would make the large parts smaller, the largest first; `fixed`: only those that stay."""
        among = self.fixed if fixed else self.fixed | self.passing
        parts = sorted(among.items(), key=lambda part: -part[1])
        found = [REMEDIES[name] for name, size in parts if name in REMEDIES and 10 * size > sum(among.values())]
        return "; ".join(found) or "a smaller model"


def training_memory(
    model: PreTrainedModel,
    *,
    lora: Lora | None = None,
    separate_critic: bool = False,
    gradient_checkpointing: bool = False,
    tokens: int,
    n_envs: int = 1,
    context: int = 0,
) -> MemoryEstimate:
    """The memory that training takes beside the reference model, which is loaded.

    Args:
        model: the reference model
        lora: the adapters, if only these are trained
        separate_critic: whether the critic has a trunk of its own
        gradient_checkpointing: whether activations are computed again for gradients
        tokens: padded tokens in one forward of an update
        n_envs: the number of texts that are written at a time
        context: the most tokens of one
    """
    trunks = 2 if separate_critic else 1
    weights, trunk = _numbers(model), _numbers(model.base_model)
    trained = weights + (trunk if separate_critic else 0) if lora is None else trunks * _adapter_numbers(model, lora)
    logits = min(tokens * model.config.get_text_config().vocab_size, at_once(LOGITS_KEPT, model.device))
    kept = kept_per_token(model, recompute=gradient_checkpointing) * tokens
    return MemoryEstimate(
        fixed={
            "copy of the model": 0 if lora else 4 * weights,
            "critic's trunk": 4 * trunk if separate_critic and not lora else 0,
            "adapters": 4 * trained if lora else 0,
            "gradients and Adam's moments": 3 * 4 * trained,
        },
        passing={
            "activations": trunks * kept,
            "logits": 2 * 4 * logits,
            "keys and values": cache_bytes(model, n_envs, context),
        },
    )


def check_memory(estimate: MemoryEstimate, device: torch.device, what: str) -> None:
    """Raise TooLittleMemoryError if the fixed parts alone do not fit; warn if the rest may not."""
    free = free_memory(device)
    if free is None or estimate.total <= free:
        return
    too_much = sum(estimate.fixed.values()) > free
    says = (
        f"training {what} takes about {in_words(estimate.total)} of memory and {in_words(free)} are free on {device}: "
        f"{estimate}; what helps: {estimate.remedies(fixed=too_much)}"
    )
    if too_much:
        raise TooLittleMemoryError(says)
    log.warning("%s", says)


def cache_bytes(model: PreTrainedModel, n: int, context: int) -> int:
    """The size of the keys and values of `n` texts with `context` tokens."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    return int(2 * config.num_hidden_layers * shared * size * n * context * model.dtype.itemsize)


def _numbers(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _adapter_numbers(model: PreTrainedModel, lora: Lora) -> int:
    """The number of weights of a model's adapters."""
    names = lora.target_modules
    return sum(
        lora.rank * sum(layer.weight.shape)
        for name, layer in model.base_model.named_modules()
        if type(layer).__name__ in LINEAR and (names is None or name.endswith(tuple(f".{one}" for one in names)))
    )
