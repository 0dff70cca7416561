"""Models in the GGUF format of llama.cpp, read by transformers: weights become plain tensors, quantised or not."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .hf import dequantised, forget_quantisation, no_gguf_progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SUFFIX = ".gguf"


class GGUFError(ValueError):
    """A GGUF file that cannot be used, and the remedy."""


def gguf_file(place: str | os.PathLike[str]) -> Path | None:
    """The GGUF file at a place: itself, or the only one of a folder that holds no other model."""
    path = Path(place)
    if path.is_file():
        return path if path.suffix.lower() == SUFFIX else None
    if not path.is_dir() or (path / "config.json").is_file():
        return None
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == SUFFIX)
    if len(files) > 1:
        raise GGUFError(f"{path} holds {len(files)} GGUF files: name one of them, such as {files[0]}")
    return files[0] if files else None


def read_gguf(file: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load model and tokenizer, with its chat template if the file has one; the model saves as any other does."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    missing = [name for name in ("gguf", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise GGUFError(f"{file} needs the package {' and '.join(missing)}: pip install 'textrlhf[gguf]'")
    try:
        with no_gguf_progress():
            model: Any = AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, dtype=dtype, **dequantised()
            )
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except Exception as error:  # transformers checks little here, so a damaged file fails in many ways
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise GGUFError(
            f"{file} cannot be loaded: {lines[0]}; accepted are complete files of the architectures that transformers "
            "reads, Llama, Qwen, Gemma and Mistral among them: if it is one, download it again, else take the model's "
            "own folder of safetensors"
        ) from error
    return forget_quantisation(model), tokenizer
