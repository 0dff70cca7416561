"""Observations apart into leaves, actions into whatever the space takes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from hypothesis import given, settings
from hypothesis import strategies as st

from textrlhf.agents.environment.spaces import ActionCodec, UnsupportedSpaceError, leaf_spaces, leaves_of, stack_leaves

BOX = spaces.Box(-1, 1, (2, 3), np.float32)
LEAVES = [
    BOX,
    spaces.Box(0, 255, (4, 4, 3), np.uint8),
    spaces.Box(-np.inf, np.inf, (), np.float64),
    spaces.Discrete(5, start=-2),
    spaces.MultiDiscrete([[2, 3], [4, 5]]),
    spaces.MultiBinary((2, 2)),
]
NESTED = spaces.Dict(
    OrderedDict(
        z=spaces.Discrete(3),
        a=spaces.Tuple((BOX, spaces.Dict({"x": spaces.MultiBinary(2), "b": spaces.Discrete(2)}))),
        m=spaces.MultiDiscrete([3, 4]),
    )
)
anything = st.recursive(
    st.sampled_from(LEAVES),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
        st.dictionaries(st.text("abz", min_size=1, max_size=2), inner, min_size=1, max_size=3).map(spaces.Dict),
    ),
    max_leaves=6,
)


def batched(space: spaces.Space[Any], rows: list[Any]) -> Any:
    """What Gymnasium's vector environments return for these observations."""
    return concatenate(space, rows, create_empty_array(space, n=len(rows)))


def check(space: spaces.Space[Any], rows: list[Any], batch: Any) -> None:
    expected = stack_leaves([leaves_of(space, row) for row in rows])
    found = leaves_of(space, batch)
    assert len(found) == len(leaf_spaces(space))
    for leaf, one, kind in zip(found, expected, leaf_spaces(space), strict=True):
        assert leaf.shape == (len(rows), *kind.shape)
        np.testing.assert_array_equal(leaf, one)
        assert all(kind.contains(np.asarray(entry)) for entry in leaf)


@given(space=anything, seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_leaves_of_batch_equal_stacked_rows(space: spaces.Space[Any], seed: int) -> None:
    """A leaf paired with another leaf's space would be encoded as what it is not."""
    space.seed(seed)
    rows = [space.sample() for _ in range(3)]
    check(space, rows, batched(space, rows))
    assert batch_space(space, 3).contains(batched(space, rows))  # it is what Gymnasium calls a batch


def test_leaves_follow_the_order_of_the_space() -> None:
    """Not in the order of the observation's keys, which is anyone's."""
    kinds = [spaces.Discrete(3), BOX, spaces.Discrete(2), spaces.MultiBinary(2), spaces.MultiDiscrete([3, 4])]
    assert list(leaf_spaces(NESTED)) == kinds  # z, a (Box, then b and x: a plain Dict sorts its keys), m
    observation = {
        "m": np.array([2, 3]),
        "a": (np.ones((2, 3), np.float32), {"x": np.array([1, 0], np.int8), "b": np.int64(1)}),
        "z": np.int64(2),
    }
    assert [leaf.tolist() for leaf in leaves_of(NESTED, observation)] == [2, [[1.0] * 3] * 2, 1, [1, 0], [2, 3]]


class NestedEnv(gym.Env[Any, Any]):
    observation_space, action_space = NESTED, spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.last = self.observation_space.sample()
        return self.last, {}


def test_leaves_of_a_vector_environment() -> None:
    envs = SyncVectorEnv([NestedEnv] * 3)
    observation, _ = envs.reset(seed=0)
    check(envs.single_observation_space, [env.last for env in envs.envs], observation)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(5),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Graph(BOX, None),
        spaces.OneOf([BOX, spaces.Discrete(2)]),
    ],
    ids=lambda space: type(space).__name__,
)
def test_unsupported_observation_space_is_refused(space: spaces.Space[Any]) -> None:
    outer = spaces.Dict(seen=BOX, heard=spaces.Tuple((BOX, space)))
    with pytest.raises(UnsupportedSpaceError) as caught:
        leaf_spaces(outer)
    message = str(caught.value)
    assert message.startswith(f"observation_space['heard'][1] is {space}")
    assert "accepted are Box, Discrete" in message
    assert "TransformObservation" in message


ACTIONS = {
    "Discrete": spaces.Discrete(4),
    "Discrete, start": spaces.Discrete(4, start=-2),
    "MultiDiscrete": spaces.MultiDiscrete([2, 5, 3]),
    "MultiDiscrete, start": spaces.MultiDiscrete([2, 5], start=[-3, 10]),
    "MultiDiscrete, 2-D": spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, 0], [-1, 7]], dtype=np.int32),
    "MultiBinary": spaces.MultiBinary(3),
    "MultiBinary, 2-D": spaces.MultiBinary((2, 3)),
}
BOXES = {
    "bounded": spaces.Box(-2, 0.1, (3,), np.float32),
    "bounded, float64": spaces.Box(-0.1, 0.1, (2, 2), np.float64),
    "bounded, a scalar": spaces.Box(0, 1, (), np.float32),
    "unbounded": spaces.Box(-np.inf, np.inf, (3,), np.float32),
    "half-bounded": spaces.Box(np.array([0, -np.inf], np.float32), np.array([np.inf, 1], np.float32)),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_discrete_actions_are_a_bijection(name: str) -> None:
    space = ACTIONS[name]
    codec = ActionCodec(space)
    assert codec.choices is not None
    grid = np.indices(codec.choices).reshape(len(codec.choices), -1).T  # every combination, (M, K)
    assert codec.size == len(codec.choices)
    actions = codec.to_env(grid[:, 0] if codec.size == 1 else grid)
    assert actions.shape == (len(grid), *space.shape)
    assert all(space.contains(action) for action in actions)
    assert len(np.unique(actions.reshape(len(grid), -1), axis=0)) == np.prod(codec.choices)
    assert batch_space(space, len(grid)).contains(actions)


def test_shaped_actions_keep_their_order() -> None:
    """Options of a 2-D space, flattened for the policy, must come back to the same entries."""
    codec = ActionCodec(ACTIONS["MultiDiscrete, 2-D"])
    assert codec.choices == [2, 3, 4, 5]
    assert codec.to_env(np.array([[1, 2, 3, 4]])).tolist() == [[[1 + 1, 2 + 0], [3 - 1, 4 + 7]]]
    assert ActionCodec(ACTIONS["Discrete, start"]).to_env(np.array([0, 3])).tolist() == [-2, 1]


@pytest.mark.parametrize("name", BOXES)
def test_box_actions_are_clipped(name: str) -> None:
    space = BOXES[name]
    codec = ActionCodec(space)
    assert codec.choices is None
    raw = np.random.default_rng(0).normal(0, 3, (200, codec.size)).astype(np.float32)
    kept = raw.copy()
    actions = codec.to_env(raw)
    assert all(space.contains(np.asarray(action)) for action in actions)
    assert actions.dtype == space.dtype
    expected = np.minimum(np.maximum(raw.reshape(actions.shape), space.low), space.high)
    np.testing.assert_array_equal(actions, expected.astype(space.dtype))
    np.testing.assert_array_equal(raw, kept)  # the policy's own action, whose probability is known, is not clipped


@pytest.mark.parametrize(
    "space",
    [spaces.Box(0, 255, (3,), np.uint8), spaces.Text(3), spaces.Dict(a=spaces.Discrete(2)), spaces.Tuple((BOX,))],
    ids=["Box of integers", "Text", "Dict", "Tuple"],
)
def test_unsupported_action_space_is_refused(space: spaces.Space[Any]) -> None:
    with pytest.raises(UnsupportedSpaceError, match="action_space is .*TransformAction") as caught:
        ActionCodec(space)
    assert str(space) in str(caught.value)


@pytest.mark.parametrize("name", [*ACTIONS, *BOXES])
def test_from_env_inverts_to_env(name: str) -> None:
    space = {**ACTIONS, **BOXES}[name]
    space.seed(0)
    codec, sent = ActionCodec(space), np.stack([space.sample() for _ in range(20)])
    numbers = codec.from_env(sent)
    assert numbers.shape == ((20,) if codec.choices and codec.size == 1 else (20, codec.size))
    assert numbers.dtype == (np.int64 if codec.choices else np.float32)
    if codec.choices:
        assert (numbers >= 0).all()
        assert (numbers < (codec.choices[0] if codec.size == 1 else codec.choices)).all()
    np.testing.assert_array_equal(codec.to_env(numbers), sent.astype(np.float32) if name in BOXES else sent)


def test_float64_at_a_float32_bound_is_inside() -> None:
    codec = ActionCodec(spaces.Box(-0.7, 0.7, (1,), np.float32))
    np.testing.assert_array_equal(codec.from_env(np.array([[0.7], [-0.7]])), np.array([[0.7], [-0.7]], np.float32))
    for wrong in (0.71, np.nan):
        with pytest.raises(ValueError, match="at step 1"):
            codec.from_env(np.array([[0.0], [wrong]]))
