"""The adapter between agents and environments."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import OrderEnforcing, TimeLimit
from gymnasium.wrappers.vector import RecordEpisodeStatistics

from slot_policy import SlotPolicy
from textrlhf.agents import PPO, evaluate
from textrlhf.agents.environment.adapter import EnvAdapter, EnvError
from textrlhf.agents.environment.vectorize import vectorize
from textrlhf.records.progress import Stopwatch
from token_env import DROPPED, REFERENCE, TokenEnv, TokenVectorEnv, V

MODES = list(AutoresetMode)
N, KL = 3, 0.1


def wrapped_env() -> gym.Env:
    return OrderEnforcing(TimeLimit(TokenEnv(kl_coef=KL), 1000))


def vector_envs(mode: AutoresetMode):
    return {
        "native": TokenVectorEnv(N, mode, kl_coef=KL),
        "native, wrapped": RecordEpisodeStatistics(TokenVectorEnv(N, mode, kl_coef=KL)),
        "sync": SyncVectorEnv([lambda: TokenEnv(kl_coef=KL)] * N, autoreset_mode=mode),
        "sync of wrapped, wrapped": RecordEpisodeStatistics(SyncVectorEnv([wrapped_env] * N, autoreset_mode=mode)),
    }


def penalised(adapter: EnvAdapter, steps: int = 60) -> None:
    """Step with random log-probs; rewards within a text must be −β(log π − log π_ref)."""
    rng = np.random.default_rng(0)
    adapter.reset(0)
    seen = 0
    for _ in range(steps):
        actions, logprobs = rng.integers(DROPPED, V, N), rng.normal(-2, 1, N)
        result = adapter.step(actions, logprobs)
        expected = np.where(result.valid, -KL * (logprobs - REFERENCE[actions]), 0.0)
        np.testing.assert_allclose(result.reward, expected, atol=1e-6)
        seen += int(result.truncated.sum())
    assert seen > N


@pytest.mark.parametrize("mode", MODES)
def test_policy_logprob_reaches_every_kind_of_environment(mode: AutoresetMode) -> None:
    for name, env in vector_envs(mode).items():
        adapter = EnvAdapter(vectorize(env, 1))
        assert adapter.wants_logprobs, name
        assert adapter.settles, name
        assert adapter.reference_model == "the fixed distribution", name
        penalised(adapter)


def test_policy_logprob_reaches_worker_processes() -> None:
    env = AsyncVectorEnv([TokenEnv] * N, context="spawn", autoreset_mode=AutoresetMode.SAME_STEP)
    try:
        penalised(EnvAdapter(vectorize(env, 1)), steps=30)
    finally:
        env.close()


def test_policy_logprob_is_used_for_one_step() -> None:
    adapter = EnvAdapter(vectorize(TokenVectorEnv(N, kl_coef=KL), 1))
    adapter.reset(0)
    actions = np.full(N, DROPPED)
    adapter.step(actions, np.full(N, -1.0))
    unannounced = adapter.vector_env.step(actions)[1]
    np.testing.assert_allclose(unannounced, KL * REFERENCE[DROPPED])  # as with probability 1


def test_control_environments_get_no_policy_logprob() -> None:
    adapter = EnvAdapter(vectorize("CartPole-v1", 2))
    assert not adapter.wants_logprobs
    assert not adapter.settles
    assert adapter.reference_model is None


class SlotPPO(PPO):
    def make_policy(self):
        return SlotPolicy()


def rollouts(env, n: int = 4):
    agent = SlotPPO(env, n_steps=16, gamma=0.9, seed=5, n_epochs=1)
    agent.cut(None)
    for _ in range(n):
        rollout = agent.collect(Stopwatch())
        rollout.estimate_advantages(0.9, 0.95)
        yield rollout


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("native", [True, False])
def test_settled_advantages_equal_token_advantages(mode: AutoresetMode, native: bool) -> None:
    def make(kl_penalty: str):
        if native:
            return TokenVectorEnv(N, mode, kl_penalty=kl_penalty, kl_coef=KL)
        return SyncVectorEnv([lambda: TokenEnv(kl_penalty, KL)] * N, autoreset_mode=mode)

    cuts = 0
    for at_once, settled in zip(rollouts(make("token")), rollouts(make("deferred")), strict=True):
        np.testing.assert_allclose(settled.rewards, at_once.rewards, atol=1e-6)
        np.testing.assert_allclose(settled.advantages, at_once.advantages, atol=1e-5)
        cuts += int(at_once.truncated.sum())
    assert cuts > 0


def test_plain_loop_without_settle_gets_the_right_return() -> None:
    returns = {}
    for kl_penalty in ("token", "deferred"):
        env = TokenEnv(kl_penalty, KL)
        env.reset(seed=0)
        rng, total, done = np.random.default_rng(1), 0.0, False
        while not done:
            _, reward, terminated, truncated, _ = env.step(rng.integers(V))
            total, done = total + reward, terminated or truncated
        returns[kl_penalty] = total
    assert returns["deferred"] == pytest.approx(returns["token"], abs=1e-9)


def test_wrong_number_of_penalties_is_refused() -> None:
    class Miscounts(TokenVectorEnv):
        def settle(self):
            return [np.zeros(7) for _ in super().settle()]

    with pytest.raises(EnvError, match="7 numbers for slot 0: expected 16"):
        list(rollouts(Miscounts(N, kl_penalty="deferred"), 1))


class Counting(gym.Env):
    """Terminates or truncates by a schedule; observes the numbers of episode and step."""

    metadata = {"render_modes": []}

    def __init__(self, ends=((3, "terminated"), (2, "truncated"), (1, "terminated"))) -> None:
        self.observation_space = spaces.Box(-1e6, 1e6, (2,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.ends, self.episode = ends, -1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self._observe(), {}

    def step(self, action):
        self.t += 1
        length, how = self.ends[self.episode % len(self.ends)]
        over = self.t >= length
        return self._observe(), 1.0, over and how == "terminated", over and how == "truncated", {}

    def _observe(self):
        return np.array([self.episode, self.t], np.float32)


@pytest.mark.parametrize("mode", MODES)
def test_autoreset_modes_give_the_same_episodes(mode: AutoresetMode) -> None:
    """Without reset steps all modes have the same episodes, ends and final observations."""
    adapter = EnvAdapter(vectorize(SyncVectorEnv([Counting], autoreset_mode=mode), 1))
    observation, starts = adapter.reset(0), np.array([True])
    history = []
    while len(history) < 12:
        result = adapter.step(np.zeros(1, np.int64))
        if result.valid[0]:
            final = None if result.final is None else result.final[0][0].tolist()
            history.append((observation[0][0].tolist(), bool(starts[0]), bool(result.terminated[0]), final))
        observation, starts = result.observation, result.starts
    assert history[:6] == [
        ([0, 0], True, False, None),
        ([0, 1], False, False, None),
        ([0, 2], False, True, None),
        ([1, 0], True, False, None),
        ([1, 1], False, False, [1, 2]),
        ([2, 0], True, True, None),
    ]


class Broken(Counting):
    """Returns NaN in its fifth step."""

    def __init__(self, where: str) -> None:
        super().__init__(((100, "terminated"),))
        self.where = where

    def step(self, action):
        observation, reward, *rest = super().step(action)
        if self.t == 5:
            if self.where == "reward":
                reward = float("nan")
            else:
                observation[1] = np.nan
        return observation, reward, *rest


@pytest.mark.parametrize("where", ["observation", "reward"])
def test_nan_from_an_environment_raises(where: str) -> None:
    env = SyncVectorEnv([Counting, lambda: Broken(where)], autoreset_mode=AutoresetMode.SAME_STEP)
    agent = PPO(env, n_steps=8, seed=0)
    before = {name: value.clone() for name, value in agent.policy.state_dict().items()}
    with pytest.raises(EnvError, match=f"slot 1, at step 5 of its episode, has .*{where}"):
        agent.learn(100, progress=False)
    assert all((before[name] == value).all() for name, value in agent.policy.state_dict().items())


def test_infinite_observations_raise_before_the_update(tmp_path) -> None:
    """With normalized observations one infinity would make all weights NaN."""

    class Infinite(Counting):
        def _observe(self):
            return super()._observe() if self.t < 5 else np.array([0, np.inf], np.float32)

    agent = PPO(Infinite(((100, "terminated"),)), n_envs=1, n_steps=4, normalize_observation=True, seed=0)
    with pytest.raises(EnvError, match="slot 0, at step 5 of its episode, has a NaN or infinite observation"):
        agent.learn(64, run=tmp_path, progress=False)


def test_nan_final_observation_raises() -> None:
    class BrokenEnd(Counting):
        def _observe(self):
            return super()._observe() if self.t < 2 else np.array([np.nan, 0], np.float32)

    for mode in MODES:
        adapter = EnvAdapter(vectorize(SyncVectorEnv([lambda: BrokenEnd(((2, "truncated"),))], autoreset_mode=mode), 1))
        adapter.reset(0)
        adapter.step(np.zeros(1, np.int64))
        with pytest.raises(EnvError, match="slot 0, at step 2 of its episode, has a NaN or infinite observation"):
            adapter.step(np.zeros(1, np.int64))


def test_same_step_without_final_obs_is_answered() -> None:
    class Forgetful(SyncVectorEnv):
        def step(self, actions):
            *rest, info = super().step(actions)
            return *rest, {name: value for name, value in info.items() if "final" not in name}

    env = Forgetful([lambda: Counting(((3, "truncated"),))], autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(EnvError, match="slot 0, at step 3 of its episode, was truncated, but info has no final_obs"):
        PPO(env, n_steps=8, seed=0).learn(64, progress=False)


def test_evaluation_includes_deferred_penalties() -> None:
    """evaluate does not settle, so deferred penalties must be in the last rewards."""
    agent = SlotPPO(TokenVectorEnv(N), seed=0)
    at_once, deferred = (
        evaluate(agent, TokenVectorEnv(N, kl_penalty=kl_penalty, kl_coef=KL), 30).returns
        for kl_penalty in ("token", "deferred")
    )
    np.testing.assert_allclose(deferred, at_once, atol=1e-6)


class Cursor(Counting):
    """Has a cursor, like the position among the prompts of text environments."""

    def __init__(self) -> None:
        super().__init__()
        self.cursor = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cursor = 1 if seed is not None else self.cursor + 1
        self.episode = self.cursor
        return self._observe(), {}

    def get_state(self):
        return self.cursor

    def set_state(self, state):
        self.cursor = state


def test_environment_state_is_restored_after_reset() -> None:
    adapter = EnvAdapter(vectorize(SyncVectorEnv([Cursor] * 2, autoreset_mode=AutoresetMode.SAME_STEP), 1))
    adapter.reset(0)
    for _ in range(6):
        adapter.step(np.zeros(2, np.int64))
    state = adapter.get_state()
    assert state == [4, 4]
    (observation,) = adapter.reset(1, state)
    assert observation[:, 0].tolist() == [5, 5]  # the next one, not the first again


def test_non_json_state_is_refused() -> None:
    class Binary(Cursor):
        def get_state(self):
            return {"place": np.int64(3)}

    with pytest.raises(EnvError, match="get_state.. must return plain JSON"):
        EnvAdapter(vectorize(Binary(), 1)).get_state()


def test_masks_may_appear_later() -> None:
    """Until the first mask every action is allowed."""

    class Late(Counting):
        def step(self, action):
            *rest, _ = super().step(action)
            return *rest, {"action_mask": [True, False]}

    agent = PPO(SyncVectorEnv([Late] * 2, autoreset_mode=AutoresetMode.SAME_STEP), n_steps=16, seed=0)
    agent.learn(64, progress=False)


def test_mujoco_set_state_is_ignored() -> None:
    class Simulator(Counting):
        def set_state(self, qpos, qvel):
            raise AssertionError("not ours to call")

    adapter = EnvAdapter(vectorize(Simulator(), 1))
    assert adapter.get_state() is None
