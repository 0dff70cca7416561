"""Hyperparameters that were given, and those an environment has other defaults for."""

from __future__ import annotations

import copy
import pickle

import gymnasium as gym

from textrlhf.agents import PPO, PPOConfig


def test_given_fields_survive_copies() -> None:
    config = PPOConfig(16, gamma=0.5)
    assert config.given == {"n_envs", "gamma"}
    for same in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert same == config
        assert same.given == config.given
    assert config.replace(seed=1).given == {"n_envs", "gamma", "seed"}


def test_config_and_keywords_agree_on_text() -> None:
    """With a config all defaults were those of control."""
    for keywords in ({}, {"n_steps": 8}):
        by_config = PPO("TextRLHF-v0", PPOConfig(**keywords, seed=0)).config
        assert by_config == PPO("TextRLHF-v0", **keywords, seed=0).config
    assert by_config.n_steps == 8
    assert by_config.gamma == 1.0


def test_single_environment_collects_as_much() -> None:
    env = gym.make("CartPole-v1")
    env.unwrapped.gravity = 5.0  # so that no more of it can be made
    config = PPO(env).config
    assert (config.n_envs, config.n_steps) == (1, 2048)
    assert PPO(env, n_steps=8).config.n_steps == 8
