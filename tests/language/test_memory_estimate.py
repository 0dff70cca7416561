"""Estimates of memory against what training really holds, and errors before it starts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from text_learner import batch, learner
from textrlhf.language import CausalLM, LanguageError, free_memory, load
from textrlhf.language import memory_estimate as module
from textrlhf.language.free_memory import TooLittleMemoryError, in_words
from textrlhf.language.lora import Lora
from textrlhf.language.memory_estimate import training_memory
from tiny_models import tiny_model, word_tokenizer


@pytest.mark.parametrize("critic", [False, True], ids=["shared", "separate"])
@pytest.mark.parametrize("rank", [0, 3])
def test_what_stays_is_counted(rank: int, critic: bool) -> None:
    """A tensor that nobody thought of; a second copy of the weights or of the reference."""
    if rank:
        pytest.importorskip("peft", reason="the extra lora is not installed")
    agent = learner(batch("plain", "llama"), lora_rank=rank, separate_critic=critic)
    reference = {p.untyped_storage().data_ptr() for p in agent.env.reference_model.model.parameters()}
    lms = [lm.model for lm in (agent.policy.lm, agent.policy.critic_lm) if lm]
    moments = [agent.optimizer.gradient, agent.optimizer.mean, agent.optimizer.square]
    held = [*(p for lm in lms for p in lm.parameters()), *agent.policy.network.parameters(), *moments]
    sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held}
    real = sum(size for place, size in sizes.items() if place not in reference)
    head = agent.policy.network["critic"]
    real -= 4 * 4 * sum(p.numel() for p in head.parameters())  # a few thousand numbers at any size of model
    lora = Lora(rank) if rank else None
    known = training_memory(agent.env.reference_model.model, lora=lora, separate_critic=critic, tokens=64)
    assert sum(known.fixed.values()) == pytest.approx(real, rel=0.02)


def test_too_little_memory_is_an_error_before_training(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    """An allocation that fails, or a process that is killed, after an hour."""
    monkeypatch.setattr(module, "free_memory", lambda device: 200_000)
    with pytest.raises(
        TooLittleMemoryError, match=r"takes about .* MB of memory and 200 kB are free on cpu: .*lora_rank=16"
    ):
        learner(batch("plain", "llama"))
    monkeypatch.setattr(module, "free_memory", lambda device: 2_000_000)
    with caplog.at_level(logging.WARNING, "textrlhf"):
        learner(batch("plain", "llama"))
    assert "activations" in caplog.text
    assert "gradient_checkpointing=True" in caplog.text


def test_models_that_do_not_fit_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CausalLM(tiny_model("llama"), word_tokenizer()).save(tmp_path / "model")
    monkeypatch.setattr(free_memory, "free_memory", lambda device: 1000)
    with pytest.raises(LanguageError, match=r"model has \d\d,\d\d\d weights, .* in float32, and 1 kB .*bfloat16"):
        load(tmp_path / "model")


class TestFreeMemory:
    """What is free by files as Linux writes them."""

    @staticmethod
    def write(root: Path, **files: str) -> Path:
        for name, text in files.items():
            place = root / name.replace("__", "/").replace("_dot_", ".")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return root

    def test_without_a_container(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, proc__meminfo="MemTotal:  16000 kB\nMemAvailable:   9000 kB\n")
        assert free_memory._free_on_host(root) == 9000 * 1024

    def test_in_a_container(self, tmp_path: Path) -> None:
        """Whose limit is what counts, and whose cached files can be dropped."""
        root = self.write(
            tmp_path,
            proc__meminfo="MemAvailable: 9000000 kB\n",
            sys__fs__cgroup__memory_dot_max="4000000\n",
            sys__fs__cgroup__memory_dot_current="3500000\n",
            sys__fs__cgroup__memory_dot_stat="anon 1\ninactive_file 500000\n",
        )
        assert free_memory._free_on_host(root) == 1_000_000

    def test_in_a_container_without_a_limit(self, tmp_path: Path) -> None:
        root = self.write(tmp_path, proc__meminfo="MemAvailable: 9 kB\n", sys__fs__cgroup__memory_dot_max="max\n")
        assert free_memory._free_on_host(root) == 9 * 1024

    def test_here(self) -> None:
        free = free_memory.free_memory(torch.device("cpu"))
        assert free is None or 1 << 20 < free < 1 << 50
        assert free_memory.free_memory(torch.device("meta")) is None


def test_sizes_in_words() -> None:
    assert [in_words(size) for size in (7, 1500, 2_340_000, 5.4e10)] == ["7 B", "1.5 kB", "2.34 MB", "54.0 GB"]
