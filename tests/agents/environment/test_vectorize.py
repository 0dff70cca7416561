"""From whatever names an environment to a vector environment, and how it is made again."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TransformReward
from gymnasium.wrappers.vector import TransformReward as VectorTransformReward

from textrlhf.agents.environment.vectorize import Vectorized, remake, vectorize

ID = "VectorizeProbe-v0"


class Probe(gym.Env[Any, Any]):
    """Pays `reward` a step, three steps by default."""

    metadata = {"render_modes": ["ansi"]}
    observation_space, action_space = spaces.Box(-1, 1, (2,)), spaces.Discrete(2)

    def __init__(self, reward: Any = 1.0, render_mode: str | None = None) -> None:
        self.reward, self.render_mode, self.closed = reward, render_mode, False

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return np.zeros(2, np.float32), float(np.sum(self.reward)), False, False, {}

    def render(self) -> str:
        return ""

    def close(self) -> None:
        self.closed = True


class Doubled(gym.RewardWrapper[Any, Any]):
    """A user's own wrapper, written without RecordConstructorArgs."""

    def reward(self, reward: Any) -> float:
        return 2 * float(reward)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    gym.register(ID, Probe, max_episode_steps=3)
    yield
    del gym.registry[ID]


def paid(made: Vectorized) -> list[float]:
    """Each slot's first reward."""
    made.env.reset(seed=0)
    return made.env.step(np.zeros(made.env.num_envs, np.int64))[1].tolist()


def limit(made: Vectorized) -> int:
    """Steps until the first slot is cut."""
    made.env.reset(seed=0)
    for step in range(1, 100):
        if made.env.step(np.zeros(made.env.num_envs, np.int64))[3][0]:
            return step
    raise AssertionError


def again(made: Vectorized, n_envs: int = 2) -> Vectorized:
    assert made.recipe is not None
    return remake(made.recipe, n_envs)


def test_id_with_arguments_is_remade() -> None:
    made = vectorize(ID, 3, {"reward": 5.0})
    assert made.owned
    assert made.recipe == {"id": ID, "kwargs": {"reward": 5.0}}
    assert paid(made) == [5.0] * 3
    assert paid(again(made)) == [5.0] * 2
    assert made.env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP  # no step is spent on resets


def test_vector_entry_point_is_used() -> None:
    made = vectorize("CartPole-v1", 3)
    assert type(made.env.unwrapped).__name__ == "CartPoleVectorEnv"
    assert again(made).env.num_envs == 2


@pytest.mark.parametrize(
    "kwargs",
    [
        {"wrappers": [Doubled]},
        {"vectorization_mode": "sync"},
        {"vector_kwargs": {"autoreset_mode": AutoresetMode.DISABLED}},
    ],
    ids=lambda kwargs: next(iter(kwargs)),
)
@pytest.mark.parametrize("env_id", [ID, "CartPole-v1"])
def test_make_vec_arguments_are_passed_on(env_id: str, kwargs: dict[str, Any]) -> None:
    """Also where there is a native batch, which takes none of it: the slots are then made one by one."""
    made = vectorize(env_id, 2, kwargs)
    assert isinstance(made.env, SyncVectorEnv)
    assert paid(made) == [2.0 if "wrappers" in kwargs else 1.0] * 2
    disabled = made.env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert disabled == ("vector_kwargs" in kwargs)
    if "wrappers" in kwargs:
        assert made.recipe is None  # an id alone would make it without them
    else:
        assert paid(again(made)) == [1.0] * 2


def test_vector_environment_is_used_as_it_is() -> None:
    env = gym.make_vec(ID, 3, vectorization_mode="sync", reward=4.0)
    made = vectorize(env, 8)
    assert made.env is env
    assert not made.owned
    assert made.recipe == {"id": ID, "kwargs": {"reward": 4.0}}
    assert paid(again(made)) == [4.0] * 2


@pytest.mark.parametrize(
    "maker",
    [
        lambda: gym.make_vec(ID, 2, vectorization_mode="sync", wrappers=[Doubled]),
        lambda: SyncVectorEnv([lambda: Doubled(gym.make(ID))] * 2),
        lambda: VectorTransformReward(gym.make_vec(ID, 2, vectorization_mode="sync"), lambda reward: 2 * reward),
        lambda: VectorTransformReward(gym.make_vec("CartPole-v1", 2), lambda reward: 2 * reward),
    ],
    ids=["wrappers inside", "made by hand", "a wrapper around", "a wrapper around a native batch"],
)
def test_wrapped_vector_environment_has_no_recipe(maker: Any) -> None:
    """Made again by id it would be another task, and an evaluation there a wrong number without an error."""
    made = vectorize(maker(), 2)
    assert paid(made) == [2.0] * 2
    assert made.recipe is None


def test_single_environment_is_one_slot() -> None:
    env = gym.make(ID, reward=2.0)
    made = vectorize(env, 1)
    assert made.env.num_envs == 1
    assert made.env.envs[0] is env
    assert not made.owned
    assert paid(made) == [2.0]
    assert paid(again(made)) == [2.0] * 2


def test_copies_are_made_from_the_spec(caplog: pytest.LogCaptureFixture) -> None:
    env = gym.make(ID, reward=3.0)
    with caplog.at_level(logging.WARNING, "textrlhf"):
        made = vectorize(env, 4)
    assert [record.getMessage() for record in caplog.records] == [f"n_envs=4: making 4 of {ID} from its spec"]
    assert caplog.records[0].name == "textrlhf"
    assert made.owned
    assert made.env.num_envs == 4
    assert paid(made) == [3.0] * 4
    assert not env.unwrapped.closed  # the user's own is left alone


def test_copies_do_not_render() -> None:
    """Eight windows would open for learning, and ten for an evaluation."""
    shown = gym.make(ID, render_mode="ansi")
    made = vectorize(shown, 2)
    assert [env.unwrapped.render_mode for env in made.env.envs] == [None, None]
    assert made.recipe == vectorize(shown, 1).recipe == {"id": ID, "kwargs": {}}
    assert shown.spec.kwargs["render_mode"] == "ansi"


def test_wrappers_are_rebuilt_without_recipe() -> None:
    wrapped = TransformReward(gym.make(ID), lambda reward: 2 * reward)
    for n_envs in (1, 3):
        made = vectorize(wrapped, n_envs)
        assert paid(made) == [2.0] * n_envs
        assert made.recipe is None
    native = TransformReward(gym.make("CartPole-v1"), lambda reward: 2 * reward)
    assert paid(vectorize(native, 2)) == [2.0] * 2  # not the native batch, which would leave it out


@pytest.mark.parametrize(
    ("maker", "why"),
    [
        (lambda: Doubled(Probe(reward=0.5)), "it has no spec"),
        (lambda: Doubled(gym.make(ID, reward=0.5)), "one of its wrappers lacks gymnasium.utils.RecordConstructorArgs"),
    ],
    ids=["no spec", "a wrapper that cannot be made again"],
)
def test_environment_without_spec_is_used_alone(maker: Any, why: str, caplog: pytest.LogCaptureFixture) -> None:
    env = maker()
    with caplog.at_level(logging.WARNING, "textrlhf"):
        made = vectorize(env, 8)
    (record,) = caplog.records
    assert record.getMessage().startswith("n_envs=8, but no more of ")
    assert f"({why}): using the one given" in record.getMessage()
    assert made.env.num_envs == 1
    assert made.recipe is None
    assert paid(made) == [1.0]


def test_no_recipe_for_non_json_arguments() -> None:
    assert vectorize(ID, 1, {"reward": np.ones(2)}).recipe is None
    assert vectorize(gym.make(ID, reward=np.ones(2)), 1).recipe is None


@pytest.mark.parametrize("env_id", [ID, "CartPole-v1"])
@pytest.mark.parametrize("n_envs", [1, 2])
def test_max_episode_steps_is_in_the_recipe(env_id: str, n_envs: int) -> None:
    """`gym.make(id, max_episode_steps=2)` keeps the limit beside its kwargs: easily lost."""
    for made in (
        vectorize(gym.make(env_id, max_episode_steps=2), n_envs),
        vectorize(env_id, n_envs, {"max_episode_steps": 2}),
        vectorize(gym.make_vec(env_id, n_envs, max_episode_steps=2), n_envs),
    ):
        assert limit(made) == 2
        assert limit(again(made)) == 2
    assert limit(vectorize(ID, n_envs)) == 3


def test_no_recipe_without_the_registered_limit() -> None:
    assert vectorize(gym.make(ID, max_episode_steps=-1), 1).recipe is None


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that registers an environment when it is imported, and leaves a mark."""
    name, env_id = "vectorize_probe_module", "FromModule-v0"
    (tmp_path / f"{name}.py").write_text(
        "import gymnasium\n"
        f"gymnasium.register({env_id!r}, 'gymnasium.envs.classic_control.cartpole:CartPoleEnv', max_episode_steps=4)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield f"{name}:{env_id}"
    sys.modules.pop(name, None)
    gym.registry.pop(env_id, None)


def test_module_prefix_is_imported(module: str) -> None:
    made = vectorize(module, 2)
    assert limit(made) == 4
    assert made.recipe == {"id": "FromModule-v0", "kwargs": {}}
    assert limit(again(made)) == 4


def test_remake_imports_nothing(module: str) -> None:
    """Loading a checkpoint must not run code that it names."""
    name, _, env_id = module.partition(":")
    for unknown in (module, env_id, f"{name}:{ID}", f"{name}:CartPole-v1"):
        with pytest.raises(ValueError, match=f"environment '{unknown}' is not registered: import the package"):
            remake({"id": unknown, "kwargs": {}}, 1)
    assert name not in sys.modules
    vectorize(module, 1)
    assert name in sys.modules  # the import would have been seen


@pytest.mark.parametrize("wrong", [None, 3, Probe, spaces.Discrete(2)], ids=repr)
def test_non_environment_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="accepted are an environment's id, a gymnasium.Env and a") as caught:
        vectorize(wrong, 1)
    assert str(caught.value).startswith(f"env is {wrong!r}")


def test_unknown_id_raises_gymnasium_error() -> None:
    with pytest.raises(gym.error.NameNotFound, match="CartPoole"):
        vectorize("CartPoole-v1", 1)


def test_custom_vector_environment_is_accepted() -> None:
    class Batch(VectorEnv[Any, Any, Any]):
        num_envs = 5

    made = vectorize(Batch(), 1)
    assert made.env.num_envs == 5
    assert made.recipe is None
