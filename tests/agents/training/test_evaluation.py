"""Playing without learning: every episode counted once, none counted more often for being short."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from textrlhf.agents import PPO, Evaluate
from textrlhf.agents.environment.vectorize import remake
from textrlhf.agents.training.evaluation import Scores, evaluate

MODES = list(AutoresetMode)


class Counter(gym.Env[Any, Any]):
    """Shows how many steps the episode has; pays 1 for an action equal to that, then the number of the episode / 100.

    Ends after `length` steps, every second time by truncation.
    """

    observation_space, action_space = spaces.Box(0, 1000, (1,)), spaces.Discrete(50)

    def __init__(self, length: int, grow: int = 0) -> None:
        self.length, self.grow, self.episode, self.closed = length - grow, grow, 0, False

    def seen(self) -> np.ndarray:
        return np.array([self.steps], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps, self.length, self.episode = 0, self.length + self.grow, self.episode + 1
        return self.seen(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = float(action == self.steps) + (0.01 * self.episode if self.steps == 0 else 0.0)
        self.steps += 1
        over = self.steps == self.length
        return self.seen(), reward, over and self.episode % 2 == 1, over and self.episode % 2 == 0, {}

    def close(self) -> None:
        self.closed = True


def agent(recipe: Any = None) -> Any:
    """Stands for an agent with a memory: it counts the steps since `starts`, and does not look at anything else."""

    def player(n_envs: int, seed: int, deterministic: bool) -> Callable[..., Any]:
        memory = np.zeros(n_envs, np.int64)

        def play(observation: Any, starts: np.ndarray, masks: Any) -> tuple[Any, Any]:
            assert masks is None
            memory[:] = np.where(starts, 0, memory + 1)
            return memory.copy(), np.zeros(n_envs)

        return play

    env = SimpleNamespace(
        is_text=False,
        split=None,
        vector_env="Counter",
        why_no_recipe="",
        steps=lambda env: False,
        again=(lambda n, changes: remake(recipe, n, changes)) if recipe else None,
    )
    episodes = SimpleNamespace(recent=[])
    return SimpleNamespace(env=env, player=player, threads=contextlib.nullcontext, episodes=episodes)


def batch(*lengths: int, mode: AutoresetMode = AutoresetMode.SAME_STEP, grow: int = 0) -> SyncVectorEnv:
    return SyncVectorEnv([lambda n=n: Counter(n, grow) for n in lengths], autoreset_mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_each_slot_plays_an_equal_share(mode: AutoresetMode) -> None:
    """Taking the first ten to finish would give nine short episodes and one long, and a mean of half the truth."""
    scores = evaluate(agent(), batch(2, 18, mode=mode), 10)
    assert sorted(scores.lengths) == [2] * 5 + [18] * 5
    expected = [length + 0.01 * episode for length in (2, 18) for episode in range(1, 6)]
    assert sorted(scores.returns) == pytest.approx(expected)
    assert scores.mean == pytest.approx(10.03)


def test_remainder_goes_to_the_first_slots() -> None:
    lengths = sorted(evaluate(agent(), batch(2, 3, 5), 8).lengths)
    assert lengths == [2] * 3 + [3] * 3 + [5] * 2
    assert sorted(evaluate(agent(), batch(2, 3, 5), 2).lengths) == [2, 3]  # fewer episodes than slots


def test_autoreset_modes_give_the_same_scores() -> None:
    """Memories are reset at the right step, and reset steps count neither as steps nor as reward."""
    found = [evaluate(agent(), batch(1, 2, 3, 7, mode=mode, grow=1), 20) for mode in MODES]
    first = found[0]
    pairs = sorted(zip(first.lengths, first.returns, strict=True))
    assert [length for length, _ in pairs] == sorted(start + k for start in (1, 2, 3, 7) for k in range(5))
    assert all(value == pytest.approx(length, abs=0.06) for length, value in pairs)  # every step was answered right
    for scores in found[1:]:
        assert sorted(zip(scores.lengths, scores.returns, strict=True)) == pairs


def test_default_environment_is_remade_and_closed() -> None:
    made: list[Counter] = []

    def maker(length: int) -> Counter:
        made.append(Counter(length))
        return made[-1]

    gym.register("EvaluationProbe-v0", maker)
    try:
        scores = evaluate(agent({"id": "EvaluationProbe-v0", "kwargs": {"length": 4}}), n_episodes=6, n_envs=3)
        assert scores.lengths == [4] * 6
        assert [env.closed for env in made] == [True] * 3
        given = batch(4, 4)
        evaluate(agent(), given, 2)
        assert not any(env.closed for env in given.envs)  # the user's is left open
    finally:
        del gym.registry["EvaluationProbe-v0"]


def test_env_is_required_if_it_cannot_be_remade() -> None:
    with pytest.raises(ValueError, match="env is missing"):
        evaluate(agent())


@pytest.mark.parametrize("n_episodes", [0, -3])
def test_n_episodes_must_be_positive(n_episodes: int) -> None:
    with pytest.raises(ValueError, match=f"n_episodes={n_episodes}: accepted is at least 1"):
        evaluate(agent(), batch(2), n_episodes)


def test_environment_is_closed_after_an_error() -> None:
    made: list[Counter] = []

    class Broken(Counter):
        def step(self, action: int) -> Any:
            raise ZeroDivisionError

    def maker() -> Counter:
        made.append(Broken(2))
        return made[-1]

    gym.register("BrokenProbe-v0", maker)
    try:
        with pytest.raises(ZeroDivisionError):
            evaluate(agent({"id": "BrokenProbe-v0", "kwargs": {}}), n_episodes=1)
    finally:
        del gym.registry["BrokenProbe-v0"]
    assert [env.closed for env in made] == [True]


def test_scores_have_mean_std_and_text() -> None:
    scores = Scores([1.0, 3.0, 5.0], [1, 1, 1])
    assert scores.mean == 3.0
    assert scores.std == pytest.approx(np.sqrt(8 / 3))
    assert str(scores) == "3.0 ± 1.633 over 3 episodes (worst 1.0, best 5.0)"


def test_evaluation_in_the_training_environment_does_not_disturb_it() -> None:
    """Training acted on a stale observation after each evaluation: it now plays in more of the same."""
    weights = []
    for own in (False, True):
        env = gym.make("CartPole-v1")
        agent = PPO(env, n_envs=1, n_steps=16, seed=0)
        evaluation = Evaluate(32, n_episodes=2, env=env if own else "CartPole-v1")
        agent.learn(128, callbacks=evaluation, progress=False)
        weights.append(agent.policy.value((np.ones((1, 4), np.float32),), None).item())
    assert weights[0] == weights[1]


def test_episodes_without_an_end_are_cut(caplog: pytest.LogCaptureFixture) -> None:
    class Endless(Counter):
        """Never ends."""

        def __init__(self) -> None:
            super().__init__(10**9)

    with caplog.at_level("WARNING", "textrlhf"):
        scores = evaluate(PPO(Endless, n_envs=2, n_steps=4, seed=0), n_episodes=6, n_envs=2)
    assert scores.lengths == [1000, 1000]
    assert "names no time limit: 2 episodes were cut after 1,000 steps, and 4 of 6 were not played" in caplog.text


def test_text_is_evaluated_on_heldout_prompts_with_sampled_tokens() -> None:
    """`best/` was chosen greedily on training prompts, and then reported by sampled texts on held-out ones."""
    agent = PPO("TextRLHF-v0", n_envs=4, n_steps=4, seed=0)
    found, chosen = evaluate(agent, n_episodes=4), Evaluate(16, n_episodes=4)
    assert (found.split, found.deterministic) == ("heldout", False)
    assert evaluate(agent, n_episodes=4, env_kwargs={"split": "train"}).split == "train"
    metrics: dict[str, float] = {}
    chosen.on_start(agent, None)
    chosen.on_due(agent, metrics)
    assert metrics["evaluation/return"] == found.mean
    assert metrics["evaluation/kl"] == found.means()["kl"]
    greedy = Evaluate(16, n_episodes=4, deterministic=True)
    greedy.on_start(agent, None)
    greedy.load_state_dict({**chosen.state_dict(), "next": 16})
    assert greedy.best is None  # a sampled return is not one to compare with
    greedy.on_due(agent, metrics)
    assert "evaluation/deterministic_return" in metrics


@pytest.mark.parametrize("sampled", [500.0, 20.0])
def test_scores_far_below_those_of_sampled_actions_say_so(sampled: float) -> None:
    """In a maze the most likely actions may walk into a wall for ever, where sampled ones find the exit."""
    agent = PPO("CartPole-v1", n_envs=2, seed=0)
    agent.episodes.recent.extend({"return": sampled, "length": sampled} for _ in range(20))
    greedy, drawn = (str(evaluate(agent, n_episodes=10, deterministic=choice)) for choice in (True, False))
    hint = "; sampled actions scored 500.0 in training: evaluate with deterministic=False (--stochastic)"
    assert (hint in greedy) is (sampled == 500)
    assert "sampled" not in drawn


def test_time_limit_of_an_environment_without_a_spec() -> None:
    env = gym.wrappers.TimeLimit(Counter(10**9), 1200)
    for one in (env, lambda: gym.wrappers.TimeLimit(Counter(10**9), 1200)):
        assert evaluate(PPO(one, n_envs=1, n_steps=4, seed=0), n_episodes=1).lengths == [1200]
