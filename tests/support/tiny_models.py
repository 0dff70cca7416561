"""A tiny random model of every family, with a tokenizer of words, made on the spot."""

from __future__ import annotations

import functools

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

V = 40
_SHAPE = {"vocab_size": V, "bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 1}
_LLAMA = {
    **_SHAPE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
_NEOX = {k: v for k, v in _LLAMA.items() if k != "num_key_value_heads"}
ON_SLOTS = {
    "gpt2": {**_SHAPE, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    "gpt_neox": _NEOX,
    "opt": {
        **_SHAPE,
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "word_embed_proj_dim": 24,
    },
    "llama": _LLAMA,
    "mistral": {**_LLAMA, "sliding_window": None},
    "qwen2": _LLAMA,
    "qwen3": {**_LLAMA, "head_dim": 8},
    "phi3": _LLAMA,
    "smollm3": _LLAMA,
    "olmo2": _LLAMA,
}
ON_COLUMNS = {
    "gemma2": {**_LLAMA, "head_dim": 8, "sliding_window": 16, "query_pre_attn_scalar": 8},
    "gemma3_text": {**_LLAMA, "head_dim": 8, "sliding_window": 16, "query_pre_attn_scalar": 8},
    "bloom": {**_SHAPE, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "mistral": {**_LLAMA, "sliding_window": 16},
    "gpt_neo": {
        **_SHAPE,
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 16,
        "max_position_embeddings": 128,
    },
}


def tiny_model(family: str, *, seed: int = 0, **changes):
    """A model whose next token depends strongly on what it has read."""
    torch.manual_seed(seed)
    shape = {**(ON_SLOTS | {k: v for k, v in ON_COLUMNS.items() if k not in ON_SLOTS})[family], **changes}
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**shape)).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.15)
        parameter.requires_grad_(False)
    return model


def noisy(module, *, seed: int = 0, size: float = 0.15):
    """The same module with frozen weights that lie a little elsewhere, as if it had been trained."""
    draws = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.add_(size * torch.randn(parameter.shape, generator=draws))
        parameter.requires_grad_(False)
    return module


def word_tokenizer(size: int = V) -> PreTrainedTokenizerFast:
    """Words "a0", "a1", …; token 0 is unknown, token 1 ends a text."""
    vocab = {"<unk>": 0, "<eos>": 1, **{f"a{i}": i for i in range(2, size)}}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>")


def beginning() -> PreTrainedTokenizerFast:
    """As Llama's: token V begins every text, and of a pair each."""
    tokenizer = word_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        "<s> $A", "<s> $A <s> $B:1", special_tokens=[("<s>", V)]
    )
    return tokenizer


def tiny_lm(family: str = "gpt2"):
    """A handle on a tiny model, the same one each time."""
    return _tiny_lm(family)


@functools.cache
def _tiny_lm(family: str):
    from textrlhf.language import CausalLM

    return CausalLM(tiny_model(family), word_tokenizer())
