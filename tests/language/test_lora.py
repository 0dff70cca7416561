"""Adapters: loading them, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from textrlhf.language import CausalLM, LanguageError, load
from textrlhf.language.lora import Lora, LoraError, adapter_parameters, merged, save_adapter
from tiny_models import noisy, tiny_model, word_tokenizer

pytest.importorskip("peft", reason="the extra lora is not installed")

IDS = torch.arange(2, 12)[None]
FAMILIES = ["gpt2", "llama", "opt", "bloom", "gemma2", "phi3"]


def adapted(base: CausalLM, rank: int = 3, **settings) -> CausalLM:
    """Adapters that have learned something."""
    lm, draws = base.with_adapters(Lora(rank, **settings)), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapter_parameters(lm.model).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draws))
    return lm


def saved(folder: Path, family: str = "llama", **changes) -> CausalLM:
    return CausalLM(tiny_model(family, **changes), word_tokenizer()).save(folder)


def logits(lm: CausalLM) -> torch.Tensor:
    with torch.no_grad():
        return lm.model(IDS).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_and_saved(family: str, tmp_path: Path) -> None:
    """Transposed weights, scales, tied heads; a base that merging changes."""
    base = saved(tmp_path / "base", family)
    lm, before = adapted(base), base.fingerprint()
    assert (logits(lm) - logits(base)).abs().max() > 0.1
    plain = CausalLM(merged(lm.model), lm.tokenizer)
    assert plain.model.state_dict().keys() == base.model.state_dict().keys()
    torch.testing.assert_close(logits(plain), logits(lm), atol=1e-4, rtol=0)
    assert torch.equal(logits(lm.save(tmp_path / "merged")), logits(plain))
    assert torch.equal(logits(load(tmp_path / "merged")), logits(plain))
    save_adapter(lm.model, tmp_path / "adapter", tokenizer=lm.tokenizer, base=base.name, fingerprint=before)
    written = AutoTokenizer.from_pretrained(tmp_path / "adapter")
    assert written("a2 a3 a9")["input_ids"] == base.tokenizer("a2 a3 a9")["input_ids"]
    torch.testing.assert_close(logits(load(tmp_path / "adapter")), logits(lm), atol=1e-4, rtol=0)
    assert base.fingerprint() == before == load(tmp_path / "base").fingerprint()


def test_only_some_layers(tmp_path: Path) -> None:
    """Adapters on other layers than those named, alpha for the rank; names that peft's users would not write."""
    base = saved(tmp_path / "base")
    lm = adapted(base, target_modules=("q_proj", "down_proj"), alpha=12)
    names = adapter_parameters(lm.model)
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in names} == {"q_proj", "down_proj"}
    assert len(names) == 2 * 2 * 2
    about = {"base": base.name, "fingerprint": base.fingerprint()}
    save_adapter(lm.model, tmp_path / "adapter", tokenizer=lm.tokenizer, **about)
    stored = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (stored["target_modules"], stored["lora_alpha"], stored["r"]) == (["down_proj", "q_proj"], 12, 3)
    layer = lm.model.model.layers[1].mlp.down_proj
    expected = layer.base_layer.weight + 12 / 3 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(merged(lm.model).model.layers[1].mlp.down_proj.weight, expected)


class TestRefused:
    """An adapter that is loaded onto something it was not trained on, silently or with an error of torch's."""

    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Path:
        base = saved(tmp_path / "base")
        place = tmp_path / "adapter"
        about = {"base": base.name, "fingerprint": base.fingerprint()}
        save_adapter(adapted(base).model, place, tokenizer=base.tokenizer, **about)
        return place

    @staticmethod
    def naming(adapter: Path, **changes) -> Path:
        config = adapter / "adapter_config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
        return adapter

    def test_another_shape(self, adapter: Path, tmp_path: Path) -> None:
        """Also of an adapter made elsewhere, which does not say what it was trained on."""
        save_adapter(adapted(load(tmp_path / "base")).model, adapter, tokenizer=word_tokenizer(), base="x")
        other = saved(tmp_path / "wide", hidden_size=64).name
        with pytest.raises(LanguageError, match=r"belongs to another model than .*wide.*size.*name the right one"):
            load(self.naming(adapter, base_model_name_or_path=other))

    def test_another_family(self, adapter: Path, tmp_path: Path) -> None:
        other = saved(tmp_path / "gpt2", "gpt2").name
        with pytest.raises(LanguageError, match=r"another model than .*has no layer model\.layers\.0"):
            load(self.naming(adapter, base_model_name_or_path=other))

    def test_the_same_shape_with_other_weights(self, adapter: Path, tmp_path: Path) -> None:
        other = CausalLM(noisy(tiny_model("llama")), word_tokenizer()).save(tmp_path / "other").name
        with pytest.raises(LanguageError, match="weights were others when the adapter was trained"):
            load(self.naming(adapter, base_model_name_or_path=other))

    def test_no_base(self, adapter: Path) -> None:
        with pytest.raises(LanguageError, match="does not name the model"):
            load(self.naming(adapter, base_model_name_or_path=None))

    def test_another_task(self, adapter: Path) -> None:
        with pytest.raises(LanguageError, match="adapter for the task SEQ_CLS"):
            load(self.naming(adapter, task_type="SEQ_CLS"))

    @pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
    def test_damaged_files(self, adapter: Path, name: str) -> None:
        (adapter / name).write_text("{")
        with pytest.raises(LanguageError, match=f"{name}.*save the adapter again"):
            load(adapter)

    def test_without_peft(self, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(LanguageError, match=r"pip install 'textrlhf\[lora\]'"):
            load(adapter)

    def test_adapters_on_adapters(self, tmp_path: Path) -> None:
        with pytest.raises(LoraError, match="has adapters already"):
            adapted(adapted(saved(tmp_path / "base")))
