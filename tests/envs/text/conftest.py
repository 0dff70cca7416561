"""Shared by tests of text environments: a reference for penalties, and random texts."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import textrlhf  # noqa: F401  (registers the environments)
from tiny_models import V, tiny_lm


class Oracle:
    """Log-probabilities under the reference by full uncached forwards in float64, independent of the engine."""

    def __init__(self) -> None:
        self._models: dict[int, Any] = {}
        self._known: dict[tuple, np.ndarray] = {}

    @torch.no_grad()
    def distribution(self, lm, tokens) -> np.ndarray:  # (V,)
        key = (id(lm), *map(int, tokens))
        if key not in self._known:
            if id(lm) not in self._models:
                self._models[id(lm)] = (lm, copy.deepcopy(lm.model).double())
            ids = torch.tensor([key[1:]])
            logits = self._models[id(lm)][1](ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -1]
            self._known[key] = logits.log_softmax(-1).numpy()
        return self._known[key]

    def logprob(self, lm, observation, action, allowed=None) -> float:
        """Of an action after an observation; over `allowed` (V,) where that holds the action."""
        logps = self.distribution(lm, observation[observation >= 0])
        if allowed is None or not allowed[action]:
            return float(logps[action])
        return float(logps[action] - np.logaddexp.reduce(logps[np.asarray(allowed, bool)]))


@dataclass
class Text:
    """One episode as its agent saw it."""

    observations: list[np.ndarray] = field(default_factory=list)  # before each action, and the last one
    actions: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)  # as set by the agent
    masks: list[np.ndarray | None] = field(default_factory=list)
    kl_coefs: list[float] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    infos: list[dict] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False

    def kl(self, oracle, lm) -> np.ndarray:
        steps = zip(self.observations, self.actions, self.masks, self.logprobs, strict=False)
        return np.array([logp - oracle.logprob(lm, seen, action, mask) for seen, action, mask, logp in steps])


def write(env, rng, *, announce=True, seed=None, eos=0.15, actions=None, forbid=0.0, kl_coef=None) -> Text:
    """Write a random text; a share `forbid` of the actions violates the mask."""
    base, text = env.unwrapped, Text()
    observation, info = env.reset(seed=seed)
    while not (text.terminated or text.truncated):
        mask = info.get("action_mask")
        width = int(base.action_space.n)
        choices = np.arange(1, width) if mask is None else np.flatnonzero(mask)
        if mask is not None and not mask.all() and rng.random() < forbid:
            choices = np.flatnonzero(mask == 0)
        action = 1 if 1 in choices and rng.random() < eos else int(rng.choice(choices))
        if actions is not None:
            action = actions[len(text.actions)]
        logprob = 0.0
        if announce:
            logprob = -float(rng.exponential())
            base.policy_logprob = logprob
        if kl_coef is not None:
            base.kl_coef = kl_coef(len(text.actions))
        text.observations.append(observation)
        text.actions.append(action)
        text.logprobs.append(logprob)
        text.masks.append(mask)
        text.kl_coefs.append(base.kl_coef)
        observation, reward, text.terminated, text.truncated, info = env.step(action)
        text.rewards.append(reward)
        text.infos.append(info)
    text.observations.append(observation)
    return text


def same(left: Any, right: Any, where: str = "info") -> None:
    """Two infos have the same keys, masks and values, numbers to 1e-5."""
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert sorted(left) == sorted(right), where
        for key in left:
            same(left[key], right[key], f"{where}[{key!r}]")
    elif isinstance(left, np.ndarray) and left.dtype == object:
        assert right.dtype == object, where
        assert left.shape == right.shape, where
        for i, (one, other) in enumerate(zip(left, right, strict=True)):
            same(one, other, f"{where}[{i}]")
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype, where
        np.testing.assert_allclose(left, right, atol=1e-5, rtol=0, err_msg=where)
    elif isinstance(left, float):
        assert left == pytest.approx(right, abs=1e-5), where
    else:
        assert left == right, where


@pytest.fixture(scope="session")
def oracle():
    return Oracle()


@pytest.fixture(name="write", scope="session")
def _write():
    return write


@pytest.fixture(name="same", scope="session")
def _same():
    return same


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The folder of a tiny model, which other processes can load."""
    return tiny_lm().save(tmp_path_factory.mktemp("models") / "tiny").name


@pytest.fixture
def text():
    """Make an environment of one text, or with `num_envs` a native batch."""
    from tiny_envs import text_env

    made = []

    def make(num_envs=None, autoreset_mode="SameStep", **changes):
        kwargs = text_env(**changes)
        if num_envs is None:
            made.append(gym.make("TextRLHF-v0", **kwargs))
        else:
            made.append(gym.make_vec("TextRLHF-v0", num_envs=num_envs, autoreset_mode=autoreset_mode, **kwargs))
        return made[-1]

    yield make
    for env in made:
        env.close()


assert V == 40  # the tests name tokens of this vocabulary
