"""The invariants of design.md, section 7: every model family and mode, one text or a batch."""

import itertools

import numpy as np
import pytest

from tiny_envs import Chatting
from tiny_models import V, tiny_lm

EOS = 1
FAMILIES = ["gpt2", "llama", "opt", "qwen3", "bloom", "gemma2", "gpt_neo"]  # the last three on the column cache


def sampled(oracle, lm, seen, rng):
    """A token drawn from the reference, and its log-probability."""
    logps = oracle.distribution(lm, seen[seen >= 0])
    token = int((logps + rng.gumbel(size=V)).argmax())
    return token, logps[token]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kl_penalty", ["token", "deferred"])
def test_policy_equal_to_reference_has_no_penalty(text, oracle, rng, family, kl_penalty):
    env, lm = text(family=family, kl_penalty=kl_penalty, kl_coef=1.0, max_new_tokens=16), tiny_lm(family)
    for episode in range(3):
        seen, _ = env.reset(seed=episode)
        over = False
        while not over:
            token, env.unwrapped.policy_logprob = sampled(oracle, lm, seen, rng)
            seen, reward, over, _, info = env.step(token)
            assert reward == pytest.approx(info.get("score", 0.0), abs=1e-5)
        assert info["kl"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_policy_equal_to_reference_has_no_penalty_in_a_batch(text, oracle, rng, family, mode):
    env, lm = text(4, mode, family=family, kl_coef=1.0, reward_model=zero, task=Chatting()), tiny_lm(family)
    seen, _ = env.reset(seed=0)
    for _ in range(25):
        tokens, logprobs = zip(*(sampled(oracle, lm, row, rng) for row in seen), strict=True)
        tokens = np.where(rng.random(4) < 0.2, EOS, tokens)  # more often than the model would
        logprobs = [oracle.logprob(lm, row, token) for row, token in zip(seen, tokens, strict=True)]
        env.unwrapped.policy_logprob = np.array(logprobs)
        seen, rewards, _, _, info = env.step(tokens)
        final = info if mode == "NextStep" else info.get("final_info", {})
        paid = np.array(info.get("feedback", np.zeros(4)), float)
        if final is not info:
            paid = paid + final.get("feedback", 0.0)
        np.testing.assert_allclose(rewards, paid, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_penalties_equal_full_forwards_for_every_family(text, oracle, write, rng, family):
    env = text(family=family, kl_coef=1.0, max_new_tokens=18)
    for episode in range(3):
        one = write(env, rng, seed=episode, eos=0.05)
        expected = -one.kl(oracle, tiny_lm(family))
        expected[-1] += one.infos[-1]["score"]
        np.testing.assert_allclose(one.rewards, expected, atol=1e-5)


KINDS = {
    "plain": {},
    "penalty": {"missing_eos_penalty": 0.5, "max_new_tokens": 4},
    "cut": {"on_length": "truncate", "max_new_tokens": 4},
    "masks": {"min_new_tokens": 2, "allowed_tokens": range(2, V, 3)},
    "dialogue": {"task": Chatting()},
    "narrow dialogue": {"task": Chatting(), "context": 18, "turns": 8},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kl_penalty", ["token", "deferred", "none"])
def test_rewards_sum_to_score_minus_beta_times_kl(text, write, rng, kind, kl_penalty):
    env, reasons = text(kl_penalty=kl_penalty, kl_coef=0.37, **KINDS[kind]), set()
    for episode in range(8):
        one = write(env, rng, seed=episode, forbid=0.1)
        last = one.infos[-1]
        penalty = 0.37 * last["kl"] if kl_penalty != "none" else 0.0
        assert sum(one.rewards) == pytest.approx(last.get("score", 0.0) - penalty, abs=1e-5)
        reasons.add(last["finish_reason"])
    assert reasons & {"length", "context", "eos"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kl_penalty", ["token", "deferred", "none"])
def test_rewards_sum_to_score_minus_beta_times_kl_in_a_batch(text, rng, kind, kl_penalty):
    env = text(5, kl_penalty=kl_penalty, kl_coef=0.37, **KINDS[kind])
    env.reset(seed=0)
    sums, texts = np.zeros(5), 0
    for _ in range(25):
        env.unwrapped.policy_logprob = -rng.exponential(size=5)
        actions = np.where(rng.random(5) < 0.15, EOS, rng.integers(2, V, 5))
        _, rewards, terminated, truncated, info = env.step(actions)
        sums += rewards
        for row in np.flatnonzero(terminated | truncated):
            final = info["final_info"]
            penalty = 0.37 * final["kl"][row] if kl_penalty != "none" else 0.0
            score = final["score"][row] if "score" in final and final["_score"][row] else 0.0
            assert sums[row] == pytest.approx(score - penalty, abs=1e-5)
            sums[row], texts = 0, texts + 1
    assert texts > 5


@pytest.mark.parametrize(
    ("family", "kind"), [("gpt2", "plain"), *zip(itertools.cycle(["bloom", "mistral"]), KINDS, strict=False)]
)
def test_single_environment_and_batch_write_identical_texts(text, same, rng, family, kind):
    batch = text(3, "NextStep", family=family, **KINDS[kind])
    singles = [text(family=family, **KINDS[kind]) for _ in range(3)]
    seen, info = batch.reset(seed=5)
    alone = [single.reset(seed=5 + i) for i, single in enumerate(singles)]
    over = np.zeros(3, bool)
    for _ in range(30):
        actions = np.where(rng.random(3) < 0.15, EOS, rng.integers(2, V, 3))
        logprobs = -rng.exponential(size=3)
        batch.unwrapped.policy_logprob = logprobs
        seen, rewards, terminated, truncated, info = batch.step(actions)
        for i, single in enumerate(singles):
            if over[i]:
                alone = (*single.reset(), 0.0, False, False)
                alone = (alone[0], alone[2], alone[3], alone[4], alone[1])
            else:
                single.unwrapped.policy_logprob = logprobs[i]
                alone = single.step(actions[i])
            np.testing.assert_array_equal(seen[i], alone[0])
            assert rewards[i] == pytest.approx(alone[1], abs=1e-5)
            assert (terminated[i], truncated[i]) == alone[2:4]
            reported = {key: value[i] for key, value in info.items() if key[0] != "_" and info[f"_{key}"][i]}
            same({key: plainly(value) for key, value in reported.items()}, alone[4])
        over = terminated | truncated


def plainly(value):
    return value.item() if isinstance(value, np.generic) else value


def zero(prompts, responses):
    return np.zeros(len(prompts))
