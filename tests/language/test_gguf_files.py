"""GGUF files: one written here by llama.cpp's own package, and a real one where there is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from textrlhf.language import CausalLM, LanguageError, load

gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")
pytest.importorskip("accelerate", reason="the extra gguf is not installed")
pytestmark = pytest.mark.slow

HEADS, SHARED, D = 4, 2, 64
TEMPLATE = "{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '<eos>' }}{% endfor %}"


@pytest.fixture(scope="module")
def original() -> CausalLM:
    torch.manual_seed(0)
    tokens = ["<|endoftext|>", "<s>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "Ġa"]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [("a", "b"), ("Ġ", "a")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    shape = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=D,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=SHARED,
        max_position_embeddings=128,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=True,
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", bos_token="<s>", unk_token="<|endoftext|>"
    )
    return CausalLM(LlamaForCausalLM(shape).eval().requires_grad_(False), wrapped)


def write(path: Path, lm: CausalLM, arch: str = "llama", *, quantised: bool = False) -> Path:
    """The file that llama.cpp's converter would write of a small Llama."""
    config, tokens = lm.model.config, lm.tokenizer.convert_ids_to_tokens(range(len(lm.tokenizer)))
    out = gguf.GGUFWriter(path, arch)
    out.add_name("tiny")
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_block_count(config.num_hidden_layers)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(HEADS)
    out.add_head_count_kv(SHARED)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(config.rope_parameters["rope_theta"])
    out.add_rope_dimension_count(config.hidden_size // HEADS)
    out.add_vocab_size(config.vocab_size)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("default")
    out.add_token_list(tokens)
    out.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(tokens) - 3))
    out.add_token_merges(["a b", "Ġ a"])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    out.add_chat_template(TEMPLATE)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, tensor in lm.model.state_dict().items():
        if name == "lm_head.weight":
            continue  # tied
        array = tensor.float().numpy()
        if "q_proj" in name or "k_proj" in name:  # llama.cpp rotates neighbouring dimensions
            heads = HEADS if "q_proj" in name else SHARED
            array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        kind = gguf.GGMLQuantizationType.F32
        if quantised and array.ndim == 2 and array.shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
            array = gguf.quants.quantize(np.ascontiguousarray(array), kind)
        out.add_tensor(names.get_name(name, (".weight",)), np.ascontiguousarray(array), raw_dtype=kind)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def test_a_file_is_the_model_it_was_made_from(original: CausalLM, tmp_path: Path) -> None:
    """Rotated queries, other ends of texts, another tokenizer or template; a folder of it that cannot be saved."""
    read = load(write(tmp_path / "model.gguf", original))
    ids = torch.tensor([original.encode("ab a cab").tolist()])
    torch.testing.assert_close(read.model(ids).logits, original.model(ids).logits, atol=1e-5, rtol=0)
    assert read.encode("ab a cab").tolist() == ids[0].tolist()
    assert read.eos_ids == original.eos_ids
    assert read.tokenizer.chat_template == TEMPLATE
    assert load(tmp_path).fingerprint() == read.fingerprint()  # the folder's only one
    plain = read.save(tmp_path / "plain")
    again = load(tmp_path / "plain")
    assert again.fingerprint() == plain.fingerprint() == read.fingerprint()
    assert "quantization_config" not in (tmp_path / "plain" / "config.json").read_text()
    assert again.tokenizer.chat_template == TEMPLATE


def test_quantised_weights_become_plain_ones(original: CausalLM, tmp_path: Path) -> None:
    read = load(write(tmp_path / "model.gguf", original, quantised=True), dtype="bfloat16")
    assert {parameter.dtype for parameter in read.model.parameters()} == {torch.bfloat16}
    ids = torch.tensor([original.encode("ab a cab").tolist()])
    error = (read.model(ids).logits.float() - original.model(ids).logits).abs().max()
    assert 0 < error < 0.05


def test_what_is_refused(original: CausalLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "one.gguf", original)
    with pytest.raises(LanguageError, match=r"strange.gguf cannot be loaded: .*architectures that transformers"):
        load(write(tmp_path / "strange.gguf", original, arch="strange"))
    (tmp_path / "cut.gguf").write_bytes(file.read_bytes()[:3000])
    with pytest.raises(LanguageError, match=r"cut.gguf cannot be loaded: .*download it again"):
        load(tmp_path / "cut.gguf")
    with pytest.raises(LanguageError, match=r"holds 3 GGUF files: name one of them, such as .*cut.gguf"):
        load(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LanguageError, match=r"package gguf and accelerate: pip install 'textrlhf\[gguf\]'"):
        load(file)
