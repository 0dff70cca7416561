"""Deferred KL penalties: the same sums, token by token, as those that are paid with each step."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from tiny_envs import Chatting, Counting, text_env
from tiny_models import tiny_lm

EOS = 1
MODES = ["SameStep", "NextStep", "Disabled"]


class Learner:
    """Steps a batch as a learner does: the rewards of real steps, with settled penalties added to them."""

    def __init__(self, env, mode, seed=0):
        self.env, self.mode, self.n = env, AutoresetMode(mode), env.num_envs
        self.rng = np.random.default_rng(seed)
        self.over = np.zeros(self.n, bool)
        self.rewards = [[] for _ in range(self.n)]
        self.open = 0  # per slot, the first step of this rollout
        self.info = {}

    def reset(self, seed):
        self.info = self.env.reset(seed=seed)[1]
        self.over[:] = False
        self.settle(first=True)

    def step(self, kl_coef=None):
        env = self.env
        actions = np.where(self.rng.random(self.n) < 0.15, EOS, self.rng.integers(2, 40, self.n))
        logprobs = -self.rng.exponential(size=self.n)
        if kl_coef is not None:
            self.set("kl_coef", kl_coef)
        if isinstance(env, SyncVectorEnv):
            env.set_attr("policy_logprob", logprobs.tolist())
        else:
            env.unwrapped.policy_logprob = logprobs
        _, rewards, terminated, truncated, self.info = env.step(actions)
        for row in np.flatnonzero(~self.over):
            self.rewards[row].append(float(rewards[row]))
        ended = terminated | truncated
        if self.mode is AutoresetMode.NEXT_STEP:
            self.over = ended
        elif self.mode is AutoresetMode.DISABLED and ended.any():
            env.reset(options={"reset_mask": ended.copy()})

    def set(self, name, value):
        if isinstance(self.env, SyncVectorEnv):
            self.env.set_attr(name, [value] * self.n)
        else:
            setattr(self.env.unwrapped, name, value)

    def settle(self, first=False):
        env = self.env
        penalties = env.call("settle") if isinstance(env, SyncVectorEnv) else env.unwrapped.settle()
        for slot, (penalised, rewards) in enumerate(zip(penalties, self.rewards, strict=True)):
            start = 0 if not self.open else self.open[slot]
            if first:
                assert penalised.shape == (0,)
                continue
            assert penalised.dtype == np.float64
            assert penalised.shape in ((0,), (len(rewards) - start,))
            for i, kl_penalty in enumerate(penalised):
                rewards[start + i] += kl_penalty
        self.open = [len(rewards) for rewards in self.rewards]


def collected(env, mode, kl_coefs=None):
    """All rewards of three rollouts; a seeded reset after the second one cuts its texts short."""
    learner = Learner(env, mode)
    learner.reset(3)
    for rollout in range(3):
        for t in range(17):
            learner.step(None if kl_coefs is None else kl_coefs[(17 * rollout + t) % len(kl_coefs)])
        learner.settle()
        if rollout == 1:
            learner.reset(90)
    env.close()
    return learner.rewards


CASES = {
    "plain": {},
    "masks": {"min_new_tokens": 3, "allowed_tokens": range(1, 30)},  # often violated by the actions
    "dialogue": {"task": Chatting(), "max_new_tokens": 10},
    "dialogue with masks": {"task": Chatting(), "min_new_tokens": 2, "allowed_tokens": range(2, 40, 2)},
    "cut": {"on_length": "truncate", "max_new_tokens": 5},
    "context": {"task": Chatting(), "context": 18, "turns": 9},
    "columns": {"family": "bloom"},
}


@pytest.mark.parametrize(
    ("case", "mode"), [*((case, "SameStep") for case in CASES), ("dialogue", "NextStep"), ("masks", "Disabled")]
)
def test_deferred_rewards_equal_token_rewards(text, mode, case):
    at_once, later = (
        collected(text(3, mode, kl_penalty=kl_penalty, **CASES[case]), mode) for kl_penalty in ("token", "deferred")
    )
    for slot, expected in zip(later, at_once, strict=True):
        np.testing.assert_allclose(slot, expected, atol=1e-5)
    assert sum(map(len, at_once)) > 90


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_each_step_pays_by_its_own_kl_coef(text, mode):
    betas = [0.0, 0.3, 1.5, 0.05, 0.7]
    at_once, later = (
        collected(text(3, mode, kl_penalty=kl_penalty), mode, betas) for kl_penalty in ("token", "deferred")
    )
    for slot, expected in zip(later, at_once, strict=True):
        np.testing.assert_allclose(slot, expected, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [None, 4])
def test_single_environments_settle_equally(text, mode, limit):
    """Also under gym.make's TimeLimit, a wrapper of which the environment does not know."""

    def made(kl_penalty):
        extra = {} if limit is None else {"max_episode_steps": limit}
        make = lambda: gym.make("TextRLHF-v0", **text_env(kl_penalty=kl_penalty), **extra)  # noqa: E731
        return SyncVectorEnv([make] * 3, autoreset_mode=AutoresetMode(mode))

    native = {} if limit is None else {"max_episode_steps": limit}
    at_once, later = collected(made("token"), mode), collected(made("deferred"), mode)
    batch = collected(text(3, mode, kl_penalty="deferred", **native), mode)
    for slot, other, expected in zip(later, batch, at_once, strict=True):
        np.testing.assert_allclose(slot, expected, atol=1e-5)
        np.testing.assert_allclose(other, expected, atol=1e-5)


def penalties(env):
    """What `settle` returns, less the scores."""
    settled = env.unwrapped.settle()
    for step, info in env.unwrapped.settled_info().items():
        settled[step] -= info["score"]
    return settled.tolist()


@pytest.mark.parametrize("every", [1, 3, 7])
def test_settling_within_a_text(text, oracle, every):
    env, lm = text(kl_penalty="deferred", kl_coef=0.4, max_new_tokens=16, context=22), tiny_lm()
    rng = np.random.default_rng(every)
    seen, _ = env.reset(seed=0)
    assert len(env.unwrapped.settle()) == 0
    due, paid = [], []
    for t in range(60):
        action = EOS if rng.random() < 0.1 else int(rng.integers(2, 40))
        logprob = -float(rng.exponential())
        due.append(-0.4 * (logprob - oracle.logprob(lm, seen, action)))
        env.unwrapped.policy_logprob = logprob
        seen, reward, over, _, info = env.step(action)
        assert reward == 0.0  # score and penalty are pending
        if over:
            assert not {"ref_logprob", "score", "gold", "kl"} & set(info)
            seen, _ = env.reset()
        if t % every == every - 1:
            paid += penalties(env)
            assert len(env.unwrapped.settle()) == 0
    paid += penalties(env)
    np.testing.assert_allclose(paid, due, atol=1e-5)


@pytest.mark.parametrize("num_envs", [None, 2])
@pytest.mark.parametrize("case", CASES)
def test_without_settle_the_last_reward_has_all_penalties(text, write, rng, oracle, num_envs, case):
    kwargs = CASES[case]
    lm = tiny_lm(kwargs.get("family", "gpt2"))
    if num_envs is None:
        env = text(kl_penalty="deferred", kl_coef=0.4, **kwargs)
        for episode in range(6):
            one = write(env, rng, seed=episode, forbid=0.2)
            kl, last = one.kl(oracle, lm), one.infos[-1]
            feedback = [info.get("feedback", 0.0) for info in one.infos]
            np.testing.assert_allclose(one.rewards[:-1], feedback[:-1])
            assert last["kl"] == pytest.approx(kl.sum(), abs=1e-5)
            assert sum(one.rewards) == pytest.approx(last.get("score", 0.0) - 0.4 * kl.sum(), abs=1e-5)
        return
    env, sums = text(2, kl_penalty="deferred", kl_coef=0.4, **kwargs), np.zeros(2)
    env.reset(seed=0)
    for _ in range(60):
        _, rewards, terminated, truncated, info = env.step(np.where(rng.random(2) < 0.2, EOS, rng.integers(2, 40, 2)))
        sums += rewards
        for row in np.flatnonzero(terminated | truncated):
            last = {key: value[row] for key, value in info["final_info"].items()}
            assert sums[row] == pytest.approx(last.get("score", 0.0) - 0.4 * last["kl"], abs=1e-5)
            sums[row] = 0


def test_seeding_all_slots_drops_pending_penalties(text):
    env = text(2, kl_penalty="deferred", kl_coef=1.0)
    env.reset(seed=0)
    env.unwrapped.settle()
    env.step(np.array([5, 5]))
    env.reset(seed=1)  # nothing is pending, and no settle() is expected
    _, rewards, *_, info = env.step(np.array([EOS, EOS]))
    np.testing.assert_allclose(rewards, info["final_info"]["score"] - info["final_info"]["kl"], atol=1e-6)
    assert [len(slot) for slot in env.unwrapped.settle()] == [0, 0]


def test_settling_continues_over_resets(text):
    env = text(kl_penalty="deferred", kl_coef=1.0)
    env.reset(seed=0)
    env.unwrapped.settle()
    for _ in range(3):
        assert env.step(EOS)[1] == 0.0
        env.reset()
    assert len(env.unwrapped.settle()) == 3
    assert sorted(env.unwrapped.settled_info()) == [0, 1, 2]


@pytest.mark.parametrize("kl_penalty", ["token", "none"])
def test_settle_is_empty_unless_deferred(text, kl_penalty):
    env, batch = text(kl_penalty=kl_penalty), text(2, kl_penalty=kl_penalty)
    env.reset(seed=0)
    batch.reset(seed=0)
    env.step(5)
    batch.step(np.array([5, 5]))
    pending = env.unwrapped.settle()
    assert isinstance(pending, np.ndarray)
    assert pending.shape == (0,)
    pending = batch.unwrapped.settle()
    assert isinstance(pending, list)
    assert [slot.shape for slot in pending] == [(0,), (0,)]


def test_settle_returns_an_array_or_a_list(text):
    env, batch = text(kl_penalty="deferred"), text(3, kl_penalty="deferred")
    env.reset(seed=0)
    batch.reset(seed=0)
    for _ in range(2):
        env.step(5)
        batch.step(np.array([5, 5, 5]))
    assert isinstance(env.unwrapped.settle(), np.ndarray)
    pending = batch.unwrapped.settle()
    assert isinstance(pending, list)
    assert [slot.shape for slot in pending] == [(2,)] * 3


def test_a_replaced_text_is_settled_as_it_was(text):
    """The slot's next text may be longer, shorter, or have the same length."""
    env, token = (text(kl_penalty=kl_penalty, kl_coef=1.0) for kl_penalty in ("deferred", "token"))
    for one in (env, token):
        one.reset(seed=0)
    env.unwrapped.settle()
    paid = []
    for action in (5, 6, EOS, 7, EOS, EOS, 8, 9):
        paid.append(token.step(action)[1])
        env.step(action)
        if action == EOS:
            token.reset()
            env.reset()
    np.testing.assert_allclose(env.unwrapped.settle(), paid, atol=1e-5)


def test_without_a_penalty_the_reference_is_not_used(text, write, rng, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the reference was used")

    env, batch = text(kl_penalty="none", min_new_tokens=2), text(2, kl_penalty="none", task=Chatting())
    monkeypatch.setattr(type(tiny_lm().trunk), "forward", never)
    monkeypatch.setattr(type(tiny_lm().model), "forward", never)
    for episode in range(5):
        one = write(env, rng, seed=episode, forbid=0.2)
        assert one.rewards[:-1] == [0.0] * (len(one.rewards) - 1)
        assert one.rewards[-1] == one.infos[-1]["score"]
        assert not {"kl", "ref_logprob"} & set().union(*one.infos)
    batch.reset(seed=0)
    for _ in range(20):
        batch.unwrapped.policy_logprob = np.array([-1.0, -2.0])
        batch.step(np.array([EOS, 5]))


def test_logprobs_are_checked_in_every_mode(text):
    for kl_penalty in ("deferred", "none"):
        env = text(kl_penalty=kl_penalty)
        env.reset(seed=0)
        env.unwrapped.policy_logprob = np.nan
        with pytest.raises(ValueError, match="policy_logprob"):
            env.step(5)


@pytest.mark.parametrize("kl_penalty", ["token", "deferred"])
def test_settling_takes_one_forward(text, kl_penalty):
    """Settling a rollout takes one forward; the token mode takes one per step."""
    calls = []
    env = text(4, kl_penalty=kl_penalty)
    handle = env.unwrapped.reference_model.trunk.register_forward_hook(lambda *args: calls.append(1))
    try:
        env.reset(seed=0)
        env.unwrapped.settle()
        calls.clear()
        for _ in range(6):
            env.step(np.array([5, 6, 7, 8]))
        env.unwrapped.settle()
    finally:
        handle.remove()
    assert len(calls) in ((6, 7) if kl_penalty == "token" else (1,))  # prompts of one token are read apart


def zero(prompts, responses):
    return np.zeros(len(prompts))


assert Counting.max_new_tokens == 8  # so rollouts of 17 steps end within texts
