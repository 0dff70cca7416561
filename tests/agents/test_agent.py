"""The agents' public interface: predict, value, tuned, learn, the run folder; SB3's evaluate_policy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from textrlhf.agents import PPO, Evaluate, Save, StopAfter, StopAtReturn, evaluate
from textrlhf.agents.environment.adapter import EnvError
from textrlhf.agents.settings.config import LANGUAGE_MODEL, tuned_settings
from textrlhf.language import load
from textrlhf.language.learning_rate import fine_tuning_rate


@pytest.fixture(scope="module")
def agent() -> PPO:
    return PPO("CartPole-v1", n_steps=32, seed=0)


def test_predict_accepts_one_or_a_batch(agent: PPO) -> None:
    one, state = agent.predict(np.zeros(4, np.float32), deterministic=True)
    many, _ = agent.predict(np.zeros((3, 4), np.float32), deterministic=True)
    assert agent.env.action_space.contains(one)
    assert many.tolist() == [one] * 3
    assert state is None
    assert isinstance(agent.value(np.zeros(4, np.float32)), float)
    assert agent.value(np.zeros((3, 4), np.float32)).shape == (3,)


def test_predict_refuses_other_shapes(agent: PPO) -> None:
    for shape in ((3,), (2, 3, 4), ()):
        with pytest.raises(ValueError, match=r"accepted is \(4,\), or a batch"):
            agent.predict(np.zeros(shape, np.float32))


def test_predict_obeys_masks(agent: PPO) -> None:
    masks = np.array([[True, False], [False, True]] * 20)
    actions, _ = agent.predict(np.zeros((40, 4), np.float32), action_masks=masks)
    assert actions.tolist() == [0, 1] * 20


def test_predict_refuses_invalid_masks(agent: PPO) -> None:
    observation = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match=r"action mask of shape \(3,\): expected \(1, 2\)"):
        agent.predict(observation, action_masks=[True, False, True])
    with pytest.raises(ValueError, match="allows no action"):
        agent.predict(observation, action_masks=[False, False])


def test_evaluate_callback_is_checked_before_training() -> None:
    class Nameless(gym.Wrapper):
        """Cannot be made again, nor copied."""

        def __deepcopy__(self, memo):
            raise TypeError("no copies")

    agent = PPO(Nameless(gym.make("CartPole-v1")), n_envs=1, n_steps=16)
    with pytest.raises(ValueError, match=r"cannot be copied \(TypeError: no copies\): pass env="):
        agent.learn(64, progress=False, callbacks=Evaluate(every=32))
    assert agent.num_timesteps == 0


@pytest.mark.parametrize(
    ("space", "observation", "message"),
    [
        (Box(-9, 9, (2,)), np.array([0, np.nan]), r"observation \[0.0, nan\]: accepted are finite numbers"),
        (Box(-9, 9, (2,)), (np.zeros(2), {}), "observation, info = env.reset"),
        (Box(-9, 9, (2,)), None, "observation of dtype object: accepted is float32"),
        (Box(-9, 9, (2,)), "ab", "observation of dtype <U2"),
        (Box(0, 255, (9, 9, 3), np.uint8), np.ones((9, 9, 3)), "observation of dtype float64: accepted is uint8"),
        (Discrete(3, start=1), 0, r"observation \[?0\]?: accepted are .*Discrete\(3, start=1\)"),
        (Discrete(3), np.array([0, 3]), "observation 3: accepted are"),
        (MultiDiscrete([2, 3]), np.array([1, 3]), r"observation \[1, 3\]: accepted are"),
        (Dict(a=Discrete(2)), {"b": 0}, r"observation is dict \{'b': 0\}: accepted is Dict"),
    ],
)
def test_predict_refuses_what_no_policy_can_read(space: Any, observation: Any, message: str) -> None:
    class Own(gym.Env[Any, Any]):
        observation_space, action_space = space, Discrete(2)

    with pytest.raises(ValueError, match=message):
        PPO(Own, n_envs=1).predict(observation)


def test_an_observation_that_is_no_choice_names_slot_and_step() -> None:
    class Counter(gym.Env[Any, Any]):
        observation_space, action_space = Discrete(5), Discrete(2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
            self.seen = 0
            return 0, {}

        def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
            self.seen += 1
            return self.seen, 0.0, False, False, {}

    with pytest.raises(
        EnvError, match=r"slot 0, at step 5 of its episode, has the observation 5: accepted is Discrete\(5\)"
    ):
        PPO(Counter, n_envs=2, n_steps=8).learn(64, progress=False)


def test_set_env_trains_in_another_environment() -> None:
    class Slow(gym.RewardWrapper[Any, Any]):
        def reward(self, reward: Any) -> float:
            return 0.5

    agent = PPO("CartPole-v1", n_envs=2, n_steps=16, n_epochs=1, seed=0).learn(32, progress=False)
    other = SyncVectorEnv([lambda: Slow(gym.make("CartPole-v1"))] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    agent.set_env(other)
    assert agent.get_env() is other
    agent.learn(200, progress=False)
    assert agent.num_timesteps == 256  # it goes on counting
    last = agent.episodes.recent[-1]
    assert last["return"] == 0.5 * last["length"]


@pytest.mark.parametrize(
    ("env", "what"), [("Pendulum-v1", "observation_space"), ("MountainCar-v0", "observation_space")]
)
def test_set_env_refuses_other_spaces_and_numbers(env: str, what: str) -> None:
    agent = PPO("CartPole-v1", n_envs=2, seed=0)
    before = agent.get_env()
    with pytest.raises(ValueError, match=f"env has {what} "):
        agent.set_env(env)
    with pytest.raises(ValueError, match="env has num_envs 3: accepted is 2"):
        agent.set_env(gym.make_vec("CartPole-v1", num_envs=3))
    assert agent.get_env() is before


def test_predict_does_not_affect_training() -> None:
    results = []
    for curious in (False, True):
        agent = PPO("CartPole-v1", n_steps=16, seed=0)
        if curious:
            agent.predict(np.zeros(4, np.float32))
        results.append(agent.learn(400, progress=False).optimizer.flat.detach().clone())
    assert (results[0] == results[1]).all()


def test_episode_start_resets_the_state() -> None:
    agent = PPO("CartPole-v1", n_steps=16, seed=0, policy="gru")
    observation = np.ones((2, 4), np.float32)
    _, first = agent.predict(observation)
    _, second = agent.predict(observation, first, episode_start=np.array([True, False]))
    assert (second[0] == first[0]).all()
    assert (second[1] != first[1]).any()


@pytest.mark.slow
def test_sb3_evaluate_policy_agrees_with_evaluate() -> None:
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor

    for policy in ("mlp", "gru"):
        agent = PPO("CartPole-v1", n_envs=16, n_steps=32, n_epochs=10, learning_rate=3e-3, seed=0, policy=policy)
        agent.learn(2_000, progress=False)
        env = Monitor(gym.make("CartPole-v1"))
        env.reset(seed=0)
        theirs, _ = evaluate_policy(agent, env, n_eval_episodes=20)
        ours = evaluate(agent, n_episodes=40).mean
        assert theirs == pytest.approx(ours, rel=0.4), policy


def test_vector_environment_is_used_as_it_is() -> None:
    agent = PPO(SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 3), n_steps=8)
    assert agent.config.n_envs == 3
    agent.learn(100, progress=False)


def test_misspelt_hyperparameter_suggests_the_closest() -> None:
    with pytest.raises(TypeError, match="no hyperparameter 'clip_rang': did you mean 'clip_range'"):
        PPO("CartPole-v1", clip_rang=0.1)


def test_tuned_checks_the_arguments_of_a_given_environment(caplog: pytest.LogCaptureFixture) -> None:
    """Other models get the careful settings; env_kwargs that differ from the tuned ones cause a warning."""
    settings = tuned_settings("ppo")
    own = PPO.tuned(gym.make_vec("TextRLHF-v0", 2, model="tasks"))
    assert own.config.learning_rate == fine_tuning_rate(load("tasks").model)
    assert "made without" not in caplog.text
    shipped = PPO.tuned(gym.make_vec("TextRLHF-v0", 2))
    assert shipped.config.learning_rate == settings["TextRLHF-v0"].hyperparameters["learning_rate"]
    assert f"was made without {settings['TextRLHF-v0'].env_kwargs}" in caplog.text
    assert PPO("TextRLHF-v0", policy="mlp", n_envs=1).config.learning_rate == PPO.config_class().learning_rate
    with pytest.raises(KeyError) as caught:
        PPO.tuned("FrozenLake8x8-v1")
    assert LANGUAGE_MODEL not in str(caught.value)


def test_tuned_settings_are_valid() -> None:
    for env_id in ("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1"):
        assert env_id in tuned_settings("ppo")
        agent = PPO.tuned(env_id, seed=1, n_steps=8)
        assert agent.config.n_steps == 8
        agent.close()
    with pytest.raises(KeyError, match="'Blackjack-v1', only for CartPole-v1"):
        PPO.tuned("Blackjack-v1")


def test_run_folder_contents(tmp_path: Path) -> None:
    run = tmp_path / "run"
    agent = PPO("CartPole-v1", n_steps=16, seed=0, checkpoints=4)
    agent.learn(2000, run=run, progress=False, callbacks=Evaluate(every=500, n_episodes=3))
    names = {path.name.split(".out.")[0] for path in run.iterdir()}
    assert names == {"config.json", "metrics.jsonl", "events", "checkpoints", "curves.png", "best", ".lock"}
    assert json.loads((run / "config.json").read_text())["config"]["seed"] == 0
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == agent.num_timesteps
    assert sum("evaluation/return" in row for row in rows) == 4
    last = rows[-1]
    shares = [value for name, value in last.items() if name.startswith("time/") and name != "time/steps_per_second"]
    assert sum(shares) == pytest.approx(1)
    assert PPO.load(run / "best").num_timesteps <= agent.num_timesteps


@pytest.mark.slow
def test_metrics_have_at_most_500_rows(tmp_path: Path) -> None:
    PPO("CartPole-v1", n_envs=4, n_steps=1, n_epochs=1, seed=0).learn(2404, run=tmp_path, progress=False)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) <= 501


@pytest.mark.slow
def test_callbacks_stop_and_save(tmp_path: Path) -> None:
    agent = PPO("CartPole-v1", n_steps=16, seed=0)
    agent.learn(10_000, progress=False, callbacks=StopAtReturn(5))
    assert 100 <= agent.episodes.finished
    assert agent.num_timesteps < 10_000
    agent.learn(10_000_000, progress=False, callbacks=StopAfter(0.2))
    agent.learn(2_000, progress=False, callbacks=Save(every=700, folder=tmp_path))
    assert len(list(tmp_path.iterdir())) == 2
    agent.learn(10_000, progress=False, callbacks=Evaluate(every=100, n_episodes=2, stop_at=1, keep_best=False))


def test_cuts_leave_room_for_two_episodes() -> None:
    """With shorter plans CartPole's long episodes would be cut, and returns underestimated."""
    agent = PPO("CartPole-v1", n_envs=8, n_steps=16, n_epochs=1, seed=0)
    agent.learn(1_000, progress=False)
    assert agent.plan is not None
    assert agent.plan.every == 500  # but at least one cut at half-way
    agent.learn(100_000, progress=False, callbacks=StopAfter(0))
    assert agent.plan.every == max(10_000, 8 * 2 * 500)
    agent = PPO("CartPole-v1", n_envs=8, n_steps=16, n_epochs=1, seed=0, checkpoint_every=128)
    agent.learn(256, progress=False)
    assert agent.plan is not None
    assert agent.plan.every == 128


def test_learn_twice_continues_counting() -> None:
    agent = PPO("CartPole-v1", n_steps=16, seed=0)
    agent.learn(256, progress=False).learn(256, progress=False)
    assert agent.num_timesteps == 512


def test_import_loads_no_heavy_package() -> None:
    """The package itself imports no torch, transformers and the like."""
    code = "import sys, textrlhf; print(sorted({m.split('.')[0] for m in sys.modules}))"
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for module in ("torch", "transformers", "matplotlib", "rich", "tyro", "tensorboard"):
        assert f"'{module}'" not in heavy


def test_initial_weights_do_not_depend_on_threads() -> None:
    """Orthogonal initialisation rounds differently on two threads."""
    import torch

    agents = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        agents.append(PPO("CartPole-v1", seed=0, n_envs=2, net_arch=(512, 512), policy="gru", memory_size=256))
    torch.set_num_threads(1)
    assert (agents[0].optimizer.flat == agents[1].optimizer.flat).all()
