"""Action masks: what they allow, penalties under them, and forbidden tokens."""

import numpy as np
import pytest
from gymnasium.vector.utils import batch_space

from tiny_envs import Chatting
from tiny_models import V, tiny_lm

EOS = 1
EVEN = tuple(range(2, V, 2))


def allowed_by(kwargs, taken):
    """The expected mask."""
    mask = np.ones(V, bool)
    if kwargs.get("allowed_tokens") is not None:
        mask[:] = False
        mask[list(kwargs["allowed_tokens"])] = mask[EOS] = True
    if taken < kwargs.get("min_new_tokens", 0):
        mask[EOS] = False
    return mask


RULES = [{"min_new_tokens": 3}, {"allowed_tokens": EVEN}, {"allowed_tokens": (3, 9), "min_new_tokens": 2}]


@pytest.mark.parametrize("rules", RULES)
def test_masks_in_method_and_info(text, rng, rules):
    env, batch = text(**rules), text(3, **rules)
    for episode in range(4):
        _, info = env.reset(seed=episode)
        for taken in range(8):
            expected = allowed_by(rules, taken)
            assert env.unwrapped.action_masks().dtype == bool
            np.testing.assert_array_equal(env.unwrapped.action_masks(), expected)
            np.testing.assert_array_equal(info["action_mask"], expected)
            assert info["action_mask"].dtype == np.int8  # as Discrete.sample needs
            action = env.action_space.sample(info["action_mask"])
            assert expected[action]
            _, _, terminated, _, info = env.step(action)
            if terminated:
                assert "action_mask" not in info  # the text is over
                break
    _, info = batch.reset(seed=0)
    taken = np.zeros(3, int)
    for _ in range(20):
        expected = np.stack([allowed_by(rules, t) for t in taken])
        np.testing.assert_array_equal(batch.unwrapped.action_masks(), expected)
        np.testing.assert_array_equal(info["action_mask"], expected)
        assert info["action_mask"].dtype == np.int8
        assert info["_action_mask"].all()
        actions = batch_space(batch.single_action_space, 3).sample(tuple(info["action_mask"]))
        _, _, terminated, _, info = batch.step(actions)
        taken = np.where(terminated, 0, taken + 1)


def test_no_masks_without_rules(text):
    for env in (text(), text(2), text(min_new_tokens=0, allowed_tokens=None)):
        _, info = env.reset(seed=0)
        assert "action_mask" not in info
        assert not hasattr(env.unwrapped, "action_masks")
        action = 5 if env.unwrapped.action_space.shape == () else np.array([5, 5])
        assert "action_mask" not in env.step(action)[4]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("family", ["gpt2", "bloom"])
@pytest.mark.parametrize("kl_penalty", ["token", "deferred"])
def test_policy_equal_to_reference_has_no_penalty_under_masks(text, oracle, rng, rules, family, kl_penalty):
    env, lm = text(**rules, family=family, kl_coef=1.0, kl_penalty=kl_penalty, reward_model=zero), tiny_lm(family)
    for episode in range(4):
        seen, info = env.reset(seed=episode)
        over = False
        while not over:
            mask = info["action_mask"].astype(bool)
            logps = oracle.distribution(lm, seen[seen >= 0])
            p = np.where(mask, np.exp(logps), 0)
            action = rng.choice(V, p=p / p.sum())
            env.unwrapped.policy_logprob = np.log(p[action] / p.sum())
            seen, reward, over, _, info = env.step(action)
            assert reward == pytest.approx(0, abs=1e-5)
        assert info["kl"] == pytest.approx(0, abs=1e-5)
        assert info["forbidden"] == 0


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("family", ["gpt2", "bloom"])
def test_penalties_under_masks(text, oracle, write, rng, rules, family):
    env, lm, forbidden = text(**rules, family=family, kl_coef=0.5), tiny_lm(family), 0
    for episode in range(10):
        one = write(env, rng, seed=episode, forbid=0.4, eos=0.1)
        expected = -0.5 * one.kl(oracle, lm)  # by the whole distribution where the mask forbids the token
        last = one.infos[-1]
        expected[-1] += last["score"]
        np.testing.assert_allclose(one.rewards, expected, atol=1e-5)
        broken = [mask[action] == 0 for mask, action in zip(one.masks, one.actions, strict=True)]
        assert last["forbidden"] == sum(broken)
        forbidden += sum(broken)
    assert forbidden > 5


@pytest.mark.parametrize("kl_penalty", ["token", "deferred", "none"])
def test_a_forbidden_token_uses_budget_only(text, kl_penalty):
    env = text(allowed_tokens=EVEN, max_new_tokens=4, kl_penalty=kl_penalty, kl_coef=0.0)
    before, _ = env.reset(seed=0)
    seen, _, terminated, _, info = env.step(3)
    np.testing.assert_array_equal(seen, before)
    assert not terminated
    assert "forbidden" not in info
    seen, *_ = env.step(4)
    assert (seen >= 0).sum() == (before >= 0).sum() + 1
    env.step(5)
    seen, _, terminated, _, info = env.step(7)
    assert terminated
    assert (info["finish_reason"], info["length"], info["forbidden"], info["response"]) == ("length", 4, 3, " a4")
    assert (seen >= 0).sum() == (before >= 0).sum() + 1
    env.reset()
    assert env.step(EOS)[4]["forbidden"] == 0  # counted per text


def test_a_masked_eos_does_not_end_the_text(text):
    env = text(min_new_tokens=2, max_new_tokens=4)
    before, _ = env.reset(seed=0)
    for _ in range(2):
        seen, _, terminated, *_ = env.step(EOS)
        assert not terminated
        np.testing.assert_array_equal(seen, before)
    _, _, terminated, _, info = env.step(EOS)  # two tokens of the budget are used
    assert terminated
    assert (info["finish_reason"], info["length"], info["forbidden"]) == ("eos", 3, 2)


def test_a_forbidden_token_does_not_affect_other_rows(text, oracle):
    env, lm = text(3, allowed_tokens=EVEN, kl_coef=1.0), tiny_lm()
    seen, _ = env.reset(seed=0)
    for actions in ([4, 3, 6], [5, 4, 7], [3, 3, 3], [8, 8, 8]):
        masks = env.unwrapped.action_masks()
        expected = [oracle.logprob(lm, s, a, m) for s, a, m in zip(seen, actions, masks, strict=True)]
        after, rewards, *_ = env.step(np.array(actions))
        np.testing.assert_allclose(rewards, expected, atol=1e-5)
        grown = (after >= 0).sum(1) - (seen >= 0).sum(1)
        np.testing.assert_array_equal(grown, [action % 2 == 0 for action in actions])
        seen = after


def test_penalties_under_masks_in_dialogues(text, oracle, write, rng):
    env, lm = text(task=Chatting(), min_new_tokens=2, allowed_tokens=EVEN, kl_coef=0.5), tiny_lm()
    for episode in range(8):
        one = write(env, rng, seed=episode, forbid=0.3, eos=0.4)
        paid = np.array([info.get("feedback", 0.0) for info in one.infos]) - 0.5 * one.kl(oracle, lm)
        if one.terminated:
            paid[-1] += one.infos[-1]["gold"]
        np.testing.assert_allclose(one.rewards, paid, atol=1e-5)


def test_an_ended_row_has_no_mask(text):
    env = text(2, "Disabled", min_new_tokens=1)
    env.reset(seed=0)
    env.step(np.array([4, 4]))
    info = env.step(np.array([EOS, 4]))[4]
    np.testing.assert_array_equal(info["_action_mask"], [False, True])
    assert not info["action_mask"][0].any()
    assert info["action_mask"][1].all()


@pytest.mark.parametrize("allowed", [np.array(EVEN), list(EVEN), range(2, V, 2), np.array(EVEN, np.int32)])
def test_allowed_tokens_of_any_type(text, allowed):
    env = text(allowed_tokens=allowed)
    env.reset(seed=0)
    np.testing.assert_array_equal(env.unwrapped.action_masks(), allowed_by({"allowed_tokens": EVEN}, 0))


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        ([], "leaves nothing to write"),
        ([EOS], "leaves nothing to write"),
        ([3, V], f"allowed_tokens holds {V}: expected token ids from 0 to {V - 1}"),
        ([-1, 3], "allowed_tokens holds -1"),
        ([3.7], "allowed_tokens has the dtype float64"),
        (np.arange(V) % 2 == 0, "allowed_tokens has the dtype bool.*flatnonzero"),
    ],
)
def test_invalid_allowed_tokens(text, allowed, message):
    with pytest.raises(ValueError, match=message):
        text(allowed_tokens=allowed)


def zero(prompts, responses):
    return np.zeros(len(prompts))
