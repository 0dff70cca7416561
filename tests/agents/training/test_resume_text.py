"""Text runs that are killed and resumed equal uninterrupted ones bit for bit (design §7.8, §7.9)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest
import torch

from interrupted import Interrupt
from text_learner import N, batch, learner
from textrlhf.agents import PPO
from textrlhf.agents.training import loop as training
from textrlhf.language import CausalLM
from textrlhf.records.checkpoint import CheckpointError
from tiny_envs import Counting
from tiny_models import tiny_lm, tiny_model, word_tokenizer

pytestmark = pytest.mark.slow

UPDATES, EVERY = 6, 3 * 7 * N  # three updates between checkpoints


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "draw_curves", lambda *args: None)


@pytest.mark.parametrize(
    ("family", "kind", "kl_penalty", "critic"),
    [
        ("gpt2", "cut", "token", False),
        ("llama", "dialogue", "deferred", True),
        ("opt", "masks", "deferred", False),
        ("bloom", "plain", "token", False),
    ],
)
def test_interrupted_and_resumed_equals_uninterrupted(
    family: str, kind: str, kl_penalty: str, critic: bool, tmp_path: Path
) -> None:
    def fresh() -> PPO:
        return learner(batch(kind, family, kl_penalty=kl_penalty), separate_critic=critic, checkpoint_every=EVERY)

    whole = fresh().learn(UPDATES * 7 * N, run=tmp_path / "whole", progress=False)
    with pytest.raises(KeyboardInterrupt):
        fresh().learn(UPDATES * 7 * N, run=tmp_path, progress=False, callbacks=Interrupt(4))
    with pytest.raises(KeyboardInterrupt):
        PPO.resume(tmp_path, batch(kind, family, kl_penalty=kl_penalty), progress=False, callbacks=Interrupt(5))
    resumed = PPO.resume(tmp_path, batch(kind, family, kl_penalty=kl_penalty), progress=False)
    assert resumed.n_updates == UPDATES
    assert torch.equal(resumed.optimizer.flat, whole.optimizer.flat)
    assert torch.equal(resumed.optimizer.square, whole.optimizer.square)
    assert resumed.state_dict() == whole.state_dict()


KILLED = """
import os, signal, sys
from textrlhf.agents import PPO
update, calls = PPO.update, []
def dying(*args):
    calls.append(None)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return update(*args)
PPO.update = dying
{begin}.learn(128, run=sys.argv[1], progress=False)
"""
BEGIN = """PPO.tuned("TextRLHF-v0", seed=1, n_envs=4, n_steps=8, batch_size=32, n_epochs=1, checkpoint_every=64)"""


def test_killed_and_resumed_with_the_shipped_model(tmp_path: Path) -> None:
    """SIGKILL in the fourth update; two updates lie between checkpoints."""
    child = subprocess.run(
        [sys.executable, "-c", KILLED.format(begin=BEGIN), tmp_path],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    whole = eval(BEGIN, {"PPO": PPO}).learn(128, run=tmp_path / "whole", progress=False)
    resumed = PPO.resume(tmp_path, progress=False)
    assert resumed.num_timesteps == whole.num_timesteps == 128
    assert torch.equal(resumed.optimizer.flat, whole.optimizer.flat)
    assert resumed.state_dict() == whole.state_dict()


@pytest.mark.parametrize("kl_penalty", ["token", "deferred"])
def test_same_seed_same_run(kl_penalty: str) -> None:
    weights = [
        learner(batch("dialogue", kl_penalty=kl_penalty), seed=seed).learn(3 * 7 * N, progress=False).optimizer.flat
        for seed in (5, 5, 6)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def named(model, folder: Path):
    """The usual environment with a model from a folder."""
    lm = CausalLM(model, word_tokenizer()).save(folder)
    return gym.make_vec("TextRLHF-v0", N, task=Counting(), model=lm, context=24)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint of an agent that started from `tiny_lm()`."""
    agent = learner(batch(), moved=0.1)
    agent.save(tmp_path / "saved")
    return tmp_path / "saved"


def test_another_reference_model_is_refused(saved: Path, tmp_path: Path) -> None:
    """Else the KL penalty would be measured from another model."""
    with pytest.raises(CheckpointError, match=r"not the one this agent started from.*pass env="):
        PPO.load(saved, named(tiny_model("gpt2", seed=1), tmp_path / "other"))


def test_same_reference_model_at_another_path_is_accepted(saved: Path, tmp_path: Path) -> None:
    agent = PPO.load(saved, named(tiny_lm().model, tmp_path / "moved"))
    assert agent.policy.lm.fingerprint() != tiny_lm().fingerprint()
    assert agent.state_dict()["reference_model"] == tiny_lm().fingerprint()


def test_checkpoint_without_reference_hash_is_accepted(saved: Path) -> None:
    state = json.loads((saved / "state.json").read_text())
    del state["learning"]["reference_model"]
    (saved / "state.json").write_text(json.dumps(state))
    PPO.load(saved, batch())


def test_no_reference_hash_without_reference_model() -> None:
    assert "reference_model" not in PPO("CartPole-v1", n_envs=1).state_dict()
