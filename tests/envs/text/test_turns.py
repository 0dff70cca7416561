"""Dialogues: penalties of the agent's tokens, feedback for its turns, and how they end."""

import numpy as np
import pytest

from textrlhf.envs.text import Prompt, TextEnv, TextVectorEnv
from tiny_envs import Chatting, text_env
from tiny_models import tiny_lm

EOS = 1


class Talkative(Chatting):
    """Always the same reply, so that lengths are known."""

    name = "talkative"

    def reply(self, prompt, turns, rng):
        return " a2 a3"


def spoken(env, *turns, seed=0):
    """Take each of these turns (tokens without the eos) and return the results of all steps."""
    env.reset(seed=seed)
    return [env.step(token) for turn in turns for token in [*turn, EOS]]


def test_eos_ends_a_turn_and_the_last_turn_the_text(text):
    results = spoken(text(task=Talkative()), [5], [6, 7], [8])
    assert [result[2] for result in results] == [False] * 6 + [True]
    last = results[-1][4]
    assert (last["finish_reason"], last["length"]) == ("eos", 7)
    assert last["response"].split() == ["a5", "a2", "a3", "a6", "a7", "a2", "a3", "a8"]


def test_replies_are_observed(text):
    env, lm = text(task=Talkative()), tiny_lm()
    before, _ = env.reset(seed=0)
    env.step(5)
    seen = env.step(EOS)[0]
    expected = [*before[before >= 0], 5, EOS, *lm.encode("a2 a3")]
    np.testing.assert_array_equal(seen[seen >= 0], expected)


@pytest.mark.parametrize("family", ["gpt2", "bloom"])
@pytest.mark.parametrize("kl_penalty", ["token", "deferred"])
def test_only_the_agents_tokens_are_penalised(text, oracle, write, rng, family, kl_penalty):
    env, lm, turns = text(task=Chatting(), family=family, kl_penalty=kl_penalty, kl_coef=0.5), tiny_lm(family), 0
    for episode in range(8):
        one = write(env, rng, seed=episode, eos=0.4)
        kl, last = one.kl(oracle, lm), one.infos[-1]
        feedback = [info.get("feedback", 0.0) for info in one.infos]
        expected = np.array(feedback) - 0.5 * kl
        if kl_penalty == "deferred":
            expected = np.array(feedback)
            expected[-1] -= 0.5 * kl.sum()
        expected[-1] += last.get("gold", 0.0)
        np.testing.assert_allclose(one.rewards, expected, atol=1e-5)
        assert last["length"] == len(one.actions) == len(kl)
        assert last["kl"] == pytest.approx(kl.sum(), abs=1e-5)
        assert last["score"] == pytest.approx(sum(feedback) + last.get("gold", 0.0))
        assert sum(one.rewards) == pytest.approx(last["score"] - 0.5 * last["kl"], abs=1e-5)
        turns += sum("feedback" in info for info in one.infos)
    assert turns > 12


def test_feedback_is_paid_at_the_end_of_its_turn(text):
    results = spoken(text(task=Talkative(), kl_coef=0.0), [5], [6, 7], [])
    assert [result[1] for result in results[:-1]] == pytest.approx([0, 0.1, 0, 0, 0.2])
    assert [result[4].get("feedback") for result in results] == [None, 0.1, None, None, 0.2, 0.0]
    last = results[-1][4]
    assert last["score"] == pytest.approx(0.3 + last["gold"])
    assert results[-1][1] == pytest.approx(last["gold"])


def test_feedback_of_none(text):
    results = spoken(text(task=Talkative(), feedback=lambda prompt, turns: None, kl_coef=0.0), [5], [6], [7])
    assert not any("feedback" in result[4] for result in results)
    assert [result[1] for result in results[:-1]] == [0] * 5


@pytest.mark.parametrize("turns", [1, 2, 5])
def test_turns_may_be_set(text, turns):
    results = spoken(text(task=Talkative(), turns=turns, context=40), *[[5]] * turns)
    assert [result[2] for result in results].index(True) == 2 * turns - 1
    if turns == 1:
        assert "feedback" not in results[-1][4]  # one turn is no dialogue


def test_a_task_may_end_a_dialogue_early(text):
    class Curt(Talkative):
        def is_over(self, prompt, turns):
            return "a9" in turns[-1]

    results = spoken(text(task=Curt()), [5], [9])
    assert results[-1][2]
    assert results[-1][4]["finish_reason"] == "eos"


def test_no_feedback_for_an_unfinished_turn(text):
    env = text(task=Talkative(), max_new_tokens=4, missing_eos_penalty=1.0, kl_coef=0.0)
    env.reset(seed=0)
    results = [env.step(token) for token in (5, EOS, 6, 8)]
    _, reward, terminated, truncated, last = results[-1]
    assert (terminated, truncated, last["finish_reason"]) == (True, False, "length")
    assert "feedback" not in last
    assert reward == pytest.approx(last["gold"] - 1.0)
    assert last["score"] == pytest.approx(0.1 + last["gold"] - 1.0)


def test_feedback_for_a_turn_that_uses_up_the_budget(text):
    env = text(task=Talkative(), max_new_tokens=4, missing_eos_penalty=1.0, kl_coef=0.0)
    env.reset(seed=0)
    results = [env.step(token) for token in (5, EOS, 6, EOS)]
    _, reward, terminated, truncated, last = results[-1]
    assert (terminated, truncated, last["finish_reason"]) == (True, False, "length")
    assert last["feedback"] == 0.1
    assert reward == pytest.approx(0.1 + last["gold"] - 1.0)
    assert last["score"] == pytest.approx(0.2 + last["gold"] - 1.0)


def test_a_truncated_dialogue_keeps_its_feedback(text):
    env = text(task=Talkative(), max_new_tokens=4, on_length="truncate", missing_eos_penalty=1.0, kl_coef=0.0)
    env.reset(seed=0)
    rewards = [env.step(token)[1] for token in (5, EOS, 6)]
    _, reward, terminated, truncated, last = env.step(8)
    assert (terminated, truncated) == (False, True)
    assert "gold" not in last
    assert last["score"] == pytest.approx(0.1) == pytest.approx(sum(rewards) + reward)


@pytest.mark.parametrize("kl_penalty", ["token", "deferred"])
def test_a_reply_that_does_not_fit_truncates(text, kl_penalty):
    env = text(task=Talkative(), context=17, kl_penalty=kl_penalty, kl_coef=0.0, turns=9, max_new_tokens=12)
    prompt, _ = env.reset(seed=0, options={"prompt": 0})
    length, cut = int((prompt >= 0).sum()), False
    while not cut:
        seen, _, terminated, cut, info = env.step(EOS)
        assert not terminated
    turns = (17 - 12 - length) // 2  # replies of two tokens fit beside the rest of the budget
    assert info["length"] == turns + 1
    assert info["finish_reason"] == "context"
    assert "gold" not in info
    assert info["score"] == pytest.approx(0.0)
    assert (seen >= 0).sum() == length + 3 * turns + 1  # the reply itself is not in it
    assert "kl" in info


def test_the_context_never_overflows(text, rng):
    class Endless(Chatting):
        turns = 50

        def reply(self, prompt, turns, rng):
            return " a2" * int(rng.integers(1, 6))

    env = text(4, task=Endless(), context=22, max_new_tokens=10)
    seen, _ = env.reset(seed=0)
    reasons = set()
    for _ in range(150):
        seen, _, _, _, info = env.step(np.where(rng.random(4) < 0.4, EOS, rng.integers(2, 40, 4)))
        assert seen in env.observation_space
        reasons |= set(info.get("final_info", {}).get("finish_reason", [])) - {None}
    assert reasons == {"length", "context"}


@pytest.mark.parametrize("num_envs", [None, 2])
def test_the_feedback_argument(text, num_envs):
    calls = []

    def feedback(prompt, turns):
        calls.append((prompt, turns))
        return 3.0

    env = text(num_envs, task=Talkative(), feedback=feedback, kl_coef=0.0)
    shown = np.atleast_1d(np.asarray(env.reset(seed=0)[1]["prompt"], object))
    for token in (5, EOS, 6, 7):
        env.step(token if num_envs is None else np.array([token, token]))
    reward = env.step(EOS if num_envs is None else np.array([EOS, EOS]))[1]
    np.testing.assert_allclose(reward, 3.0)
    assert all(isinstance(prompt, Prompt) for prompt, _ in calls)
    assert [prompt.text for prompt, _ in calls] == [*shown, *shown]
    assert [turns for _, turns in calls[-1:]] == [(" a5", " a6 a7")]


@pytest.mark.parametrize("base", [TextEnv, TextVectorEnv])
def test_feedback_may_be_overridden(base):
    class Strict(base):
        def get_human_feedback(self, prompt, turns):
            return -float(len(turns))

    batch = {} if base is TextEnv else {"num_envs": 2}
    env = Strict(**batch, **text_env(task=Talkative(), kl_coef=0.0))
    env.reset(seed=0)
    rewards = [env.step(EOS if not batch else np.array([EOS, EOS]))[1] for _ in range(2)]
    np.testing.assert_allclose(rewards[0], -1.0)
    np.testing.assert_allclose(rewards[1], -2.0)


def test_replies_use_the_slots_generator(text):
    def replies(env, others):
        env.reset(seed=4)
        if others:
            np.random.seed(others)  # noqa: NPY002  (no global randomness anywhere)
        return [env.step(EOS)[0] for _ in range(2)]

    one, two = replies(text(task=Chatting()), 1), replies(text(task=Chatting()), 2)
    np.testing.assert_array_equal(one, two)


def test_bad_feedback_is_named(text):
    env = text(task=Talkative(), feedback=lambda prompt, turns: float("nan"))
    env.reset(seed=0)
    env.step(5)
    with pytest.raises(ValueError, match=r"feedback returned nan for ' a5': expected a finite number or None"):
        env.step(EOS)


def test_turns_need_a_dialogue(text):
    with pytest.raises(ValueError, match=r"turns is 2, but the task 'counting' is no dialogue"):
        text(turns=2)
