"""Reward models with adapters: what is trained, resuming, and what is written."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

from textrlhf.language import CausalLM
from textrlhf.language.free_memory import TooLittleMemoryError
from textrlhf.records.run import Run
from textrlhf.reward_models import Ranked, RewardModel, TrainConfig, load_reward_model, train, train_reward_model
from textrlhf.reward_models.text.folder import RewardModelFolderError
from tiny_models import V, tiny_model, word_tokenizer

peft = pytest.importorskip("peft", reason="the extra lora is not installed")
pytestmark = pytest.mark.slow

PAIRS = [Ranked(f"a{i} a{i + 1}", (" a5", " a7")) for i in range(8, 32)]
CONFIG = TrainConfig(epochs=6, batch_size=8, checkpoints=3, lora_rank=3, dropout=0.1)
GOOD_BAD = (["a3"] * 2, [" a5", " a7"])


def base(folder: Path, family: str = "llama") -> CausalLM:
    return CausalLM(tiny_model(family), word_tokenizer()).save(folder / "base")


@pytest.mark.parametrize("head", ["tokens", "last"])
def test_only_adapters_and_head_are_trained(head: str, tmp_path: Path) -> None:
    """A trunk that moves with them; a checkpoint that holds it; adapters that stay as they began."""
    lm = base(tmp_path)
    member = RewardModel.new(lm, head)
    before = {name: value.clone() for name, value in member.network.trunk.state_dict().items()}
    result = train(
        member, PAIRS, dataclasses.replace(CONFIG, token_learning_rate=0.1), run=tmp_path / "run", show=False
    )
    stored = Run(tmp_path / "run").last_checkpoint().tensors["model"]
    others = {name for name in stored if ".lora_" not in name}
    assert others <= {"network.model.score.weight", "network.values.values", "network.values.gate", "offset", "line"}
    after = result.reward_model.network.trunk.state_dict()
    moved = {name for name, value in after.items() if ".lora_A" in name or ".lora_B" in name if value.any()}
    assert len(moved) == 2 * 7 * 2
    for name, value in before.items():
        assert torch.equal(after.get(name, after.get(name.replace(".weight", ".base_layer.weight"))), value)
    assert not member.network.requires_grad_(False).values or head == "tokens"


@pytest.mark.parametrize("head", ["tokens", "last"])
def test_weights_are_shared_and_unchanged(head: str, tmp_path: Path) -> None:
    """A second copy of the language model; one that training changes, adapters or not."""
    lm = base(tmp_path)
    before, places = lm.fingerprint(), {p.data_ptr() for p in lm.model.parameters()}
    member = RewardModel.new(lm, head, share_weights=True)
    assert {p.data_ptr() for p in member.network.trunk.parameters()} <= places
    for config in (CONFIG, dataclasses.replace(CONFIG, lora_rank=0)):
        raw = train(member, PAIRS, config, show=False).reward_model.raw(*GOOD_BAD)
        assert lm.fingerprint() == before
        assert raw[0] != raw[1]
    assert not {p.data_ptr() for p in member.network.trunk.parameters()} & places


@pytest.mark.parametrize("head", ["tokens", "last"])
def test_learned_saved_and_resumed(head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that holds something else than what was trained; a resumed run that ends elsewhere."""
    lm = base(tmp_path)
    how = {"head": head, "max_new_tokens": 8, "reference_texts": 48, "show": False}
    config = dataclasses.replace(CONFIG, gradient_checkpointing=True, token_learning_rate=0.1)
    trained = train_reward_model(PAIRS, lm, config=config, run=tmp_path / "run", **how).reward_model
    good, bad = trained(*GOOD_BAD)
    assert good > bad + 0.5
    loaded = load_reward_model(tmp_path / "run")
    np.testing.assert_array_equal(loaded(*GOOD_BAD), trained(*GOOD_BAD))
    monkeypatch.setattr("textrlhf.language.sizes.free_memory", lambda device: 0)  # and then more of it
    run = Run(tmp_path / "cut")
    short = RewardModel.new(lm, head)
    train(short, PAIRS, config, run=run.path, show=False)
    shutil.rmtree(run.checkpoint_path(run.steps()[-1]))
    monkeypatch.undo()
    again = RewardModel.new(lm, head)
    train(again, PAIRS, config, run=run.path, resume=True, show=False)
    np.testing.assert_array_equal(again.raw(*GOOD_BAD), short.raw(*GOOD_BAD))
    with pytest.raises(RewardModelFolderError, match="is an adapter"):
        load_reward_model(tmp_path / "run" / "adapter")


def test_adapter_loads_with_peft(tmp_path: Path) -> None:
    """A head that is missing from it, or names that peft does not know."""
    lm = base(tmp_path)
    member = RewardModel.new(lm, "last")
    train(member, PAIRS, CONFIG, show=False)
    member.save_adapter(tmp_path / "adapter", base=lm.name)
    assert AutoTokenizer.from_pretrained(tmp_path / "adapter")("a2 a9") == lm.tokenizer("a2 a9")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        torch.manual_seed(0)
        plain = AutoModelForSequenceClassification.from_pretrained(lm.name, num_labels=1, pad_token_id=0)
        theirs = peft.PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    ids = torch.tensor([[3, 5, 9, 7]])
    with torch.no_grad():
        ours = member.network.model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        found = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(found, ours, atol=1e-5, rtol=0)


def test_encoders_take_adapters(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=V, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    torch.manual_seed(0)
    BertModel(config).save_pretrained(tmp_path / "bert")
    word_tokenizer().save_pretrained(tmp_path / "bert")
    member = RewardModel.new(tmp_path / "bert", "last")
    train(member, PAIRS, dataclasses.replace(CONFIG, epochs=12.0, learning_rate=1e-2), show=False)
    good, bad = member.raw(*GOOD_BAD)
    assert good > bad + 0.5
    np.testing.assert_allclose(member.save(tmp_path / "saved").raw(*GOOD_BAD), [good, bad], atol=1e-4)


def test_too_little_memory_is_an_error_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    member = RewardModel.new(base(tmp_path), "tokens")
    monkeypatch.setattr("textrlhf.language.memory_estimate.free_memory", lambda device: 100_000)
    with pytest.raises(TooLittleMemoryError, match="the reward model takes about .* moments .*lora_rank=16"):
        train(member, PAIRS, dataclasses.replace(CONFIG, lora_rank=0), show=False)
    train(member, PAIRS, dataclasses.replace(CONFIG, lora_rank=1, epochs=1.0), show=False)


def test_settings() -> None:
    assert TrainConfig(**{**dataclasses.asdict(CONFIG), "lora_target_modules": ["q_proj"]}).lora_target_modules == (
        "q_proj",
    )
    with pytest.raises(ValueError, match="frozen=True trains the head alone"):
        TrainConfig(frozen=True, lora_rank=4)
    with pytest.raises(ValueError, match="lora_rank is -1"):
        TrainConfig(lora_rank=-1)
