"""A causal language model with its tokenizer, named by a path, a hub id, or as one of the models shipped here.

A `CausalLM` pickles by its name, copies as itself, and is loaded once per process and name: Gymnasium's `check_env`
and `Wrapper.spec` copy an environment's arguments freely.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from .chat_template import find_turn_end
from .fingerprint import fingerprint
from .free_memory import TooLittleMemoryError, check_room
from .gguf_files import GGUFError, gguf_file, read_gguf
from .hf import ready_to_run, with_parameters_of
from .lora import Lora, LoraError, base_of, is_adapter, merged, with_adapter_merged, with_adapters
from .no_language_model import why_not_a_config, why_not_a_folder
from .tokenization import Codec

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ASSETS = Path(__file__).parent / "assets"

_loaded: dict[tuple[str, str, str], CausalLM] = {}


class LanguageError(ValueError):
    """A language model or tokenizer that cannot be used, and the remedy."""


class CausalLM(Codec):
    """A Hugging Face causal model and its tokenizer; the model given is used as it is, and not changed.

    `name` is the path, hub id or shipped name to load it by; without one it exists in this process only.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str | None = None) -> None:
        self.model: Any = ready_to_run(model)  # a PreTrainedModel, whose own types reject .to(device)
        self.name = name
        config = model.config
        if config.is_encoder_decoder:
            raise _encoder_decoder(self)
        self.vocab_size: int = _head(model).weight.shape[0]  # of the logits, often more than the tokenizer's
        super().__init__(tokenizer, _eos_ids(model, tokenizer, self))
        positions = getattr(config.get_text_config(), "max_position_embeddings", None)
        self.context: int | None = positions  # most tokens of a text; None: no limit
        if len(tokenizer) > self.vocab_size:
            raise LanguageError(
                f"the tokenizer of {self} has {len(tokenizer)} tokens and its model {self.vocab_size} logits: use the "
                "tokenizer the model was trained with, or model.resize_token_embeddings(len(tokenizer))"
            )

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    @property
    def trunk(self) -> nn.Module:
        """The model below its head: tokens to hidden states."""
        trunk: nn.Module = self.model.base_model
        return trunk

    def head(self, hidden: Tensor) -> Tensor:  # (..., d) -> (..., V)
        """Hidden states to logits, scaled or capped as some families do."""
        config = self.model.config.get_text_config()
        logits: Tensor = _head(self.model)(hidden)
        if scale := getattr(config, "logit_scale", None):  # Cohere
            logits = logits * scale
        if scaling := getattr(config, "logits_scaling", None):  # Granite divides by it
            logits = logits * scaling if config.model_type == "hyperclovax" else logits / scaling
        if cap := getattr(config, "final_logit_softcapping", None):  # Gemma 2
            logits = (logits / cap).tanh() * cap
        return logits

    def save(self, path: str | os.PathLike[str]) -> CausalLM:
        """Write a plain Hugging Face folder, adapters merged; return the same model, named by it."""
        from ..records.folder import check_replaceable, whole_folder

        check_replaceable(path, "config.json")
        model = merged(self.model)
        with whole_folder(path) as folder, no_progress_bars():
            model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
            for file in folder.iterdir():
                file.chmod(0o644)  # save_pretrained makes weights readable by their owner only
        name = os.path.abspath(path)
        for key in [key for key in _loaded if key[0] == name]:
            del _loaded[key]  # the folder's former model
        return CausalLM(model, self.tokenizer, name)

    def frozen(self) -> CausalLM:
        """The same weights without gradients: itself, or a handle on shared parameters where some need gradients."""
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            return self
        return CausalLM(with_parameters_of(self.model, frozen=True), self.tokenizer, self.name)

    def with_adapters(self, lora: Lora) -> CausalLM:
        """A handle on the same frozen weights with new adapters, which are trained."""
        return CausalLM(with_adapters(self.model, lora), self.tokenizer)

    def fingerprint(self) -> str:
        """Return a hash of all weights, to check that a model has not changed."""
        return fingerprint(self.model.state_dict())

    def __repr__(self) -> str:
        return f"CausalLM({self.name or type(self.model).__name__!r})"

    def __copy__(self) -> CausalLM:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CausalLM:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.name is None:
            raise LanguageError(
                f'{self} has no name that another process could load it by: save it first, lm = lm.save("some/folder")'
            )
        dtype = str(self.model.dtype).removeprefix("torch.")
        return load, (self.name, str(self.device), dtype)


def load(
    name: str | os.PathLike[str] | CausalLM,
    device: str | torch.device = "auto",
    dtype: str = "float32",
) -> CausalLM:
    """Return the model of that name (a path, a hub id or a shipped one), frozen and loaded once per process.

    The path may be a folder of a model, a GGUF file, or the folder of an adapter, which is merged into the model that
    its `adapter_config.json` names. A `CausalLM` is returned as it is.
    """
    if isinstance(name, CausalLM):
        return name
    name = os.path.abspath(name) if os.path.exists(name) else os.fspath(name)
    key = (name, str(pick_device(device)), dtype)
    if key not in _loaded:
        _loaded[key] = _load(*key)
    return _loaded[key]


def pick_device(device: str | torch.device) -> torch.device:
    """`"auto"` is the GPU where there is one; a device is named as its tensors name it, so that a model is loaded once.

    A tensor on "cuda", "mps" or any other kind of GPU says that it is on "cuda:0" or whichever is the current one.
    """
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if str(device) == "auto" else device)
    try:
        return torch.empty(0, device=place).device
    except (RuntimeError, AssertionError):  # it is not there, and what is moved to it will say so
        return place


def shipped() -> list[str]:
    """The names of the models that come with the package."""
    return sorted(folder.name for folder in ASSETS.iterdir() if folder.is_dir()) if ASSETS.is_dir() else []


def _load(name: str, device: str, dtype: str) -> CausalLM:
    if not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise LanguageError(f"dtype is {dtype!r}: expected the name of a torch type, such as 'float32' or 'bfloat16'")
    place = str(ASSETS / name) if name in shipped() else os.path.expanduser(name)
    try:
        if is_adapter(place):
            model, tokenizer = _with_adapter(place, dtype)
        elif file := gguf_file(place):
            with no_progress_bars():
                model, tokenizer = read_gguf(file, getattr(torch, dtype))
        else:
            model, tokenizer = _from_hugging_face(name, place, getattr(torch, dtype))
    except (GGUFError, LoraError, TooLittleMemoryError) as error:
        raise LanguageError(str(error)) from error
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise LanguageError(
            f"model {name!r} came without its tokenizer: save it beside the weights, tokenizer.save_pretrained(folder)"
        )
    return CausalLM(model.requires_grad_(False).to(device), tokenizer, name)


def _with_adapter(place: str, dtype: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """The model that an adapter belongs to, with the adapter merged into it."""
    name = base_of(place)
    base = _load(name, "cpu", dtype)  # not from the cache: it is changed
    return with_adapter_merged(base.model, base.fingerprint(), place, name), base.tokenizer


def _from_hugging_face(name: str, place: str, dtype: torch.dtype) -> tuple[Any, PreTrainedTokenizerBase]:
    """A folder as `save_pretrained` writes it, or a model of the hub."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    known = f"one of the shipped models {shipped()}"
    why = f"it is no folder, not {known}, and as a Hugging Face hub id it gave"
    if os.path.isabs(place) or place.startswith(".") or os.path.exists(place):
        _check_folder(name, place, known)
        check_room(place, dtype)
        why = "its folder gave"
    try:
        config = AutoConfig.from_pretrained(place)
        if config.is_encoder_decoder:
            raise _encoder_decoder(name)
        if other := why_not_a_config(config):
            raise LanguageError(f"model {name!r} is {other}")
        with no_progress_bars():
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                place, config=config, dtype=dtype, output_loading_info=True
            )
        model, info = loaded
        tokenizer = AutoTokenizer.from_pretrained(place)
    except LanguageError:
        raise
    except (OSError, ValueError, SafetensorError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise LanguageError(f"model {name!r} cannot be loaded: {why}: {first_line}") from error
    if info["missing_keys"]:
        raise LanguageError(
            f"model {name!r} is no causal language model: it has no weights for {sorted(info['missing_keys'])[:3]}, "
            "which would be random; was it saved without its head?"
        )
    return model, tokenizer


def _check_folder(name: str, place: str, known: str) -> None:
    """Raise a LanguageError unless a path is a folder with a model."""
    if other := why_not_a_folder(place):
        raise LanguageError(f"model {name!r} is {other}")
    if os.path.isfile(os.path.join(place, "metrics.jsonl")):
        its = os.path.join(name, "model")
        raise LanguageError(
            f"{name} is a run"
            + (f": its language model is {its}" if os.path.isdir(its) else ", which has no language model (yet)")
        )
    if not os.path.isfile(os.path.join(place, "config.json")):
        raise LanguageError(
            f"no language model at {place}: expected a folder with a config.json and weights, as save_pretrained() "
            f"writes it, a GGUF file, the id of a model on the Hugging Face hub, or {known}"
        )


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars for milliseconds of work."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _head(model: PreTrainedModel) -> nn.Linear:
    head = model.get_output_embeddings()
    if head is None:
        raise LanguageError(
            f"{type(model).__name__} has no language-model head: expected a causal model, as "
            "AutoModelForCausalLM loads it"
        )
    return head  # type: ignore[no-any-return]


def _eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, who: object) -> tuple[int, ...]:
    """Every token that ends a text: the tokenizer's, those of the generation config, and what ends a chat's turn."""
    generation = getattr(model, "generation_config", None)
    tuned = getattr(generation, "eos_token_id", None)
    tuned = [] if tuned is None else [tuned] if isinstance(tuned, int) else list(tuned)
    own = getattr(tokenizer, "eos_token_id", None)
    if own is None:
        raise LanguageError(
            f"the tokenizer of {who} has no end-of-text token, so no text could end: set tokenizer.eos_token to one of "
            "its tokens and save it"
        )
    named, added = tokenizer.all_special_ids, tokenizer.added_tokens_decoder
    special = {*named, *(i for i, token in added.items() if token.special)}  # Gemma's <end_of_turn> has no role
    turn_end = find_turn_end(tokenizer) if getattr(tokenizer, "chat_template", None) else None
    ends = [own, *(i for i in tuned if i in special), *([] if turn_end is None else [turn_end])]
    return tuple(dict.fromkeys(ends))


def _encoder_decoder(name: object) -> LanguageError:
    return LanguageError(
        f"{name} is an encoder-decoder: expected a decoder-only (causal) model such as GPT-2, Llama, Qwen or Gemma"
    )
