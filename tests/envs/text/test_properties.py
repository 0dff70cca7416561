"""Invariants under random arguments, actions and resets."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import textrlhf  # noqa: F401
from tiny_envs import Chatting, Counting, text_env
from tiny_models import V, tiny_lm

pytestmark = pytest.mark.slow

EOS, N = 1, 3
QUICK = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # shrinking a failing case takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@st.composite
def arguments(draw):
    budget = draw(st.integers(1, 9))
    task = draw(st.sampled_from([Counting, Chatting]))()
    kwargs = {
        "task": task,
        "family": draw(st.sampled_from(["gpt2", "bloom"])),
        "max_new_tokens": budget,
        "context": budget + 5 + draw(st.integers(0, 12)),
        "kl_penalty": draw(st.sampled_from(["token", "deferred", "none"])),
        "on_length": draw(st.sampled_from(["score", "truncate"])),
        "min_new_tokens": min(draw(st.sampled_from([0, 0, 1, 4])), budget),
        "allowed_tokens": draw(st.sampled_from([None, (3, 4, 5, 6), tuple(range(2, V))])),
        "missing_eos_penalty": draw(st.sampled_from([0.0, 1.5])),
        "kl_coef": draw(st.sampled_from([0.0, 0.05, 1.0])),
        "turns": draw(st.sampled_from([None, 2, 6])) if task.turns > 1 else None,
    }
    return kwargs


token = st.one_of(st.just(EOS), st.integers(0, 8), st.integers(0, V - 1))
move = st.tuples(
    st.lists(token, min_size=N, max_size=N),
    st.one_of(st.none(), st.lists(st.floats(-9, 0), min_size=N, max_size=N)),
    st.sampled_from(["step"] * 12 + ["reset", "seeded reset", "masked reset"]),
    st.lists(st.booleans(), min_size=N, max_size=N).filter(any),
)
moves = st.lists(move, min_size=5, max_size=25)


class Watched:
    """The expected state of one slot's text: lengths, sums, and the part that cannot change."""

    def __init__(self, kwargs, observation):
        self.kwargs = kwargs
        self.prompt = observation[observation >= 0].copy()
        self.seen, self.taken, self.written, self.total, self.forbidden = observation, 0, 0, 0.0, 0
        self.dialogue = (kwargs["turns"] or kwargs["task"].turns) > 1
        assert (observation[len(self.prompt) :] == -1).all()

    def allowed(self, action):
        allowed = self.kwargs["allowed_tokens"]
        if action == EOS:
            return self.taken >= self.kwargs["min_new_tokens"]
        return allowed is None or action in allowed

    def step(self, observation, action, reward, terminated, truncated, info):
        obeyed = self.allowed(action)
        before = self.seen[self.seen >= 0]
        after = observation[observation >= 0]
        expected = [*before, action] if obeyed else before
        assert (observation[len(after) :] == -1).all()
        np.testing.assert_array_equal(after[: len(expected)], expected)
        np.testing.assert_array_equal(after[: len(self.prompt)], self.prompt)
        if not (self.dialogue and obeyed and action == EOS):  # else there may be a reply
            assert len(after) == len(expected)
        self.taken += 1
        self.forbidden += not obeyed
        self.total += reward
        self.seen = observation
        assert not (terminated and truncated)
        assert self.taken <= self.kwargs["max_new_tokens"]
        if not (terminated or truncated):
            assert self.taken < self.kwargs["max_new_tokens"]
            assert self.dialogue or not (obeyed and action == EOS)
            assert "finish_reason" not in info
            return
        reason = info["finish_reason"]
        assert info["length"] == self.taken
        assert info.get("forbidden", 0) == self.forbidden
        cut = reason == "context" or (reason == "length" and self.kwargs["on_length"] == "truncate")
        assert truncated == cut
        assert ("gold" in info) == terminated
        assert (reason == "length") <= (self.taken == self.kwargs["max_new_tokens"])
        if reason == "eos":
            assert action == EOS
        beta = 0.0 if self.kwargs["kl_penalty"] == "none" else self.kwargs["kl_coef"]
        assert self.total == pytest.approx(info.get("score", 0.0) - beta * info.get("kl", 0.0), abs=1e-4)


@QUICK
@given(arguments(), moves)
def test_one_text(kwargs, moves):
    env = gym.make("TextRLHF-v0", **text_env(**kwargs)).unwrapped
    observation, _ = env.reset(seed=0)
    text, over = Watched(kwargs, observation), False
    for actions, logprobs, what, _ in moves:
        if over or "reset" in what:
            observation, info = env.reset(seed=3 if what == "seeded reset" else None)
            assert observation in env.observation_space
            text, over = Watched(kwargs, observation), False
            np.testing.assert_array_equal(text.prompt, tiny_lm().encode(info["prompt"]))
        if logprobs is not None:
            env.policy_logprob = logprobs[0]
        observation, reward, terminated, truncated, info = env.step(actions[0])
        assert observation in env.observation_space
        assert np.isfinite(reward)
        text.step(observation, actions[0], reward, terminated, truncated, info)
        over = terminated or truncated


@QUICK
@given(arguments(), moves, st.sampled_from(list(AutoresetMode)))
@pytest.mark.slow
def test_a_batch_is_its_single_environments(kwargs, moves, mode):
    batch = gym.make_vec("TextRLHF-v0", num_envs=N, autoreset_mode=mode, **text_env(**kwargs))
    singles = [gym.make("TextRLHF-v0", **text_env(**kwargs)).unwrapped for _ in range(N)]
    seen = batch.reset(seed=20)[0]
    texts = []
    for i, single in enumerate(singles):
        np.testing.assert_array_equal(seen[i], single.reset(seed=20 + i)[0])
        texts.append(Watched(kwargs, seen[i]))
    over = np.zeros(N, bool)

    def begin(rows, seen, seed=None):
        for i in rows:
            first, _ = singles[i].reset(seed=None if seed is None else seed + i)
            np.testing.assert_array_equal(seen[i], first)
            texts[i], over[i] = Watched(kwargs, first), False

    for actions, logprobs, what, mask in moves:
        ended = over if mode is AutoresetMode.DISABLED else np.zeros(N, bool)
        if "reset" in what or ended.any():
            asked = ended | np.array(mask) if what == "masked reset" or "reset" not in what else np.ones(N, bool)
            seed = 77 if what == "seeded reset" else None
            kept = asked.copy()
            seen = batch.reset(seed=seed, options=None if asked.all() else {"reset_mask": asked})[0]
            np.testing.assert_array_equal(asked, kept)
            begin(np.flatnonzero(asked).tolist(), seen, seed)
        if logprobs is not None:
            batch.policy_logprob = np.array(logprobs)
        spent = over.copy()
        seen, rewards, terminated, truncated, info = batch.step(np.array(actions))
        assert seen in batch.observation_space
        for i in range(N):
            if spent[i]:
                assert (rewards[i], terminated[i], truncated[i]) == (0, False, False)
                begin([i], seen)
                continue
            if logprobs is not None:
                singles[i].policy_logprob = logprobs[i]
            alone = singles[i].step(actions[i])
            ends = alone[2] or alone[3]
            final = info["final_obs"][i] if ends and mode is AutoresetMode.SAME_STEP else seen[i]
            np.testing.assert_array_equal(final, alone[0])
            assert rewards[i] == pytest.approx(alone[1], abs=1e-5)
            assert (terminated[i], truncated[i]) == alone[2:4]
            texts[i].step(final, actions[i], rewards[i], *alone[2:])
            if ends and mode is AutoresetMode.SAME_STEP:
                begin([i], seen)
            else:
                over[i] = ends
    batch.close()


@QUICK
@given(arguments(), moves, st.lists(st.integers(0, 24), max_size=4))
@pytest.mark.slow
def test_settling_at_random_times(kwargs, moves, stops):
    """The penalties of each step, settled at random times, equal those of the token mode."""
    kwargs = {**kwargs, "kl_coef": 0.5}
    at_once = gym.make_vec("TextRLHF-v0", num_envs=N, **text_env(**{**kwargs, "kl_penalty": "token"}))
    later = gym.make_vec("TextRLHF-v0", num_envs=N, **text_env(**{**kwargs, "kl_penalty": "deferred"}))
    at_once.reset(seed=1)
    later.reset(seed=1)
    later.settle()
    due, paid = [[] for _ in range(N)], [[] for _ in range(N)]
    for t, (actions, logprobs, what, mask) in enumerate(moves):
        if what == "masked reset":  # penalties of texts that are cut short stay pending
            for env in (at_once, later):
                env.reset(options={"reset_mask": np.array(mask)})
        if logprobs is not None:
            at_once.policy_logprob = later.policy_logprob = np.array(logprobs)
        whole, bare = at_once.step(np.array(actions)), later.step(np.array(actions))
        np.testing.assert_array_equal(whole[0], bare[0])
        for slot, kl_penalty in enumerate(whole[1] - bare[1]):
            due[slot].append(kl_penalty)
        if t in stops:
            for slot, penalties in enumerate(later.settle()):
                paid[slot] += penalties.tolist()
    for slot, penalties in enumerate(later.settle()):
        np.testing.assert_allclose(paid[slot] + penalties.tolist(), due[slot], atol=1e-5)
