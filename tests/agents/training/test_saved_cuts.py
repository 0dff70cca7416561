"""The clock chooses which cuts are saved, and changes nothing else: early, late and no saves give equal bits."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import pytest

import killed_run
from interrupted import Interrupt, final_bytes, learned_rows
from text_learner import N, batch, learner
from textrlhf.agents import PPO, Callback
from textrlhf.records import run as run_module
from textrlhf.records import saving_budget, time_budget
from textrlhf.records.run import Run
from tiny_envs import text_env

pytestmark = pytest.mark.slow

CUTS = [192, 352, 512, 672, 832, 992, 1152, 1312]  # of killed_run's agent, at its updates 6, 11, … 41
SAVES = {  # the seconds that a save is expected to take, those it does take, and which cuts then are saved
    "every cut": (0.0, 0.0, CUTS),
    "early ones": (0.0, 1.0, [192, 672, 992, 1312]),
    "late ones": (2.0, 0.1, CUTS[3:]),
    "the last alone": (1e9, 0.0, CUTS[-1:]),
}


class Clock(Callback):
    """A clock on which each update takes two seconds."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def on_update(self, agent, metrics) -> None:
        self.now += 2.0


def clock(monkeypatch: pytest.MonkeyPatch, expected: float, cost: float) -> tuple[Clock, list[int]]:
    """A clock, and the steps that will be saved; see `SAVES`."""
    made, saved, save = Clock(), [], run_module.save_checkpoint

    def slow_save(path: Path, *contents) -> None:
        saved.append(int(path.name.removeprefix("step-")))
        made.now += cost
        save(path, *contents)

    monkeypatch.setattr(run_module, "save_checkpoint", slow_save)
    monkeypatch.setattr(time_budget, "time", made)
    monkeypatch.setattr(saving_budget, "ALLOWANCE", 0.0)
    monkeypatch.setattr("textrlhf.agents.training.loop.size_of", lambda tensors: expected * saving_budget.SPEED)
    monkeypatch.setattr("textrlhf.agents.training.loop.draw_curves", lambda *args: None)
    return made, saved


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("usual") / "run"
    killed_run.fresh().learn(killed_run.STEPS, run=run, progress=False)
    return run


@pytest.mark.parametrize("which", SAVES)
def test_saves_change_no_bit(which: str, usual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, cost, cuts = SAVES[which]
    made, saved = clock(monkeypatch, expected, cost)
    killed_run.fresh().learn(killed_run.STEPS, run=tmp_path, progress=False, callbacks=made)
    assert saved == cuts
    assert Run(tmp_path).steps() == cuts[-2:]
    assert final_bytes(tmp_path) == final_bytes(usual)
    assert learned_rows(tmp_path) == learned_rows(usual)


def test_resumed_from_an_early_save(usual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cuts lie between the last save and the end of the process: the resumed run makes them again."""
    made, saved = clock(monkeypatch, *SAVES["early ones"][:2])
    with pytest.raises(KeyboardInterrupt):
        killed_run.fresh().learn(killed_run.STEPS, run=tmp_path, progress=False, callbacks=[made, Interrupt(19)])
    assert saved == [192]
    PPO.resume(tmp_path, progress=False)
    assert final_bytes(tmp_path) == final_bytes(usual)
    assert learned_rows(tmp_path) == learned_rows(usual)


def test_ten_minutes_are_the_most_that_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes."""
    made, saved = clock(monkeypatch, 1e9, 1e9)
    monkeypatch.setattr(saving_budget, "LONGEST", 50.0)  # seconds; 25 updates
    killed_run.fresh().learn(killed_run.STEPS, run=tmp_path, progress=False, callbacks=made)
    assert saved == [832, 1312]


@pytest.mark.parametrize("critic", [False, True])
def test_checkpoint_of_a_language_model_holds_what_is_trained(critic: bool, tmp_path: Path) -> None:
    """Not the reference, nor a tied head twice, nor the unused head of a critic's own trunk."""
    agent = learner(batch(), separate_critic=critic)
    model, trained = agent.policy.lm.model, sum(p.numel() for p in agent.policy.network.parameters())
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight  # tied, which this is about
    tensors = agent.tensors()
    assert {name: sum(t.numel() for t in group.values()) for name, group in tensors.items()} == {
        "model": trained,
        "optimizer": 2 * trained + 1,
    }
    agent.save(tmp_path / "c")
    bytes_written = sum(file.stat().st_size for file in (tmp_path / "c").glob("*.safetensors"))
    assert 12 * trained < bytes_written < 12 * trained + 40_000


def test_model_is_exported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was at every cut, half a gigabyte each. A run that had ended does so when resumed: it may have been killed."""
    exports: list[int] = []
    monkeypatch.setattr(PPO, "export", lambda self, run: exports.append(self.num_timesteps))
    steps = 7 * N
    settings = {"n_envs": N, "n_steps": 7, "batch_size": 14, "seed": 3, "n_epochs": 1, "checkpoint_every": 2 * steps}
    PPO(gym.make_vec("TextRLHF-v0", N, **text_env()), **settings).learn(8 * steps, run=tmp_path, progress=False)
    assert exports == [8 * steps]
    assert len(Run(tmp_path).steps()) == 2
    PPO.resume(tmp_path, gym.make_vec("TextRLHF-v0", N, **text_env()), progress=False)
    assert exports == [8 * steps] * 2
