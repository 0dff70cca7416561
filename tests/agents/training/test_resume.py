"""Runs that are killed at any moment and resumed equal uninterrupted ones bit for bit (design §7.8)."""

from __future__ import annotations

import shutil
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import killed_run
from interrupted import Interrupt, final_bytes, killed, learned_rows
from textrlhf.agents import PPO, Callback, Evaluate
from textrlhf.records.checkpoint import CheckpointError
from textrlhf.records.run import Run

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("textrlhf.agents.training.loop.draw_curves", lambda *args: None)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    killed_run.fresh().learn(killed_run.STEPS, run=run, progress=False)
    return run


@pytest.mark.parametrize(("where", "at"), [("step", 400), ("sync", 3), ("sync", 22), ("rename", 2), ("rename", 5)])
def test_killed_and_resumed_equals_uninterrupted(uninterrupted: Path, tmp_path: Path, where: str, at: int) -> None:
    run = tmp_path / "run"
    killed(killed_run.__file__, run, where, at)
    try:
        PPO.resume(run, progress=False)
    except CheckpointError:
        assert where == "sync", "only a run killed before its first checkpoint cannot be resumed"
        assert at < 5
        shutil.rmtree(run)
        killed_run.fresh().learn(killed_run.STEPS, run=run, progress=False)
    assert final_bytes(run) == final_bytes(uninterrupted)
    assert learned_rows(run) == learned_rows(uninterrupted)
    leftovers = [path.name for path in run.rglob(".*")]
    assert not [name for name in leftovers if name.endswith(".previous")]


def test_repeated_interruptions_change_nothing(uninterrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        killed_run.fresh().learn(killed_run.STEPS, run=tmp_path, progress=False, callbacks=Interrupt(11))
    for update in (17, 18, 31):
        with pytest.raises(KeyboardInterrupt):
            PPO.resume(tmp_path, progress=False, callbacks=Interrupt(update))
    PPO.resume(tmp_path, progress=False)
    assert final_bytes(tmp_path) == final_bytes(uninterrupted)
    assert learned_rows(tmp_path) == learned_rows(uninterrupted)


def test_evaluation_changes_nothing(uninterrupted: Path, tmp_path: Path) -> None:
    evaluation = Evaluate(every=500, n_episodes=2, env="CartPole-v1")
    killed_run.fresh().learn(killed_run.STEPS, run=tmp_path, progress=False, callbacks=evaluation)
    assert final_bytes(tmp_path)[0] == final_bytes(uninterrupted)[0]


def test_environments_are_not_reset_on_the_way_without_a_run() -> None:
    """Those without a time limit would never get beyond a tenth of the training."""
    env = gym.make_vec("CartPole-v1", 4)
    resets, reset = [], env.reset
    env.reset = lambda **kwargs: resets.append(None) or reset(**kwargs)
    PPO(env, n_steps=16, seed=0).learn(1024, progress=False)
    assert len(resets) == 1


def test_sabotage_without_cuts_resume_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose environments are not reset at checkpoints does not resume bit-identically."""
    original = PPO.cut
    calls = []

    def first_only(self, state):
        calls.append(None)
        if len(calls) == 1:
            original(self, state)

    monkeypatch.setattr(PPO, "cut", first_only)
    killed_run.fresh().learn(killed_run.STEPS, run=tmp_path / "a", progress=False)
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        killed_run.fresh().learn(killed_run.STEPS, run=tmp_path / "b", progress=False, callbacks=Interrupt(21))
    calls.clear()
    PPO.resume(tmp_path / "b", progress=False)
    assert final_bytes(tmp_path / "a") != final_bytes(tmp_path / "b")


def test_damaged_checkpoint_falls_back_to_the_previous_one(uninterrupted: Path, tmp_path: Path, caplog) -> None:
    run = tmp_path / "run"
    shutil.copytree(uninterrupted, run)
    before, last = sorted((run / "checkpoints").glob("step-*"))
    with (last / "model.safetensors").open("r+b") as stream:
        stream.truncate(100)
    assert Run(run).last_checkpoint().path == before
    assert "cut short" in caplog.text
    PPO.resume(run, progress=False)
    assert final_bytes(run) == final_bytes(uninterrupted)


def test_callback_states_are_resumed(tmp_path: Path) -> None:
    def evaluate() -> Evaluate:
        return Evaluate(every=300, n_episodes=2)

    first = evaluate()
    with pytest.raises(KeyboardInterrupt):
        killed_run.fresh().learn(1000, run=tmp_path, progress=False, callbacks=[first, Interrupt(26)])
    again = evaluate()
    PPO.resume(tmp_path, progress=False, callbacks=[again])
    whole = evaluate()
    killed_run.fresh().learn(1000, run=tmp_path / "whole", progress=False, callbacks=[whole])
    assert again.state_dict() == whole.state_dict()
    assert (tmp_path / "best" / "state.json").exists()


class Prompts(gym.Env):
    """Has a position in a sequence, like the prompts of text environments; it must survive cuts and kills."""

    metadata = {"render_modes": []}
    observation_space = spaces.Box(0, 1e9, (1,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self) -> None:
        self.place = 0
        self.seen: list[int] = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0 if seed is not None else self.place + 1
        self.left = 4
        return np.array([self.place % 7], np.float32), {}

    def step(self, action):
        self.left -= 1
        return np.array([self.place % 7], np.float32), float(action == self.place % 3), self.left == 0, False, {}

    def get_state(self):
        return {"place": self.place}

    def set_state(self, state):
        self.place = state["place"]


def test_environment_state_is_resumed(tmp_path: Path) -> None:
    def learn(run: Path, *callbacks: Callback) -> PPO:
        return PPO(Prompts(), n_envs=1, n_steps=32, batch_size=32, seed=0, checkpoint_every=160).learn(
            800, run=run, progress=False, callbacks=callbacks
        )

    whole = learn(tmp_path / "whole")
    assert whole.env.vector_env.envs[0].place > 150  # not reset by cuts
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "cut", Interrupt(13))
    resumed = PPO.resume(tmp_path / "cut", Prompts(), progress=False)
    assert resumed.env.vector_env.envs[0].place == whole.env.vector_env.envs[0].place
    assert torch.equal(resumed.optimizer.flat, whole.optimizer.flat)
