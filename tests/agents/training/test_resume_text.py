"""Runs on text: killed and resumed they are never interrupted, bit for bit; one seed is one run (design §7.8, §7.9)."""

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
from textrlhf.agents import PPO, Callback
from textrlhf.agents.training import loop as training
from textrlhf.language import CausalLM
from textrlhf.records.checkpoint import CheckpointError
from tiny_envs import Counting
from tiny_models import tiny_lm, tiny_model, word_tokenizer

UPDATES, EVERY = 9, 3 * 7 * N  # three updates from one checkpoint to the next


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "draw_curves", lambda *args: None)


@pytest.mark.parametrize(
    ("family", "kind", "kl_penalty", "critic"),
    [
        ("gpt2", "cut", "token", False),
        ("llama", "dialogue", "deferred", True),
        ("opt", "masks", "token", False),
        ("bloom", "plain", "deferred", False),
        ("bloom", "plain", "token", False),
    ],
)
def test_interrupted_and_resumed_is_never_interrupted(
    family: str, kind: str, kl_penalty: str, critic: bool, tmp_path: Path
) -> None:
    """Also that a folder, its checkpoints and its samples change nothing: the whole run has none."""

    def fresh() -> PPO:
        return learner(batch(kind, family, kl_penalty=kl_penalty), separate_critic=critic, checkpoint_every=EVERY)

    whole = fresh().learn(UPDATES * 7 * N, progress=False)
    with pytest.raises(KeyboardInterrupt):
        fresh().learn(UPDATES * 7 * N, run=tmp_path, progress=False, callbacks=Interrupt(5))
    with pytest.raises(KeyboardInterrupt):
        PPO.resume(tmp_path, batch(kind, family, kl_penalty=kl_penalty), progress=False, callbacks=Interrupt(8))
    resumed = PPO.resume(tmp_path, batch(kind, family, kl_penalty=kl_penalty), progress=False)
    assert resumed.n_updates == UPDATES
    assert torch.equal(resumed.optimizer.flat, whole.optimizer.flat)
    assert torch.equal(resumed.optimizer.square, whole.optimizer.square)
    assert without_feedback(resumed) == without_feedback(whole)


def without_feedback(agent: PPO) -> dict:
    """All that is saved beside the weights; see test_a_resumed_run_tells_the_same_of_its_episodes."""
    state = agent.state_dict()
    recent = [
        {name: value for name, value in told.items() if name != "feedback"} for told in state["episodes"]["recent"]
    ]
    return {**state, "episodes": {**state["episodes"], "recent": recent}}


def test_a_resumed_run_tells_the_same_of_its_episodes(tmp_path: Path) -> None:
    dialogue = {"kind": "dialogue", "family": "llama", "kl_penalty": "deferred"}

    def told(*callbacks: Callback, run: Path | None = None) -> list:
        if run and not callbacks:
            return PPO.resume(run, batch(**dialogue), progress=False).state_dict()["episodes"]["recent"]
        agent = learner(batch(**dialogue), checkpoint_every=EVERY, separate_critic=True)
        agent.learn(UPDATES * 7 * N, progress=False, run=run, callbacks=callbacks)
        return agent.state_dict()["episodes"]["recent"]

    with pytest.raises(KeyboardInterrupt):
        told(Interrupt(5), run=tmp_path)
    assert told(run=tmp_path) == told()


KILLED = """
import os, signal, sys
from textrlhf.agents import PPO
update, calls = PPO.update, []
def dying(*args):
    calls.append(None)
    if len(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return update(*args)
PPO.update = dying
{begin}.learn(192, run=sys.argv[1], progress=False)
"""
BEGIN = """PPO.tuned("TextRLHF-v0", seed=1, n_envs=4, n_steps=8, batch_size=32, n_epochs=1, checkpoint_every=64)"""


@pytest.mark.slow
def test_killed_and_resumed_with_the_shipped_model(tmp_path: Path) -> None:
    """SIGKILL in the sixth update; two updates lie between checkpoints."""
    child = subprocess.run(
        [sys.executable, "-c", KILLED.format(begin=BEGIN), tmp_path],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    whole = eval(BEGIN, {"PPO": PPO}).learn(192, progress=False)
    resumed = PPO.resume(tmp_path, progress=False)
    assert resumed.num_timesteps == whole.num_timesteps == 192
    assert torch.equal(resumed.optimizer.flat, whole.optimizer.flat)
    assert resumed.state_dict() == whole.state_dict()


@pytest.mark.parametrize("kl_penalty", ["token", "deferred"])
def test_one_seed_is_one_run(kl_penalty: str) -> None:
    weights = [
        learner(batch("dialogue", kl_penalty=kl_penalty), seed=seed).learn(3 * 7 * N, progress=False).optimizer.flat
        for seed in (5, 5, 6)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def named(model, folder: Path):
    """The usual environment with a model that has a name."""
    lm = CausalLM(model, word_tokenizer()).save(folder)
    return gym.make_vec("TextRLHF-v0", N, task=Counting(), model=lm, context=24)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint of an agent that began from `tiny_lm()`."""
    agent = learner(batch(), moved=0.1)
    agent.save(tmp_path / "saved")
    return tmp_path / "saved"


def test_another_reference_of_the_same_shape_is_refused(saved: Path, tmp_path: Path) -> None:
    """Else texts would be penalised for leaving a model that the agent never was."""
    with pytest.raises(CheckpointError, match=r"not the one this agent started from.*pass env="):
        PPO.load(saved, named(tiny_model("gpt2", seed=1), tmp_path / "other"))


def test_the_same_reference_under_another_name_is_not(saved: Path, tmp_path: Path) -> None:
    agent = PPO.load(saved, named(tiny_lm().model, tmp_path / "moved"))
    assert agent.policy.lm.fingerprint() != tiny_lm().fingerprint()
    assert agent.state_dict()["reference_model"] == tiny_lm().fingerprint()


def test_a_checkpoint_that_does_not_say_is_taken_at_its_word(saved: Path) -> None:
    state = json.loads((saved / "state.json").read_text())
    del state["learning"]["reference_model"]
    (saved / "state.json").write_text(json.dumps(state))
    PPO.load(saved, batch())


def test_agents_without_a_reference_say_nothing_of_one() -> None:
    assert "reference_model" not in PPO("CartPole-v1", n_envs=1).state_dict()
