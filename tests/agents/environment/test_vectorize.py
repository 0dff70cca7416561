"""From whatever names an environment to a vector environment, and how it is made again."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import AddRenderObservation, FrameStackObservation, HumanRendering, TransformReward
from gymnasium.wrappers.vector import TransformReward as VectorTransformReward

from textrlhf.agents.environment.vectorize import Vectorized, remake, vectorize

ID = "VectorizeProbe-v0"


class Probe(gym.Env[Any, Any]):
    """Pays `reward` a step, three steps by default."""

    metadata = {"render_modes": ["ansi"]}
    step_bonus = 0.0
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
    return remake(json.loads(json.dumps(made.recipe)), n_envs, trust=True)


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
    assert made.why
    assert made.again is None or paid(made.again(2, {})) == [2.0] * 2


def test_batch_made_by_hand_is_remade_from_its_environments() -> None:
    made = vectorize(SyncVectorEnv([lambda: gym.make(ID, reward=2.0)] * 2), 8)
    assert paid(made) == paid(again(made)) == [2.0] * 2
    assert vectorize(SyncVectorEnv([lambda r=r: gym.make(ID, reward=r) for r in (1.0, 2.0)]), 8).recipe is None


def test_single_environment_is_one_slot() -> None:
    env = gym.make(ID, reward=2.0)
    made = vectorize(env, 1)
    assert made.env.num_envs == 1
    assert made.env.envs[0] is env
    assert not made.owned
    assert paid(made) == [2.0]
    assert paid(again(made)) == [2.0] * 2


def test_given_environment_is_the_first_of_several() -> None:
    env = gym.make(ID, reward=3.0)
    made = vectorize(env, 4)
    assert made.env.envs[0] is env
    assert paid(made) == paid(again(made, 4)) == [3.0] * 4
    assert not made.owned
    assert not env.unwrapped.closed


def test_copies_do_not_render() -> None:
    """Eight windows would open for learning, and ten for an evaluation."""
    shown = gym.make(ID, render_mode="ansi")
    made = vectorize(shown, 2)
    assert [env.unwrapped.render_mode for env in made.env.envs] == ["ansi", None]
    assert made.recipe == vectorize(shown, 1).recipe == {"id": ID, "kwargs": {}}
    assert shown.spec.kwargs["render_mode"] == "ansi"


def double(reward: float) -> float:
    """A function that another process finds by its name."""
    return 2 * reward


def test_wrappers_are_in_the_recipe() -> None:
    """With their arguments: functions of a module by name; lambdas only in this process."""
    stacked = FrameStackObservation(gym.make(ID, reward=2.0), 3)
    assert again(vectorize(stacked, 1)).env.single_observation_space.shape == (3, 2)
    for function, stored in ((double, True), (lambda reward: 2 * reward, False)):
        wrapped = TransformReward(gym.make(ID), function)
        for n_envs in (1, 3):
            made = vectorize(wrapped, n_envs)
            assert paid(made) == [2.0] * n_envs
            assert paid(made.again(2, {})) == [2.0] * 2
            assert (made.recipe is not None) == stored
        if stored:
            assert paid(again(made)) == [2.0] * 2
            with pytest.raises(ValueError, match=r"imports .*double: if you trust that code, pass trust=True"):
                remake(made.recipe, 1)
        else:
            assert "lambda" in made.why
    native = TransformReward(gym.make("CartPole-v1"), double)
    assert paid(vectorize(native, 2)) == [2.0] * 2  # not the native batch, which would leave it out


def test_only_the_given_environment_is_shown() -> None:
    made = vectorize(HumanRendering(gym.make("CartPole-v1", render_mode="rgb_array")), 3)
    assert made.recipe == {"id": "CartPole-v1", "kwargs": {}}
    assert [isinstance(env, HumanRendering) for env in made.env.envs] == [True, False, False]


@pytest.mark.parametrize(
    ("maker", "why"),
    [
        (lambda: Doubled(Probe(reward=0.5)), "it has no spec"),
        (lambda: Doubled(gym.make(ID, reward=0.5)), "its wrapper Doubled lacks gymnasium.utils.RecordConstructorArgs"),
    ],
    ids=["no spec", "a wrapper that cannot be made again"],
)
def test_environment_that_cannot_be_made_again(maker: Any, why: str) -> None:
    """Is used alone; asked for exactly, several are refused; copies of it serve evaluation."""
    env = maker()
    with pytest.raises(ValueError, match=rf"n_envs=8, but no more of .*{why}.*Pass a function that makes one"):
        vectorize(env, 8)
    made = vectorize(env, 8, exactly=False)
    assert made.env.envs == [env]
    assert made.recipe is None
    assert why in made.why
    assert paid(made.again(2, {})) == [1.0] * 2
    assert paid(made) == [1.0]


def test_changed_environment_is_not_swapped_for_a_fresh_one() -> None:
    env = gym.make(ID)
    env.reset(seed=0)
    env.step(0)
    assert vectorize(env, 1).recipe is not None  # an episode that has begun is no change
    env.unwrapped.reward = 7.0
    made = vectorize(env, 1)
    assert made.recipe is None
    assert "reward=7.0" in made.why
    assert paid(made.again(2, {})) == [7.0] * 2
    with pytest.raises(ValueError, match=r"it was changed after it was made \(reward=7.0\)"):
        vectorize(env, 2)


@pytest.mark.parametrize("how", ["a default of the class", "a new attribute", "a method", "a native batch"])
def test_every_kind_of_change_is_noticed(how: str) -> None:
    """Else one slot of several, or an evaluation, is of another task."""
    env = gym.make_vec("CartPole-v1", 2) if how == "a native batch" else gym.make(ID)
    if how == "a native batch":
        env.x_threshold = 0.05
    elif how == "a default of the class":
        env.unwrapped.step_bonus = 5.0
    elif how == "a new attribute":
        env.unwrapped.difficulty = 3
    else:
        env.unwrapped.step = lambda action: (np.zeros(2, np.float32), 9.0, False, False, {})
    made = vectorize(env, 1)
    assert made.recipe is None
    assert "it was changed after it was made" in made.why


def test_wrapper_that_needs_a_render_mode() -> None:
    env = AddRenderObservation(gym.make("CartPole-v1", render_mode="rgb_array"))
    assert again(vectorize(env, 1)).env.single_observation_space == env.observation_space


def make_probe(reward: float = 6.0) -> gym.Env[Any, Any]:
    """A factory that another process finds."""
    return Doubled(Probe(reward))


def test_factories() -> None:
    made = vectorize(make_probe, 2, {"reward": 1.5})
    assert made.owned
    assert paid(made) == paid(again(made)) == [3.0] * 2
    assert made.recipe["factory"].endswith(":make_probe")
    assert paid(vectorize(made.recipe["factory"], 2)) == [12.0] * 2  # by its name, as on the command line
    local = vectorize(lambda: Probe(5.0), 2)
    assert paid(local) == paid(local.again(2, {})) == [5.0] * 2
    assert local.recipe is None
    with pytest.raises(TypeError, match=r"returned 3: accepted is a function that returns a gymnasium.Env"):
        vectorize(lambda: 3, 1)


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


@pytest.mark.parametrize("env_id", [ID, "CartPole-v1"])
def test_removed_limit_is_in_the_recipe(env_id: str) -> None:
    made = vectorize(gym.make(env_id, max_episode_steps=-1), 1)
    assert made.recipe["kwargs"] == {"max_episode_steps": -1}
    for each in (made, again(made)):
        assert each.max_episode_steps is None
        assert "TimeLimit" not in str(each.env.envs[0])


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
    assert made.recipe == {"id": "FromModule-v0", "kwargs": {}, "module": "vectorize_probe_module"}
    assert limit(again(made)) == 4


def test_remake_imports_nothing(module: str) -> None:
    """Loading a checkpoint must not run code that it names."""
    name, _, env_id = module.partition(":")
    for unknown in (module, env_id, f"{name}:{ID}", f"{name}:CartPole-v1"):
        with pytest.raises(ValueError, match=f"environment '{unknown}' is not registered: import the package"):
            remake({"id": unknown, "kwargs": {}}, 1)
    assert name not in sys.modules
    recipe = {"id": env_id, "kwargs": {}, "module": name}
    with pytest.raises(ValueError, match=f"imports {name}: if you trust that code"):
        remake(recipe, 1)
    assert name not in sys.modules
    assert limit(remake(recipe, 1, trust=True)) == 4
    assert name in sys.modules  # the import would have been seen


@pytest.mark.parametrize("wrong", [None, 3, spaces.Discrete(2)], ids=repr)
def test_non_environment_is_refused(wrong: Any) -> None:
    with pytest.raises(
        TypeError, match="accepted are an environment's id, a gymnasium.Env, a gymnasium.vector"
    ) as caught:
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
