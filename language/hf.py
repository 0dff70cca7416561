"""The one module that depends on what Hugging Face and torch do not promise to keep: private names and inner parts."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

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


def dequantised() -> dict[str, Any]:
    """The arguments that make transformers unpack a GGUF file; older versions do so in any case."""
    import transformers

    config = getattr(transformers, "GgufConfig", None)
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def forget_quantisation(model: PreTrainedModel) -> PreTrainedModel:
    """Make transformers take weights for plain ones that were read from a quantised file: else it refuses to save."""
    model.hf_quantizer = None  # type: ignore[assignment]
    for owner, names in (
        (model, ("quantization_method", "is_quantized")),
        (model.config, ("quantization_config", "_pre_quantization_dtype")),
    ):
        for name in names:
            vars(owner).pop(name, None)
    return model


@contextlib.contextmanager
def no_gguf_progress() -> Iterator[None]:
    """Hide the progress bar of dequantising, which transformers shows whatever its settings say."""
    from transformers import modeling_gguf_pytorch_utils as reading

    shown = reading.tqdm  # type: ignore[attr-defined]
    reading.tqdm = lambda items, **_: items  # type: ignore[attr-defined]
    try:
        yield
    finally:
        reading.tqdm = shown  # type: ignore[attr-defined]


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers that transformers can recompute: of most families each block of attention and feed-forward."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


@contextlib.contextmanager
def inputs_of(modules: Sequence[nn.Module]) -> Iterator[list[torch.Tensor]]:
    """Collect the hidden states that each of these layers is given while the block runs."""
    found = [torch.empty(0)] * len(modules)

    def note(i: int) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found[i] = args[0] if args else kwargs["hidden_states"]

        return hook

    handles = [module.register_forward_pre_hook(note(i), with_kwargs=True) for i, module in enumerate(modules)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def recompute_layers(model: nn.Module) -> int:
    """Make a model's layers recompute their inner activations in the backward pass; return how many do.

    transformers' own gradient checkpointing works in training mode only, which turns dropout on.
    """
    layers = layers_of(model)
    for layer in layers:
        kind: Any = type(layer)
        layer.__class__ = _recomputing(kind)
    return len(layers)


@functools.cache
def _recomputing(kind: Any) -> Any:
    """A subclass whose forward is recomputed for gradients. A class, so that copies of a model recompute themselves."""
    if getattr(kind, "recomputes", False):
        return kind

    class Recomputing(kind):  # type: ignore[misc]
        recomputes = True

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            if not torch.is_grad_enabled():
                return super().forward(*args, **kwargs)
            return checkpoint(super().forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    Recomputing.__name__ = Recomputing.__qualname__ = kind.__name__
    return Recomputing
