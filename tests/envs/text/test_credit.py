"""Scores paid at a text's end or by token, at once or settled: the same rewards and infos, and always the score."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from textrlhf.reward_models import Composite, Ensemble, RewardFunctionError
from tiny_envs import Chatting
from word_scores import Words, score

EOS, V, BETA = 1, 40, 0.3
KINDS = {
    "plain": {},
    "penalty": {"missing_eos_penalty": 0.5, "max_new_tokens": 4},
    "cut": {"on_length": "truncate", "max_new_tokens": 5},
    "time limit": {"max_episode_steps": 4},
    "masks": {"min_new_tokens": 3, "allowed_tokens": range(1, 30)},  # often violated by the actions
    "dialogue": {"task": Chatting(), "max_new_tokens": 10},
    "context": {"task": Chatting(), "context": 18, "turns": 9},
}


def played(env, *, settles, steps=36, every=12):
    """By slot, the rewards of its real steps and the infos of its texts by their last step."""
    n, base = env.num_envs, env.unwrapped
    rng, mode = np.random.default_rng(4), base.metadata["autoreset_mode"]
    rewards, infos, first = [[] for _ in range(n)], [{} for _ in range(n)], [0] * n
    observations, over = [env.reset(seed=5)[0]], np.zeros(n, bool)

    def settle():
        for slot, (due, late) in enumerate(zip(base.settle(), base.settled_info(), strict=True)):
            assert len(due) == len(rewards[slot]) - first[slot]
            rewards[slot][first[slot] :] = np.array(rewards[slot][first[slot] :]) + due
            for step, info in late.items():
                if first[slot] + step not in infos[slot]:  # the last step of a text that goes on
                    assert set(info) == {"credit"}
                    continue
                assert not set(info) & set(infos[slot][first[slot] + step])
                infos[slot][first[slot] + step] |= info
            first[slot] = len(rewards[slot])

    if settles:
        base.settle()
    for t in range(steps):
        actions = np.where(rng.random(n) < 0.15, EOS, rng.integers(2, V, n))
        base.policy_logprob = -rng.exponential(size=n)
        seen, paid, terminated, truncated, info = env.step(actions)
        observations.append(seen)
        for slot in np.flatnonzero(~over):
            rewards[slot].append(float(paid[slot]))
        ended = terminated | truncated
        final = info.get("final_info", {}) if mode is AutoresetMode.SAME_STEP else info
        for slot in np.flatnonzero(ended):
            told = {name: final[name][slot] for name in final if name[0] != "_" and final[f"_{name}"][slot]}
            told.pop("ref_logprob", None)
            infos[slot][len(rewards[slot]) - 1] = {
                name: value.item() if isinstance(value, np.generic) else value for name, value in told.items()
            }
        if mode is AutoresetMode.NEXT_STEP:
            over = ended
        if settles and t % every == every - 1:
            settle()
    if settles:
        settle()
    return rewards, infos, observations


@pytest.mark.parametrize(
    ("kl_penalty", "credit"), [("deferred", "end"), ("deferred", "token"), ("token", "token"), ("none", "end")]
)
@pytest.mark.parametrize("kind", KINDS)
def test_settled_scores_equal_those_paid_at_once(text, same, kind, kl_penalty, credit):
    """Every step's reward and every text's info, of texts that lie in one rollout or several."""
    mode = "NextStep" if kind in ("penalty", "dialogue") else "SameStep"
    options = {"kl_coef": BETA, "credit": credit, **KINDS[kind]}
    at_once = text(3, mode, reward_model=Words(), kl_penalty="none" if kl_penalty == "none" else "token", **options)
    settled = text(3, mode, reward_model=Words(), kl_penalty=kl_penalty, **options)
    expected, found = played(at_once, settles=False), played(settled, settles=True)
    for one, other in zip(expected[0], found[0], strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)
    for one, other in zip(expected[1], found[1], strict=True):
        same(other, one)
        assert len(one) > 2
    for one, other in zip(expected[2], found[2], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("kl_penalty", "settles"), [("token", False), ("deferred", False), ("deferred", True)])
@pytest.mark.parametrize("kind", KINDS)
def test_credit_by_token_adds_up_to_the_score(text, kind, kl_penalty, settles):
    """And of a text that is not scored to what its info says; actions and observations are as without it."""
    options = {"kl_coef": BETA, "kl_penalty": kl_penalty, **KINDS[kind]}
    by_token = played(text(3, reward_model=Words(), credit="token", **options), settles=settles)
    at_end = played(text(3, reward_model=Words(), **options), settles=settles)
    early = 0
    for slot, infos in enumerate(by_token[1]):
        begin = 0
        for last, info in infos.items():
            rewards, others = (np.array(rewards[slot][begin : last + 1]) for rewards in (by_token[0], at_end[0]))
            total = info.get("score", 0.0) + info.get("credit", 0.0) - (BETA * info["kl"] if "kl" in info else 0.0)
            assert rewards.sum() == pytest.approx(total, abs=1e-5)
            assert rewards.sum() - others.sum() == pytest.approx(info.get("credit", 0.0), abs=1e-5)
            reason = info["finish_reason"]
            assert ("credit" in info) == (reason in ("context", "time_limit") or (kind, reason) == ("cut", "length"))
            early += int(np.abs(rewards - others)[:-1].max(initial=0) > 0.01)
            begin = last + 1
    assert early > 3
    for one, other in zip(by_token[2], at_end[2], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("settles", [False, True])
def test_each_step_pays_what_its_token_adds(text, settles):
    """The score of each beginning less that of the one before; at the end the rest of the score."""
    env = text(reward_model=Words(), credit="token", kl_penalty="none", missing_eos_penalty=0.5, max_new_tokens=3)
    for actions, ended in (((8, 30, EOS), True), ((8, 30, 9), False)):
        env.reset(seed=0)
        if settles:
            env.unwrapped.settle()
        rewards = np.array([env.step(action)[1] for action in actions])
        if settles:
            rewards += env.unwrapped.settle()
        words = [" a8", " a8 a30", " a8 a30" if ended else " a8 a30 a9"]
        expected = np.diff([7.0, *map(score, words)])
        expected[-1] = score(words[-1]) - (0.0 if ended else 0.5) - (score(words[-2]) - 7.0)
        np.testing.assert_allclose(rewards, expected)


def test_a_text_is_read_once_when_the_caller_settles(text):
    """One call a rollout with all its texts, and no second one for scores that came with the beginnings."""
    for credit, knows_wholes in (("end", True), ("token", True), ("token", False)):
        reward_model = Words(knows_wholes)
        _, infos, _ = played(text(3, reward_model=reward_model, credit=credit), settles=True, steps=24)
        ends = [last for slot in infos for last in slot]
        by_rollout = [sum(last < 12 for last in ends), sum(last >= 12 for last in ends)]
        assert reward_model.calls == ([] if credit == "token" and knows_wholes else by_rollout)
        assert len(reward_model.asked) == (2 if credit == "token" else 0)


@pytest.mark.parametrize("credit", ["end", "token"])
def test_a_reward_function_that_fails_loses_nothing(text, credit):
    reward_model = Words()
    env = text(2, reward_model=reward_model, credit=credit, kl_penalty="deferred")
    env.reset(seed=0)
    env.unwrapped.settle()
    for actions in ([5, 6], [7, EOS], [EOS, 8]):
        env.step(np.array(actions))
    failing = "__call__" if credit == "end" else "partial_scores"
    broken = type("Broken", (Words,), {failing: lambda self, prompts, responses, ends=None: 1 / 0})()
    env.unwrapped.engine.scorer.reward_function = broken
    with pytest.raises(RewardFunctionError, match=r"ZeroDivisionError.* called with \d responses"):
        env.unwrapped.settle()
    env.unwrapped.engine.scorer.reward_function = reward_model
    due = env.unwrapped.settle()
    assert [len(slot) for slot in due] == [3, 3]
    infos = env.unwrapped.settled_info()
    assert infos[0][2]["score"] == score(" a5 a7")
    assert infos[1][1]["score"] == score(" a6")


def test_scores_that_are_not_finite_are_named(text):
    class Broken(Words):
        def partial_scores(self, prompts, responses, ends):
            return [[np.nan] * len(some) for some in ends], None

    env = text(reward_model=Broken(), credit="token")
    env.reset(seed=0)
    with pytest.raises(RewardFunctionError, match=r"partial_scores returned nan for the response ''"):
        env.step(5)
    Broken.partial_scores = lambda *args: [[0.0]]
    env.reset()
    with pytest.raises(RewardFunctionError, match=r"partial_scores returned \[\[0.0\]\]: expected \(an array for each"):
        env.step(5)


def plain(prompts, responses):
    return np.zeros(len(responses))


@pytest.mark.parametrize("reward_model", [plain, "gold", Composite({"a": (plain, 1.0)}), Ensemble([Words(), plain])])
def test_credit_by_token_needs_scores_of_beginnings(text, reward_model):
    with pytest.raises(ValueError, match=r'credit is "token", and the reward_model .* scores whole texts only'):
        text(reward_model=reward_model, credit="token")


def test_what_only_whole_texts_score_is_paid_at_the_end(text):
    """A part of a composite that scores no beginnings; a constraint is a potential as well."""
    both = Composite({"words": (Words(), 2.0), "gold": ("gold", 3.0)})
    env = text(reward_model=both, credit="token", kl_penalty="none")
    env.reset(seed=0)
    rewards = [env.step(8)[1], env.step(9)[1]]
    *_, reward, _, _, info = env.step(EOS)
    np.testing.assert_allclose(rewards, 2 * np.diff([7.0, score(" a8"), score(" a8 a9")]))
    assert info["score"] == 2 * score(" a8 a9") + 3 * 0.5
    assert sum([*rewards, reward]) == pytest.approx(info["score"])


def test_without_scores_there_is_no_credit(text):
    env = text(reward_model="none", kl_penalty="none", credit="token")
    env.reset(seed=0)
    assert [env.step(action)[1] for action in (5, 6, EOS)] == [0.0, 0.0, 0.0]
