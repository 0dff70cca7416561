"""Action masks: read from methods and infos, packed into bits, checked."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from textrlhf.agents.environment.masks import MaskSource, pack, require_an_action, unpack
from textrlhf.agents.environment.vectorize import EnvAttributes

WIDTH = 5


@given(width=st.integers(1, 70), lead=st.sampled_from([(), (3,), (4, 2)]), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_pack_and_unpack_round_trip(width: int, lead: tuple[int, ...], seed: int) -> None:
    masks = np.random.default_rng(seed).random((*lead, width)) < 0.5
    packed = pack(masks)
    assert packed.shape == (*lead, -(-width // 8))
    back = unpack(packed, width, torch.device("cpu"))
    assert back.dtype == torch.bool
    np.testing.assert_array_equal(back.numpy(), masks)


@pytest.mark.parametrize("width", [70, 50_257])
def test_packed_mask_takes_an_eighth(width: int) -> None:
    """At a vocabulary of 50,257 a rollout of bools, or worse of floats, would not fit into memory."""
    masks = np.random.default_rng(0).random((6, width)) < 0.5
    packed = pack(masks)
    assert packed.nbytes == 6 * -(-width // 8)
    np.testing.assert_array_equal(unpack(packed, width, torch.device("cpu")).numpy(), masks)


class Counting(gym.Env[Any, Any]):
    """Counts up; the mask depends on the count, and is in the info of some counts only."""

    observation_space, action_space = spaces.Discrete(100), spaces.Discrete(WIDTH)

    def __init__(self, length: int, report: str) -> None:
        self.length, self.report, self.count = length, report, 0

    def rule(self) -> np.ndarray:
        mask = np.arange(WIDTH) % (self.count % 3 + 2) == self.count % 2
        mask[self.count % WIDTH] = True
        return mask.astype(np.int8)

    def info(self) -> dict[str, Any]:
        if self.report == "as a list":
            return {"action_mask": self.rule().tolist()}
        shown = self.report == "always" or (self.report == "at times" and self.count % 2 == 0)
        return {"action_mask": self.rule()} if shown else {}

    def truth(self) -> np.ndarray:
        return np.array(self.info().get("action_mask", np.ones(WIDTH)), bool)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = self.length  # not 0, so that the rows differ from the beginning
        return self.count, self.info()

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return self.count, 0.0, self.count == 2 * self.length, False, self.info()


class Asked(Counting):
    """The same by a method, in the manner of sb3-contrib; it reads nothing from info."""

    def action_masks(self) -> np.ndarray:
        return self.rule()

    def truth(self) -> np.ndarray:
        return self.rule().astype(bool)


class Wrapped(gym.Wrapper[Any, Any, Any, Any]):
    pass


KINDS = {
    "info": lambda length: Counting(length, "always"),
    "info, a list": lambda length: Counting(length, "as a list"),
    "info at times": lambda length: Counting(length, "at times"),
    "method": lambda length: Asked(length, "never"),
    "method behind a wrapper": lambda length: Wrapped(Asked(length, "never")),
}


def follow(kind: str, mode: AutoresetMode, steps: int = 40) -> None:
    """Step as `EnvAdapter` does; the masks must be those of the current states."""
    lengths = (2, 3, 5)
    envs = SyncVectorEnv([lambda n=n: KINDS[kind](n) for n in lengths], autoreset_mode=mode)
    source = MaskSource(EnvAttributes(envs), len(lengths), WIDTH)

    def compare(masks: np.ndarray | None) -> None:
        truth = np.stack([env.unwrapped.truth() for env in envs.envs])
        np.testing.assert_array_equal(np.ones_like(truth) if masks is None else masks, truth)

    _, info = envs.reset(seed=0)
    compare(source.read(info))
    resets = 0
    for _ in range(steps):
        _, _, terminated, truncated, info = envs.step(np.zeros(len(lengths), np.int64))
        ended = terminated | truncated
        masks = source.read(info)
        if mode is AutoresetMode.DISABLED and ended.any():
            _, info = envs.reset(options={"reset_mask": ended})
            masks = source.read(info, ended)
            resets += 1
        compare(masks)
    assert (resets > 5) == (mode is AutoresetMode.DISABLED)


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_those_of_the_current_states(kind: str, mode: AutoresetMode) -> None:
    """Guards against a mask of the last episode's end on the first step of the next, and of row i on row j."""
    follow(kind, mode)


def test_no_masks_without_a_source() -> None:
    envs = SyncVectorEnv([lambda: Counting(3, "never")] * 2)
    source = MaskSource(EnvAttributes(envs), 2, WIDTH)
    assert source.read(envs.reset()[1]) is None
    assert source.read(envs.step(np.zeros(2, np.int64))[-1]) is None


class Native(VectorEnv[Any, Any, Any]):
    """A batch that answers for all its slots at once."""

    num_envs = 3

    def action_masks(self) -> np.ndarray:
        return np.eye(3, WIDTH, dtype=np.int8)


def test_native_vector_environment_is_called_once() -> None:
    masks = MaskSource(EnvAttributes(Native()), 3, WIDTH).read({})
    assert masks is not None
    assert masks.dtype == bool
    np.testing.assert_array_equal(masks, np.eye(3, WIDTH, dtype=bool))


def test_masks_of_several_choices_are_concatenated() -> None:
    """(N, K, n) from an environment is (N, K·n) for a policy."""
    envs = SyncVectorEnv([lambda: Counting(3, "never")] * 2)
    source = MaskSource(EnvAttributes(envs), 2, 6)
    grid = np.arange(12).reshape(2, 2, 3) % 5 != 0
    masks = source.read({"action_mask": grid})
    np.testing.assert_array_equal(masks, grid.reshape(2, 6))


@pytest.mark.parametrize("kind", ["info", "method"])
def test_wrong_mask_width_is_refused(kind: str) -> None:
    envs = SyncVectorEnv([lambda: KINDS[kind](3)] * 2)
    source = MaskSource(EnvAttributes(envs), 2, WIDTH + 1)
    with pytest.raises(ValueError, match=r"action mask of shape \(2, 5\): expected \(2, 6\)"):
        source.read(envs.reset()[1])


def test_mask_without_actions_is_refused() -> None:
    masks = np.ones((4, WIDTH), bool)
    masks[:, 1:] = False
    require_an_action(masks)
    masks[2] = False
    with pytest.raises(ValueError, match="environment 2 allows no action: at least one entry must be True"):
        require_an_action(masks)
