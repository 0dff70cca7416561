"""Demonstrations for the tests of cloning."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from textrlhf.agents import Clone, Demonstrations, Episode
from textrlhf.agents.environment.masks import pack
from tiny_envs import text_env

ROWS = [
    {"prompt": "a2 a3 a4", "completion": " a5 a6 a7"},
    {"prompt": "a9", "completion": " a10"},
    {"prompt": "a11 a12 a13 a14 a15", "completion": " a16 a17 a18 a19 a20"},
]
TALK = [
    {"prompt": "a2 a3", "turns": [" a4", " a5 a6", " a7 a8"]},
    {"prompt": "a9", "turns": [" a10 a11", " a12", " a13"]},
]


def pole_expert(seen: np.ndarray) -> int:
    """Balances the pole in the middle of the track."""
    x, v, angle, spin = seen
    return int(angle + 0.5 * spin + 0.05 * x + 0.1 * v > 0)


def texts(rows: Any = ROWS, family: str = "gpt2", **settings: Any) -> Clone:
    env = gym.make_vec("TextRLHF-v0", num_envs=1, **text_env(family=family))
    return Clone(env, demonstrations=rows, **{"seed": 0, "heldout": 0.0, "batch_size": 1000, **settings})


def some_episodes(masks: bool = False, space: str = "discrete") -> Demonstrations:
    rng = np.random.default_rng(7)
    episodes = []
    for length in (5, 2, 9, 1):
        seen = rng.normal(size=(length, 4)).astype(np.float32)
        if space == "box":
            episodes.append(Episode((seen[:, :3],), rng.uniform(-2, 2, (length, 1)).astype(np.float32)))
            continue
        actions, packed = rng.integers(0, 2, length), None
        if masks:
            allowed = rng.random((length, 2)) < 0.6
            allowed[np.arange(length), actions] = True
            packed = pack(allowed)
        episodes.append(Episode((seen,), actions, packed))
    return Demonstrations(episodes)
