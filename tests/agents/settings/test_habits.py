"""Arguments of other libraries: what has an equivalent here works, the rest is answered with it, never with a guess."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
from torch import nn

from textrlhf.agents import PPO, REINFORCE, PPOConfig
from textrlhf.agents.settings.habits import ANSWERS, RENAMED


@pytest.mark.parametrize(
    ("policy", "here"),
    [("MlpPolicy", "auto"), ("CnnPolicy", "auto"), ("MultiInputPolicy", "auto"), ("MlpLstmPolicy", "gru")],
)
def test_the_policy_may_come_first(policy: str, here: str) -> None:
    env = gym.make("CartPole-v1")
    agent = PPO(policy, env, n_envs=1, seed=0)
    assert (agent.config.policy, agent.env.steps(env)) == (here, True)
    assert PPO(policy=policy, env="CartPole-v1").config.policy == here


def test_the_policy_without_an_environment_is_answered() -> None:
    with pytest.raises(TypeError, match="env is 'MlpPolicy', a policy: the environment is missing"):
        PPO("MlpPolicy")
    with pytest.raises(TypeError, match=r"write PPO\(env, policy='MlpPolicy'\)"):
        PPO("MlpPolicy", env="CartPole-v1")
    with pytest.raises(TypeError, match="the environment comes first, then policy="):
        PPO(nn.Identity, gym.make("CartPole-v1"))
    with pytest.raises(TypeError, match="the second 'MlpPolicy': the environment comes first, then policy="):
        PPO("CartPole-v1", "MlpPolicy")


@pytest.mark.parametrize(
    ("policy_kwargs", "net_arch", "activation"),
    [
        ({"net_arch": [16, 8], "activation_fn": nn.ReLU}, (16, 8), "relu"),
        ({"net_arch": {"pi": [8], "vf": [8]}, "activation_fn": nn.SiLU}, (8,), "silu"),
        ({"net_arch": [{"pi": [8], "vf": [8]}], "activation_fn": nn.Tanh, "ortho_init": True}, (8,), "tanh"),
        (None, (64, 64), "tanh"),
    ],
)
def test_policy_kwargs_are_hyperparameters(policy_kwargs: Any, net_arch: tuple[int, ...], activation: str) -> None:
    config = PPO("CartPole-v1", policy_kwargs=policy_kwargs).config
    assert (config.net_arch, config.activation) == (net_arch, activation)


@pytest.mark.parametrize(
    ("policy_kwargs", "error", "message"),
    [
        ({"net_arch": {"pi": [8], "vf": [64]}}, ValueError, r"same widths here, net_arch=\(8,\)"),
        ({"activation_fn": nn.GELU}, ValueError, "accepted are torch.nn's Tanh, ReLU, SiLU"),
        ({"features_extractor_class": nn.Identity}, TypeError, "policy= takes a class or function"),
        ({"net_arch": [8]}, TypeError, "net_arch is given twice"),
    ],
)
def test_other_policy_kwargs_are_answered(policy_kwargs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PPO("CartPole-v1", policy_kwargs=policy_kwargs, **({"net_arch": (4,)} if "twice" in message else {}))


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_is_given(name: str) -> None:
    """For `use_sde` the nearest name is `seed`."""
    with pytest.raises(TypeError) as caught:
        PPOConfig(**{name: 1})
    assert str(caught.value) == f"PPOConfig has no hyperparameter '{name}': {ANSWERS[name]}"


def test_other_names_of_hyperparameters_are_answered() -> None:
    assert all(hasattr(PPOConfig, ours) for ours in RENAMED)
    for ours, theirs in RENAMED.items():
        for name in theirs.split():
            with pytest.raises(TypeError, match=f"no hyperparameter '{name}': it is called {ours} here"):
                PPO("CartPole-v1", **{name: 1})
    with pytest.raises(TypeError, match=r"no hyperparameter 'clip_coef': accepted are n_envs"):
        REINFORCE("CartPole-v1", clip_coef=0.1)  # it clips nothing


@pytest.mark.parametrize(("name", "schedule"), [("learning_rate", "lr_schedule"), ("clip_range", "clip_schedule")])
def test_callable_schedules_are_answered(name: str, schedule: str) -> None:
    with pytest.raises(TypeError, match=f'{name}=.*accepted is a number, which {schedule}="linear"'):
        PPO("CartPole-v1", **{name: lambda left: 1e-3 * left})


def test_learn_takes_the_habitual_names() -> None:
    seen: list[int] = []
    agent = PPO("CartPole-v1", n_envs=2, n_steps=16, n_epochs=1, seed=0)
    agent.learn(64.0, callback=lambda agent, metrics: seen.append(agent.num_timesteps), progress_bar=False)
    assert seen == [32, 64]
    agent.learn(32, None, progress=False)


@pytest.mark.parametrize(
    ("total", "arguments", "error", "message"),
    [
        ("5", {}, TypeError, "total_timesteps='5': accepted is a whole number of at least 1"),
        (True, {}, TypeError, "total_timesteps=True"),
        (1.5, {}, TypeError, "total_timesteps=1.5"),
        (0, {}, ValueError, "total_timesteps=0: accepted is at least 1"),
        (64, {"reset_num_timesteps": True}, TypeError, "always goes on counting: leave it out"),
        (64, {"log_interval": 1}, TypeError, "leave it out"),
        (64, {"tb_log_name": "x"}, TypeError, 'run="runs/name"'),
        (64, {"episodes": 3}, TypeError, "learn has no argument 'episodes': accepted are callbacks, run and progress"),
        (64, {"callback": print, "callbacks": print}, TypeError, "give one of them"),
    ],
)
def test_learn_answers_what_it_does_not_take(
    total: Any, arguments: dict[str, Any], error: type[Exception], message: str, tmp_path
) -> None:
    with pytest.raises(error, match=message):
        PPO("CartPole-v1", seed=0).learn(total, run=tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()
