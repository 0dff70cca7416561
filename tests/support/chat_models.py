"""Tokenizers with the chat templates of well-known families, made on the spot, and a tiny model that has one."""

from __future__ import annotations

import functools
import itertools

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tiny_models import tiny_model

HEAD = "{%- for m in messages -%}"
TRIMMED = "{%- set text = m.content | trim -%}"
CHATML_TURN = "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
CHATML_END = "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}"


def _chatml(default: str | None = None) -> str:
    """With a system message of the model's own where the conversation has none."""
    system = ""
    if default:
        own = f"{{{{ '<|im_start|>system\n{default}<|im_end|>\n' }}}}"
        system = "{%- if messages[0].role != 'system' -%}" + own + "{%- endif -%}"
    return system + HEAD + CHATML_TURN + CHATML_END


LLAMA3 = (
    "{{ bos_token }}"
    + HEAD
    + TRIMMED
    + "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + text + '<|eot_id|>' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif -%}"
)
# Thoughts are taken out of all turns but those after the last question, which always have some.
QWEN3 = (
    "{%- set ns = namespace(last=0) -%}"
    + HEAD
    + "{%- if m.role == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}"
    "{%- endfor -%}" + HEAD + "{%- if m.role == 'assistant' -%}"
    "{%- set said = m.content.split('</think>')[-1].lstrip('\n') -%}"
    "{%- set parts = m.content.split('</think>') -%}"
    "{%- set thought = parts[0].split('<think>')[-1].strip('\n') if parts[1:] else '' -%}"
    "{{ '<|im_start|>assistant\n' }}"
    "{%- if loop.index0 > ns.last -%}{{ '<think>\n' + thought + '\n</think>\n\n' }}{%- endif -%}"
    "{{ said + '<|im_end|>\n' }}"
    "{%- else -%}" + CHATML_TURN + "{%- endif -%}" + CHATML_END
)
GEMMA = (
    "{{ bos_token }}"
    "{%- if messages[0].role == 'system' -%}{{ raise_exception('System role not supported') }}{%- endif -%}"
    + HEAD
    + "{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('Roles must alternate') }}"
    "{%- endif -%}"
    + TRIMMED
    + "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + text + '<end_of_turn>\n' }}"
    "{%- endfor -%}{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)
# The system message stands in the last of the user's turns.
MISTRAL = (
    "{%- set system = messages[0].content if messages[0].role == 'system' else none -%}"
    "{%- set turns = messages[1:] if system else messages -%}{{ bos_token }}{%- for m in turns -%}"
    "{%- if m.role == 'user' -%}"
    "{{ '[INST] ' + (system + '\n\n' if system and (loop.last or loop.index0 == turns | length - 2) else '') "
    "+ m.content + '[/INST]' }}"
    "{%- else -%}{{ ' ' + m.content | trim + eos_token }}{%- endif -%}{%- endfor -%}"
)
PHI3 = (
    HEAD + "{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>\n' }}{%- else -%}{{ eos_token }}{%- endif -%}"
)
PHI4 = (
    HEAD + "{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant<|im_sep|>' }}{%- endif -%}"
)
QWEN_SAYS = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
SMOL_SAYS = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

_HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_IM = ("<|im_start|>", "<|im_end|>")
# template, tokens of its own, eos, bos that the tokenizer adds itself, kind of tokenizer
FAMILIES = {
    "llama3": (LLAMA3, _HEADERS, "<|end_of_text|>", "<|begin_of_text|>", "bytes"),
    "qwen2.5": (_chatml(QWEN_SAYS), _IM, "<|im_end|>", None, "bytes"),
    "qwen3": (QWEN3, _IM, "<|im_end|>", None, "bytes"),
    "gemma": (GEMMA, ("<start_of_turn>", "<end_of_turn>"), "<eos>", "<bos>", "pieces"),
    "mistral": (MISTRAL, ("[INST]", "[/INST]"), "</s>", "<s>", "pieces"),
    "smollm2": (_chatml(SMOL_SAYS), _IM, "<|im_end|>", None, "bytes"),
    "phi3": (PHI3, ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"), "<|endoftext|>", None, "pieces"),
    "phi4": (PHI4, (*_IM, "<|im_sep|>"), "<|im_end|>", None, "bytes"),
    "chatml": (_chatml(), _IM, "<|im_end|>", None, "bytes"),
}  # fmt: skip
TURN_ENDS = {
    "llama3": "<|eot_id|>",
    "gemma": "<end_of_turn>",
    "mistral": "</s>",
    "phi3": "<|end|>",
    **dict.fromkeys(("qwen2.5", "qwen3", "smollm2", "phi4", "chatml"), "<|im_end|>"),
}
MERGED = ("he", "in", "re", "on", "th", "an", "er", "st", "ou", "\n\n")  # a few tokens of two letters


def chat_tokenizer(family: str = "chatml") -> PreTrainedTokenizerFast:
    """A tokenizer that knows every byte or letter, with the special tokens and the template of a family."""
    template, tokens, eos, bos, kind = FAMILIES[family]
    tokenizer = _bytes() if kind == "bytes" else _pieces()
    own = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos, **({"bos_token": bos} if bos else {}))
    own.add_special_tokens({"additional_special_tokens": list(tokens)})
    if bos:
        first = own.convert_tokens_to_ids(bos)
        own.backend_tokenizer.post_processor = processors.TemplateProcessing(f"{bos} $A", special_tokens=[(bos, first)])
    own.chat_template = template
    return own


def _bytes() -> Tokenizer:
    """As Llama 3's and Qwen's: bytes, a space belongs to the word behind it, and newlines stay together."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    byte = dict(zip(" \n", "ĠĊ", strict=True))
    pairs = [tuple(byte.get(letter, letter) for letter in pair) for pair in MERGED]
    spaced = [(byte[" "], letter) for letter in "ahtsw"]
    vocab = {token: i for i, token in enumerate([*letters, *("".join(pair) for pair in (*pairs, *spaced))])}
    tokenizer = Tokenizer(models.BPE(vocab, [*pairs, *spaced]))
    split = pre_tokenizers.Split(
        Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"), "isolated"
    )
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _pieces() -> Tokenizer:
    """As SentencePiece's: a text begins with a space that nobody wrote."""
    letters = [chr(code) for code in (*range(33, 127), 10)]
    vocab = {token: i for i, token in enumerate(["<unk>", "▁", *letters, *(f"▁{letter}" for letter in "ahtsw")])}
    tokenizer = Tokenizer(models.BPE(vocab, [("▁", letter) for letter in "ahtsw"], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer


@functools.cache
def chat_lm(family: str = "chatml", model: str = "llama"):
    """A tiny random model with a family's tokenizer, the same one each time."""
    from textrlhf.language import CausalLM

    tokenizer = chat_tokenizer(family)
    shape = {"vocab_size": len(tokenizer) + 3, "max_position_embeddings": 512}
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokenizer.eos_token_id)
    return CausalLM(tiny_model(model, **shape, **ends), tokenizer)


def said(*contents: str, system: str | None = None) -> list[dict[str, str]]:
    """Messages of user and assistant in turn."""
    turns = [{"role": role, "content": one} for role, one in zip(itertools.cycle(("user", "assistant")), contents)]
    return [*([{"role": "system", "content": system}] if system else []), *turns]
