"""Deferred KL penalties do not pass through wrappers: those that may change rewards are refused, all others are not."""

from __future__ import annotations

import gymnasium as gym
import pytest
from gymnasium import wrappers
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers import vector

from textrlhf.agents import PPO
from textrlhf.agents.environment.adapter import EnvError
from textrlhf.agents.environment.reward_wrappers import changes_rewards, wrappers_of
from textrlhf.envs.text.wrappers import ModelInputs, ModelInputsBatch
from tiny_envs import text_env


class Doubled(gym.Wrapper):
    """Changes rewards without being a RewardWrapper."""

    def step(self, action):
        observation, reward, *rest = self.env.step(action)
        return observation, 2 * reward, *rest


class Looking(Doubled):
    """Says that it leaves rewards alone."""

    changes_rewards = False


def single(kl_penalty):
    return gym.make("TextRLHF-v0", **text_env(kl_penalty=kl_penalty))


def batch(kl_penalty):
    return gym.make_vec("TextRLHF-v0", 2, **text_env(kl_penalty=kl_penalty))


WRAPPED = {
    "TransformReward": lambda kl: wrappers.TransformReward(single(kl), lambda r: 2 * r),
    "ClipReward": lambda kl: wrappers.TimeLimit(wrappers.ClipReward(single(kl), -1, 1), 20),
    "NormalizeReward": lambda kl: wrappers.NormalizeReward(single(kl)),
    "Doubled": lambda kl: SyncVectorEnv([lambda: Doubled(single(kl))]),
    "TransformReward ": lambda kl: vector.TransformReward(batch(kl), lambda r: 2 * r),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_rewards_changed_by_a_wrapper_are_refused_with_deferred_penalties(name):
    """Guards against an objective other than the user's: −28.59 by token was −14.47 deferred."""
    settings = {"n_steps": 4, "batch_size": 4, "n_epochs": 1, "seed": 0}
    with pytest.raises(EnvError, match=rf'the wrapper {name.strip()} .* kl_penalty="token"'):
        PPO(WRAPPED[name]("deferred"), **settings).learn(4)
    PPO(WRAPPED[name]("token"), **settings).learn(4)


def test_wrappers_that_leave_rewards_alone_pass():
    neutral = [
        wrappers.TimeLimit(wrappers.RecordEpisodeStatistics(single("deferred")), 20),
        ModelInputs(single("deferred")),
        Looking(single("deferred")),
    ]
    assert not any(map(changes_rewards, wrappers_of(SyncVectorEnv([lambda: neutral[0]]))))
    assert not any(changes_rewards(type(env)) for env in neutral)
    assert not changes_rewards(ModelInputsBatch)
    PPO(neutral[2], n_steps=4, batch_size=4, n_epochs=1, seed=0).learn(4)


def test_gymnasiums_wrappers_that_change_rewards_are_known():
    """Guards against a wrapper that a later Gymnasium adds: every reward that a wrapper touches is in its code."""
    for module in (wrappers, vector):
        for name in set(module.__all__) & set(vars(module)):  # others need packages that are not installed
            kind = getattr(module, name)
            if not isinstance(kind, type):
                continue
            touches = name.endswith("Reward") or name in ("AtariPreprocessing", "MaxAndSkipObservation", "RepeatAction")
            assert changes_rewards(kind) == touches, name


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_wrappers_in_other_processes_are_found():
    """Guards against AsyncVectorEnv as a way around the check, and a spec with a lambda, which cannot be sent."""
    factor = 2
    for wrap, name in (
        (lambda env: wrappers.TransformReward(env, lambda r: factor * r), "TransformReward"),
        (Looking, None),
    ):
        env = AsyncVectorEnv([lambda wrap=wrap: wrap(gym.make("CartPole-v1"))])
        try:
            changing = [kind.__name__ for kind in wrappers_of(env) if changes_rewards(kind)]
            assert changing == ([] if name is None else [name])
        finally:
            env.close()
