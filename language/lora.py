"""Low-rank adapters (LoRA; Hu et al., 2021), by the package `peft`.

A layer's weight W becomes W + alpha / rank · B·A. Only A and B are trained; B starts as zeros, so a new adapter changes
nothing. W may be shared with other models, since nobody writes to it.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .hf import with_parameters_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ADAPTER = "default"  # peft's name of a model's only adapter
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # the files of peft's format
LINEAR = ("Linear", "Conv1D")  # the latter of GPT-2, whose weights are transposed
BASE, DTYPE = "base_model_sha256", "base_model_dtype"  # in the metadata of the weights


class LoraError(ValueError):
    """An adapter that cannot be made or used, and the remedy."""


@dataclass(frozen=True)
class Lora:
    """Settings of an adapter."""

    rank: int
    alpha: float | None = None  # None: twice the rank, so that another rank needs no other learning rate
    target_modules: tuple[str, ...] | None = None  # names of layers; None: all linear layers below the head

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise LoraError(f"lora_rank is {self.rank}: expected at least 1 for an adapter, 0 for none")
        if self.alpha is not None and self.alpha <= 0:
            raise LoraError(f"lora_alpha is {self.alpha}: expected a number above 0, or None for twice the rank")
        if self.target_modules is not None and not self.target_modules:
            raise LoraError("lora_target_modules is empty: expected names of layers, or None for all linear ones")


def with_adapters(model: PreTrainedModel, lora: Lora) -> PreTrainedModel:
    """Return a copy of the modules around the same frozen weights, with new adapters, which need gradients.

    A is drawn from torch's global random state. Adapters are float32 also where the weights are not.
    """
    if has_adapters(model):
        raise LoraError("the model has adapters already: merge them first, CausalLM.save writes it merged")
    peft = _peft()
    targets = _targets(model, lora)
    adapted = with_parameters_of(model, frozen=True)
    config = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=2 * lora.rank if lora.alpha is None else lora.alpha,
        target_modules=targets,
        lora_dropout=0.0,
        fan_in_fan_out=any(type(model.get_submodule(name)).__name__ == "Conv1D" for name in targets),
    )
    peft.inject_adapter_in_model(config, adapted, ADAPTER)
    for parameter in adapter_parameters(adapted).values():
        parameter.data = parameter.data.float()
    for layer in adapted.modules():
        if hasattr(layer, "get_delta_weight"):
            kind: Any = type(layer)
            layer.__class__ = _in_two_products(kind)
    adapted.eval()
    return adapted


@functools.cache
def _in_two_products(kind: Any) -> Any:
    """A subclass of one of peft's layers that adds to its layer's output in the product itself.

    peft scales and adds in two further passes over the output, and keeps one of them for gradients.
    """

    class InTwoProducts(kind):  # type: ignore[misc]
        def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            low, high = self.lora_A[ADAPTER].weight, self.lora_B[ADAPTER].weight  # (r, in), (out, r)
            if self.merged or self.disable_adapters or x.dtype != low.dtype:
                result: Tensor = super().forward(x, *args, **kwargs)
                return result
            out: Tensor = self.base_layer(x, *args, **kwargs)
            between = F.linear(x, low).flatten(0, -2)
            flat = torch.addmm(out.flatten(0, -2), between, high.t(), alpha=self.scaling[ADAPTER])
            return flat.view(out.shape)

    InTwoProducts.__name__ = kind.__name__
    return InTwoProducts


def has_adapters(model: nn.Module) -> bool:
    """Whether the model has adapters."""
    return any(_is_adapter(name) for name, _ in model.named_parameters())


def adapter_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of the adapters, by their names in the model."""
    return {name: parameter for name, parameter in model.named_parameters() if _is_adapter(name)}


class Adapters(nn.Module):
    """A model's adapters without the model: what is trained, moved into one place and saved."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name, parameter in adapter_parameters(model).items():
            *path, last = name.split(".")
            place: nn.Module = self
            for part in path:
                if part not in dict(place.named_children()):
                    place.add_module(part, nn.Module())
                place = place.get_submodule(part)
            place.register_parameter(last, parameter)


@torch.no_grad()
def merged(model: PreTrainedModel) -> PreTrainedModel:
    """Return the same model without adapters: their layers' weights are W + alpha / rank · B·A, all others shared."""
    if not has_adapters(model):
        return model
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    plain = dict(shared)
    layer: Any
    for layer in model.modules():
        if hasattr(layer, "get_delta_weight"):
            base = copy.deepcopy(layer.get_base_layer(), dict(shared))
            weight = base.weight
            sum_of_both = weight.to(torch.promote_types(weight.dtype, torch.float32)) + layer.get_delta_weight(ADAPTER)
            base.weight = nn.Parameter(sum_of_both.to(weight.dtype), requires_grad=False)
            plain[id(layer)] = base
    found: PreTrainedModel = copy.deepcopy(model, plain)
    del found.peft_config  # set by peft; save_pretrained would look at it
    return found


def save_adapter(
    model: PreTrainedModel,
    path: str | os.PathLike[str],
    *,
    tokenizer: PreTrainedTokenizerBase,
    base: str | None,
    fingerprint: str | None = None,
    task: str = "CAUSAL_LM",
    heads: Sequence[str] = (),
) -> None:
    """Write the adapters in peft's format, with the tokenizer beside them, as TRL does.

    Args:
        model: a model with adapters
        path: the folder
        tokenizer: the model's
        base: the name of the model without adapters, for those who load it
        fingerprint: that model's hash, by which another one is refused
        task: peft's name of the kind of model
        heads: parts of the model that were trained as a whole, and are saved with the adapters
    """
    from safetensors.torch import save_file

    from ..records.folder import check_replaceable, whole_folder

    check_replaceable(path, CONFIG)
    config: Any = copy.copy(model.peft_config[ADAPTER])
    config.base_model_name_or_path, config.task_type, config.inference_mode = base, task, True
    config.target_modules = _in_short(model, config.target_modules)
    config.modules_to_save = list(heads) or None
    tensors: dict[str, Tensor] = dict(adapter_parameters(model))
    for head in heads:
        tensors |= {f"{head}.{name}": value for name, value in model.get_submodule(head).named_parameters()}
    written = {
        f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": tensor.detach().cpu().contiguous()
        for name, tensor in tensors.items()
    }
    facts = {"format": "pt"}
    if fingerprint:
        facts |= {BASE: fingerprint, DTYPE: str(model.dtype).removeprefix("torch.")}
    with whole_folder(path) as folder:
        config.save_pretrained(str(folder))
        tokenizer.save_pretrained(folder)
        save_file(written, folder / WEIGHTS, metadata=facts)
        for file in folder.iterdir():
            file.chmod(0o644)


def is_adapter(place: str | os.PathLike[str]) -> bool:
    """Whether a folder holds an adapter, and no model."""
    return (Path(place) / CONFIG).is_file() and not (Path(place) / "config.json").is_file()


def base_of(place: str | os.PathLike[str]) -> str:
    """The name of the model that an adapter belongs to."""
    file = Path(place) / CONFIG
    try:
        stored = json.loads(file.read_text())
        base, task = stored.get("base_model_name_or_path"), stored.get("task_type")
    except (ValueError, AttributeError) as error:
        raise LoraError(f"{file} is damaged ({error}): save the adapter again") from error
    if task not in (None, "CAUSAL_LM"):
        raise LoraError(
            f"{place} is an adapter for the task {task}, not of a language model; beside an adapter of a reward model "
            "lies the whole one, reward_model"
        )
    if not base:
        raise LoraError(
            f"{file} does not name the model that the adapter belongs to: write its folder or hub id there as "
            '"base_model_name_or_path", or load the merged model, which lies beside it in a run as model'
        )
    return str(base)


def with_adapter_merged(
    model: PreTrainedModel, fingerprint: str, place: str | os.PathLike[str], base: str
) -> PreTrainedModel:
    """Return the model with the adapter of a folder merged into it; the model given is changed.

    LoraError if the adapter was trained on another model.
    """
    from safetensors import SafetensorError, safe_open

    peft, file = _peft(), Path(place) / WEIGHTS
    remedy = f'name the right one as "base_model_name_or_path" in {Path(place) / CONFIG}'
    other = f"the adapter {place} belongs to another model than {base}, which it names"
    try:
        with safe_open(file, "pt") as tensors:
            facts, names = tensors.metadata() or {}, list(tensors.keys())
    except (OSError, SafetensorError) as error:
        raise LoraError(f"{file} cannot be read ({error}): save the adapter again") from error
    known = dict(model.named_modules())
    for name in names:
        layer = name.removeprefix("base_model.model.").partition(".lora_")[0]
        if ".lora_" in name and layer not in known:
            raise LoraError(f"{other}: that one has no layer {layer}; {remedy}")
    same_type = facts.get(DTYPE) == str(model.dtype).removeprefix("torch.")
    if same_type and facts.get(BASE, fingerprint) != fingerprint:
        raise LoraError(f"{other}: that one's weights were others when the adapter was trained; {remedy}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)  # peft asks transformers
            with_both = peft.PeftModel.from_pretrained(model, str(place))
    except (RuntimeError, ValueError, TypeError) as error:
        raise LoraError(f"{other}: {str(error).strip().splitlines()[-1].strip()}; {remedy}") from error
    plain: PreTrainedModel = with_both.merge_and_unload()
    vars(plain).pop("peft_config", None)
    return plain.requires_grad_(False)


def _is_adapter(name: str) -> bool:
    return ".lora_" in name


def _targets(model: PreTrainedModel, lora: Lora) -> list[str]:
    """The full names of the layers that get adapters."""
    trunk = model.base_model
    beginning = next((f"{name}." for name, module in model.named_modules() if name and module is trunk), "")
    linear = [beginning + name for name, module in trunk.named_modules() if type(module).__name__ in LINEAR]
    if lora.target_modules is None:
        if not linear:
            raise LoraError(f"{type(model).__name__} has no linear layers: name others, lora_target_modules=(…)")
        return linear
    found = [name for name in linear if name.endswith(tuple(f".{wanted}" for wanted in lora.target_modules))]
    for wanted in lora.target_modules:
        if not any(name.endswith(f".{wanted}") for name in found):
            kinds = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
            raise LoraError(
                f"lora_target_modules has {wanted!r}, which is no linear layer of {type(model).__name__}: accepted "
                f"are {kinds}"
            )
    return found


def _in_short(model: nn.Module, targets: Collection[str]) -> list[str]:
    """The layers' last names, as peft users write them, where these mean no further layer of the model."""
    kinds = {name.rpartition(".")[2] for name in targets}
    others = (
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if type(module).__name__ in LINEAR and not hasattr(module, "get_delta_weight")
    )
    return sorted(targets if any(name in kinds for name in others) else kinds)


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise LoraError(
            "adapters (lora_rank above 0, adapter folders) need the package peft: pip install 'textrlhf[lora]'"
        ) from error
    return peft
