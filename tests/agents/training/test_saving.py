"""Saving and loading agents, and every way a checkpoint can be wrong."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import TransformObservation, TransformReward

from textrlhf.agents import PPO, REINFORCE, Agent, Callback
from textrlhf.agents.policies.mlp import MLPPolicy
from textrlhf.records.checkpoint import CheckpointError
from textrlhf.records.run import Run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "checkpoint"
    agent = PPO("CartPole-v1", n_steps=32, seed=0, normalize_observation=True, normalize_reward=True)
    agent.learn(600, progress=False).save(path)
    return path


def copy(saved: Path, tmp_path: Path) -> Path:
    target = tmp_path / "copy"
    target.mkdir()
    for file in saved.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def edit(path: Path, **changes) -> None:
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, **changes}))


@pytest.mark.parametrize("kind", [PPO, Agent])
def test_load_restores_the_saved_agent(saved: Path, kind: type[Agent]) -> None:
    observations = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    one, two = PPO.load(saved), kind.load(saved)
    assert isinstance(two, PPO)
    assert two.num_timesteps == one.num_timesteps >= 600
    np.testing.assert_array_equal(one.value(observations), two.value(observations))
    one.learn(600, progress=False)
    two.learn(600, progress=False)
    np.testing.assert_array_equal(one.value(observations), two.value(observations))


def test_save_replaces_a_checkpoint(saved: Path, tmp_path: Path) -> None:
    agent = PPO.load(saved)
    agent.save(tmp_path / "c")
    agent.learn(300, progress=False).save(tmp_path / "c")
    assert PPO.load(tmp_path / "c").num_timesteps == agent.num_timesteps
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_checkpoint_of_another_agent_is_refused(saved: Path, tmp_path: Path) -> None:
    class Other(PPO):
        """Not what was saved."""

    with pytest.raises(CheckpointError, match=r"contains a PPO, not a Other: use PPO.load"):
        Other.load(saved)
    path = copy(saved, tmp_path)
    edit(path, agent="dreamer")
    with pytest.raises(CheckpointError, match="unknown agent 'dreamer'"):
        PPO.load(path)


def test_checkpoint_of_another_environment_is_refused(saved: Path) -> None:
    with pytest.raises(
        CheckpointError, match="belongs to another environment: its observation_space is Box.*this one's"
    ):
        PPO.load(saved, env="Acrobot-v1")


def test_load_needs_env_if_it_cannot_be_remade(tmp_path: Path) -> None:
    space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    env = TransformObservation(gym.make("CartPole-v1"), lambda x: x * 2, space)
    PPO(env, n_envs=1, n_steps=16, seed=0).save(tmp_path / "c")
    with pytest.raises(CheckpointError, match="its environment is not stored.*pass env="):
        PPO.load(tmp_path / "c")
    assert PPO.load(tmp_path / "c", env=env).env.n_envs == 1


class MyPolicy(MLPPolicy):
    """A policy of the user's own."""


class MyPPO(PPO):
    """An agent of the user's own."""


def test_code_of_the_user_is_loaded_by_class_or_with_trust(tmp_path: Path) -> None:
    """Subclasses and custom policies were saved but never loaded."""
    agent = MyPPO("CartPole-v1", n_steps=16, seed=0, policy=MyPolicy)
    agent.learn(200, run=tmp_path / "run", progress=False)
    with pytest.raises(CheckpointError, match=r"contains a .*:MyPPO: load it by MyPPO.load\(\), or .* trust=True"):
        PPO.load(tmp_path / "run")
    with pytest.raises(CheckpointError, match=r"imports .*:MyPolicy: if you trust .* else policy=…"):
        MyPPO.load(tmp_path / "run")
    for loaded in (MyPPO.load(tmp_path / "run", policy=MyPolicy), Agent.load(tmp_path / "run", trust=True)):
        assert type(loaded) is MyPPO
        assert type(loaded.policy) is MyPolicy
        assert loaded.value(np.ones(4, np.float32)) == agent.value(np.ones(4, np.float32))


def test_policy_that_has_no_name_is_asked_for(tmp_path: Path) -> None:
    make = lambda *spaces, **settings: MyPolicy(*spaces, **settings)  # noqa: E731
    PPO("CartPole-v1", n_steps=16, seed=0, policy=make).save(tmp_path / "c")
    with pytest.raises(CheckpointError, match="its policy is a function that has no name.*pass policy="):
        PPO.load(tmp_path / "c", trust=True)
    assert type(PPO.load(tmp_path / "c", policy=make).policy) is MyPolicy


def test_hyperparameters_may_change(saved: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    agent = PPO.load(saved, learning_rate=1e-5, n_epochs=1)
    assert (agent.config.learning_rate, agent.config.n_epochs, agent.config.n_steps) == (1e-5, 1, 32)
    with pytest.raises(ValueError, match="net_arch is part of what .* holds and cannot be changed"):
        PPO.load(saved, net_arch=(8,))
    agent.learn(600, run=tmp_path, progress=False)
    before = agent.num_timesteps
    with caplog.at_level(logging.WARNING, "textrlhf"):
        more = PPO.resume(tmp_path, more_timesteps=512, learning_rate=1e-4, progress=False)
    assert more.num_timesteps == before + 512
    assert PPO.resume(tmp_path, more_timesteps=32, progress=False).num_timesteps > more.num_timesteps
    assert "not bit-identical to an uninterrupted run: learning_rate=0.0001, trained to step " in caplog.text


def test_run_of_an_own_environment_is_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    env = TransformReward(gym.make("CartPole-v1"), lambda reward: 2 * reward)
    with caplog.at_level(logging.WARNING, "textrlhf"):
        PPO(env, n_envs=1, n_steps=16, seed=0).learn(32, run=tmp_path, progress=False)
    assert "loading and resuming will need env=" in caplog.text
    assert PPO.load(tmp_path, env=env).num_timesteps == 32


def test_run_is_resumed_from_another_directory_and_after_moving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`prompts is 'prompts.jsonl', where there is no file`: paths were stored as given."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "prompts.jsonl").write_text('{"prompt": "the film was"}\n')
    monkeypatch.chdir(tmp_path / "a")
    kwargs = {"prompts": "prompts.jsonl", "model": "reviews", "reward_model": "reviews", "kl_penalty": "none"}
    PPO("TextRLHF-v0", env_kwargs=kwargs, n_envs=2, n_steps=4, seed=0).learn(16, run="run", progress=False)
    monkeypatch.chdir(tmp_path)
    assert PPO.load("a/run").num_timesteps == 16
    (tmp_path / "a").rename(tmp_path / "b")
    assert PPO.load("b/run").env.recipe["kwargs"]["prompts"] == str(tmp_path / "b" / "prompts.jsonl")


def test_load_imports_no_module_named_in_the_id(saved: Path, tmp_path: Path) -> None:
    """An id may name a module, and importing one runs its code; a checkpoint must not make us do that."""
    path = copy(saved, tmp_path)
    edit(path, env={"id": "antigravity:Fun-v0", "kwargs": {}})
    with pytest.raises(CheckpointError, match="not registered: import the package that registers it"):
        PPO.load(path)


def test_truncated_file_is_refused(saved: Path, tmp_path: Path) -> None:
    path = copy(saved, tmp_path)
    os.truncate(path / "model.safetensors", 200)
    with pytest.raises(CheckpointError, match="model.safetensors is missing, cut short or altered"):
        PPO.load(path)


def test_pickle_in_a_checkpoint_is_not_run(saved: Path, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    path = copy(saved, tmp_path)
    content = pickle.dumps(Bomb())
    (path / "model.safetensors").write_bytes(content)
    state = json.loads((path / "state.json").read_text())
    state["files"]["model.safetensors"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        PPO.load(path)
    assert not (tmp_path / "exploded").exists()


def test_changed_config_is_refused(saved: Path, tmp_path: Path) -> None:
    path = copy(saved, tmp_path)
    config = json.loads((path / "state.json").read_text())["config"]
    edit(path, config={**config, "net_arch": [32, 32]})
    with pytest.raises(CheckpointError, match="contents do not fit its agent"):
        PPO.load(path)
    edit(path, config={**config, "clip_rang": 0.2})
    with pytest.raises(CheckpointError, match="did you mean 'clip_range'"):
        PPO.load(path)
    edit(path, config={**config, "gamma": 7})
    with pytest.raises(CheckpointError, match="gamma=7"):
        PPO.load(path)


def test_missing_checkpoint_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        PPO.load(tmp_path / "none")
    with pytest.raises(CheckpointError, match="no state.json"):
        PPO.load(tmp_path)


def test_save_replaces_nothing_but_checkpoints(saved: Path, tmp_path: Path) -> None:
    """A wrong path must not delete a run or other files."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("years")
    agent = PPO.load(saved)
    agent.learn(300, run=tmp_path / "run", progress=False)
    for folder, seen in (("work", "thesis.tex"), ("run", "checkpoints")):
        with pytest.raises(FileExistsError, match=f"contains {seen}"):
            agent.save(tmp_path / folder)
    assert (tmp_path / "work" / "thesis.tex").read_text() == "years"
    PPO.resume(tmp_path / "run", progress=False)


def test_new_run_keeps_other_files_in_its_folder(tmp_path: Path) -> None:
    """Only metrics of a run that was killed before its first checkpoint are dropped."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "theirs.txt").write_text("keep")
    (tmp_path / "metrics.jsonl").write_text('{"step": 999, "rollout/return": 1.0}\n')
    PPO("CartPole-v1", n_steps=16, seed=0).learn(200, run=tmp_path, progress=False)
    assert (tmp_path / "checkpoints" / "theirs.txt").read_text() == "keep"
    assert '"step": 999,' not in (tmp_path / "metrics.jsonl").read_text()


def test_run_belongs_to_one_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with more steps was accepted in the run of any other, whose checkpoints were then deleted."""
    monkeypatch.setattr("textrlhf.agents.training.loop.draw_curves", lambda *args: None)
    small = {"n_envs": 2, "n_steps": 16, "batch_size": 16, "n_epochs": 1}
    run, kept = tmp_path / "run", tmp_path / "kept"

    def new(seed: int = 0, env: str = "CartPole-v1", kind: type[Agent] = PPO, **changes) -> Agent:
        return kind(env, seed=seed, **small | changes)

    def trained(agent: Agent, steps: int = 64) -> Agent:
        return agent.learn(steps, progress=False)

    mine = new().learn(64, run=run, progress=False)
    mine.save(kept)
    before = contents(run)
    others = [
        new(),  # from the beginning
        trained(new(seed=1)),  # as many steps
        trained(new(seed=1), 256),
        trained(new(env="Acrobot-v1"), 256),
        trained(REINFORCE("CartPole-v1", seed=0, n_envs=2, n_steps=16), 256),
        trained(MyPPO("CartPole-v1", seed=0, **small), 64),
        trained(PPO.load(kept), 32),  # that went on elsewhere
        PPO.load(kept, env=gym.make("CartPole-v1", max_episode_steps=9)),
    ]
    for other in others:
        with pytest.raises(FileExistsError, match="already holds a run (at step 64|of something else)"):
            other.learn(32, run=run, progress=False)
        assert contents(run) == before
    PPO.load(kept, learning_rate=1e-5).learn(32, run=run, progress=False)
    assert mine.learn(32, progress=False).num_timesteps == PPO.load(run).num_timesteps == 96


def contents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_run_without_a_checkpoint_belongs_to_its_agent_too(tmp_path: Path) -> None:
    Run(tmp_path).write_config(PPO("CartPole-v1").identity())
    with pytest.raises(FileExistsError, match="already holds a run of something else .*Acrobot"):
        PPO("Acrobot-v1").learn(32, run=tmp_path, progress=False)
    PPO("CartPole-v1", n_envs=1, n_steps=16).learn(16, run=tmp_path, progress=False)


def test_two_trainings_in_one_folder_are_refused(tmp_path: Path) -> None:
    with Run(tmp_path).writing(), pytest.raises(FileExistsError, match="is in use: process"):
        PPO("CartPole-v1", n_steps=16).learn(32, run=tmp_path, progress=False)


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits")
def test_full_disk_leaves_the_last_checkpoint_whole(tmp_path: Path) -> None:
    """Files are limited to less than a checkpoint's size, which fails as a full disk does."""
    import resource

    class Full(Callback):
        def on_update(self, agent: Agent, metrics: dict[str, float]) -> bool:
            if agent.n_updates == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, hard))
            return True

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    agent = PPO("CartPole-v1", n_envs=1, n_steps=16, batch_size=16, seed=0, checkpoint_every=32)
    try:
        with pytest.raises(OSError, match="File too large: .*step-0000000064"):
            agent.learn(96, run=tmp_path, progress=False, callbacks=Full())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-0000000032"]
    assert PPO.resume(tmp_path, progress=False).num_timesteps == 96


def test_checkpoint_from_another_device_type_loads(saved: Path, tmp_path: Path) -> None:
    """A CUDA generator's state fits no CPU generator: actions are then drawn from a fresh one."""
    path = copy(saved, tmp_path)
    learning = json.loads((path / "state.json").read_text())["learning"]
    learning["random"] |= {"device": "cuda", "actions": "AAAAAAAAAAAAAAAAAAAAAA=="}
    edit(path, learning=learning)
    assert PPO.load(path).num_timesteps == PPO.load(saved).num_timesteps


def test_space_comparison_ignores_numpy_print_options(saved: Path) -> None:
    with np.printoptions(precision=2, threshold=3):
        PPO.load(saved)


@pytest.mark.parametrize("missing", ["observation_space", "plan", "learning", "config", "env"])
def test_incomplete_state_raises_checkpoint_error(saved: Path, tmp_path: Path, missing: str) -> None:
    path = copy(saved, tmp_path)
    state = json.loads((path / "state.json").read_text())
    del state[missing]
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError):
        PPO.load(path)


def test_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    PPO("CartPole-v1", n_steps=16, seed=0).learn(200, run=tmp_path / "run", progress=False)
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    with pytest.raises(FileExistsError, match="already holds a run"):
        PPO("CartPole-v1", n_steps=16, seed=1).learn(200, run=tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


def test_library_uses_no_pickle() -> None:
    """No library module reads or writes pickles."""
    import textrlhf

    root = Path(textrlhf.__file__).parent
    for folder in ("agents", "records", "pipeline"):
        for file in (root / folder).rglob("*.py"):
            text = file.read_text()
            assert "import pickle" not in text, file
            assert "torch.load" not in text, file
