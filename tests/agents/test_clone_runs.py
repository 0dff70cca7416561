"""Runs of cloning: resumed, loaded, commanded, and refused where something is wrong."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import killed_clone
from clone_envs import ROWS, pole_expert, some_episodes, texts
from interrupted import Interrupt, final_bytes, killed, learned_rows
from textrlhf.agents import PPO, Callback, Clone, CloneConfig, record
from textrlhf.pipeline.commands.main import main
from textrlhf.records.checkpoint import CheckpointError
from textrlhf.records.jsonl import DataError, write_jsonl
from textrlhf.records.metrics import read_metrics
from tiny_envs import text_env
from tiny_models import tiny_lm

pytestmark = pytest.mark.slow


def test_exported_model_loads_and_reference_is_unchanged(tmp_path: Path) -> None:
    """`policy.export` gives a Hugging Face folder that TextRLHF-v0 takes on, with the weights that were learned."""
    before = tiny_lm().fingerprint()
    agent = texts(learning_rate=1e-2).learn(40, run=tmp_path / "sft", progress=False)
    assert tiny_lm().fingerprint() == before
    env = gym.make("TextRLHF-v0", **text_env(), split="heldout")
    env.close()
    settings = {**text_env(), "model": str(tmp_path / "sft" / "model")}
    again = gym.make("TextRLHF-v0", **settings).unwrapped.reference_model
    for ours, theirs in zip(agent.policy.lm.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    killed_clone.fresh().learn(killed_clone.STEPS, run=run, progress=False)
    return run


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for every run would take half the time of these tests."""
    monkeypatch.setattr("textrlhf.agents.training.loop.draw_curves", lambda *args: None)


@pytest.mark.parametrize(("where", "at"), [("step", 25), ("sync", 2), ("sync", 12), ("rename", 3)])
def test_killed_and_resumed_equals_uninterrupted(uninterrupted: Path, tmp_path: Path, where: str, at: int) -> None:
    run = tmp_path / "run"
    killed(killed_clone.__file__, run, where, at)
    try:
        Clone.resume(run, progress=False)
    except CheckpointError:
        assert (where, at) == ("sync", 2), "only a run killed before its first checkpoint has nothing to resume"
        shutil.rmtree(run)
        killed_clone.fresh().learn(killed_clone.STEPS, run=run, progress=False)
    assert final_bytes(run) == final_bytes(uninterrupted)
    assert learned_rows(run) == learned_rows(uninterrupted)


@pytest.mark.parametrize("settings", [{"batch_size": 10}, {}])
def test_fine_tuning_resumes_bit_identically(settings: dict[str, Any], tmp_path: Path) -> None:
    """In the middle of a pass, from a JSONL file, with a batch size that is given or chosen."""
    file = tmp_path / "demos.jsonl"
    write_jsonl(file, [{"prompt": f"a{i}", "completion": f" a{i + 1} a{i + 2}"} for i in range(2, 22)])

    def env() -> Any:
        return gym.make_vec("TextRLHF-v0", num_envs=1, **text_env())

    def learn(run: Path, *callbacks: Callback) -> Clone:
        agent = Clone(env(), demonstrations=file, seed=0, checkpoint_every=45, learning_rate=1e-3, **settings)
        return agent.learn(200, run=run, callbacks=callbacks, progress=False)

    whole = learn(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "cut", Interrupt(13))
    resumed = Clone.resume(tmp_path / "cut", env(), progress=False)
    assert resumed.config.batch_size == (10 if settings else 12)  # of four texts
    assert torch.equal(resumed.optimizer.flat, whole.optimizer.flat)
    assert learned_rows(tmp_path / "cut") == learned_rows(tmp_path / "whole")


def test_few_texts_take_more_than_a_step_an_epoch() -> None:
    """A sixteenth of the data, and the default at most; a new data set has its own, and one that is given is kept."""
    rows = [{"prompt": f"a{i}", "completion": f" a{i + 1} a{i + 2}"} for i in range(2, 32)]
    agent = texts(rows * 4, batch_size=2048)
    assert agent.config.batch_size == 2048
    env = gym.make_vec("TextRLHF-v0", num_envs=1, **text_env())
    agent = Clone(env, demonstrations=rows * 4, seed=0, heldout=0.0)
    assert (agent.epoch_steps, agent.config.batch_size) == (360, 22)
    agent.demonstrations = rows * 8
    assert agent.config.batch_size == 45
    agent.demonstrations = rows * 400
    assert agent.config.batch_size == 2048


def test_resume_refuses_changed_demonstrations(tmp_path: Path) -> None:
    """Else a run would silently continue on other data."""
    file, other = tmp_path / "demos.npz", some_episodes()
    killed_clone.demonstrations().save(file)
    with pytest.raises(KeyboardInterrupt):
        Clone("CartPole-v1", demonstrations=file, seed=0, checkpoint_every=200).learn(
            2000, run=tmp_path / "run", progress=False, callbacks=Interrupt(12)
        )
    other.save(file)
    with pytest.raises(CheckpointError, match="demos.npz has changed"):
        Clone.resume(tmp_path / "run", progress=False)
    file.unlink()
    with pytest.raises(DataError, match="where there is no file"):
        Clone.resume(tmp_path / "run", progress=False)


def test_moved_run_resumes_with_its_demonstrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Demonstrations that came from no file are saved in the run's folder."""
    monkeypatch.chdir(tmp_path)
    agent = killed_clone.fresh()
    with pytest.raises(KeyboardInterrupt):
        agent.learn(killed_clone.STEPS, run="run", progress=False, callbacks=Interrupt(20))
    (tmp_path / "elsewhere").mkdir()
    shutil.move("run", "elsewhere/renamed")
    monkeypatch.chdir(tmp_path / "elsewhere")
    Clone.resume("renamed", progress=False).learn(100, run="another", progress=False)
    assert (tmp_path / "elsewhere" / "another" / "demonstrations.npz").is_file()


def test_failed_assignment_keeps_the_demonstrations(tmp_path: Path) -> None:
    """Else training would silently restart at the first epoch."""
    file = tmp_path / "demos.npz"
    killed_clone.demonstrations().save(file)
    Clone("CartPole-v1", demonstrations=file, seed=0).learn(100, progress=False).save(tmp_path / "agent")
    back = Clone.load(tmp_path / "agent")
    with pytest.raises(DataError, match="no file"):
        back.demonstrations = tmp_path / "dmeos.npz"
    assert 0 < back._training_data().minibatch


def test_loaded_agent_needs_demonstrations_only_to_train(tmp_path: Path) -> None:
    agent = killed_clone.fresh("mlp").learn(500, progress=False)
    agent.save(tmp_path / "agent")
    seen = np.ones((5, 4), np.float32)
    back = Clone.load(tmp_path / "agent")
    ours, theirs = (a.predict(seen, deterministic=True)[0] for a in (agent, back))
    np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match="demonstrations is missing: set agent.demonstrations to"):
        back.learn(10, progress=False)
    back.demonstrations = some_episodes()
    back.learn(50, progress=False)
    assert back.num_timesteps > 500


def test_weights_transfer_to_ppo() -> None:
    """Cloned weights load into PPO's policy, whose parameters stay views of the flat tensor."""
    agent = Clone("CartPole-v1", demonstrations=killed_clone.demonstrations(), seed=0).learn(500, progress=False)
    ppo = PPO("CartPole-v1", seed=0, n_envs=2, n_steps=16)
    ppo.policy.network.load_state_dict(agent.policy.network.state_dict())
    seen = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    np.testing.assert_array_equal(ppo.predict(seen, deterministic=True)[0], agent.predict(seen, deterministic=True)[0])
    before = ppo.optimizer.flat.clone()
    ppo.learn(64, progress=False)
    assert not torch.equal(before, ppo.optimizer.flat)
    assert torch.equal(
        ppo.optimizer.flat[: 4 * 64], torch.cat([p.flatten() for p in ppo.policy.network.parameters()])[: 4 * 64]
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("demos.csv", "demos.csv, that is text, but .*CartPole.* has no language model"),
        ("gone.npz", "demonstrations is 'gone.npz', where there is no file"),
        ("demos.jsonl", "demos.jsonl, that is text, but .*CartPole.* has no language model"),
        (ROWS, "a list of rows, that is text, but .* has no language model"),
        (7, "demonstrations is 7: expected"),
    ],
)
def test_invalid_demonstrations_are_refused(given: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        Clone("CartPole-v1", demonstrations=given)


def test_missing_or_mismatched_demonstrations_are_refused() -> None:
    with pytest.raises(ValueError, match="demonstrations is missing: expected"):
        Clone("CartPole-v1")
    with pytest.raises(ValueError, match="demonstrations is missing"):
        Clone("CartPole-v1", CloneConfig())
    with pytest.raises(DataError, match=r"episode 0: observations of shape \(4,\): the observation space is"):
        Clone("Acrobot-v1", demonstrations=some_episodes())
    with pytest.raises(DataError, match=r"demonstrations\[1\]: .*is no response"):
        texts([ROWS[0], {"prompt": "a2"}])
    with pytest.raises(DataError, match="has 26 tokens with its end, and 24 fit"):
        texts([{"prompt": "a2", "completion": " a3" * 24}])
    with pytest.raises(TypeError, match="no hyperparameter 'demonstration': did you mean 'demonstrations'"):
        Clone("CartPole-v1", demonstrations=some_episodes(), demonstration=1)


@pytest.mark.parametrize(
    ("name", "value", "meaning"),
    [
        ("batch_size", 0, "at least 1"),
        ("learning_rate", 0.0, "above 0"),
        ("max_grad_norm", -1.0, "above 0"),
        ("warmup", -1, "at least 0"),
        ("heldout", 1.0, "at least 0 and below 1"),
        ("heldout_checks", 0, "at least 1 and at most 500"),
        ("memory_size", 0, "at least 1"),
    ],
)
def test_value_out_of_range_is_refused(name: str, value: Any, meaning: str) -> None:
    with pytest.raises(ValueError, match=f"{name}={value!r}: accepted is {meaning}"):
        CloneConfig(**{name: value})


def test_config_round_trips_and_is_documented() -> None:
    config = CloneConfig(demonstrations="d.npz", heldout=0.5, net_arch=(3, 5))
    assert CloneConfig(**json.loads(json.dumps(config.to_json()))) == config
    body = ast.parse(inspect.getsource(CloneConfig)).body[0].body
    for statement, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign):
            assert isinstance(after, ast.Expr), statement.target.id
    assert {"demonstrations", "policy", "seed"} <= {field.name for field in dataclasses.fields(CloneConfig)}


def test_command_clones_control(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, run = tmp_path / "demos.npz", tmp_path / "run"
    record(pole_expert, "CartPole-v1", 2, seed=0).save(file)
    flags = "--agent clone --env CartPole-v1 --steps 600 --seed 0 --evaluation-episodes 2 --quiet"
    main(["train", *shlex.split(flags), "--demonstrations", f"{file}", "--run", f"{run}"])
    config = json.loads((run / "config.json").read_text())
    assert (config["agent"], config["config"]["demonstrations"]) == ("clone", f"{file}")
    assert read_metrics(run / "metrics.jsonl")[-1]["step"] >= 600
    main(["evaluate", f"{run}", "--episodes", "2", "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["agent"] == "clone"
    with pytest.raises(SystemExit):
        main(["train", *shlex.split(flags), "--run", f"{tmp_path / 'other'}"])
    assert "demonstrations is missing" in capsys.readouterr().err


def test_command_fine_tunes_on_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from textrlhf.envs.text.demonstrations import demonstrations

    file, run = tmp_path / "demos.jsonl", tmp_path / "run"
    write_jsonl(file, demonstrations("TextRLHF-v0", 20, seed=0))
    flags = "--agent clone --env TextRLHF-v0 --steps 100 --no-tuned --seed 0 --evaluation-episodes 2"
    main(["train", *shlex.split(flags), "--demonstrations", f"{file}", "--run", f"{run}"])
    assert (run / "model" / "model.safetensors").is_file()
    chosen = json.loads((run / "config.json").read_text())["config"]["batch_size"]
    said = capsys.readouterr().out
    assert re.search(rf"100 steps \(0\.\d+ epochs\), .*chosen for this model and data batch_size={chosen}\n", said)
    assert read_metrics(run / "metrics.jsonl")[-1]["train/loss"] < 3
