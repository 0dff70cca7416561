"""The contract of a text: observations, actions, rewards, ends and infos."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from textrlhf.envs.text import Prompt
from textrlhf.language import CausalLM
from tiny_envs import Counting, plain
from tiny_models import V, tiny_lm, tiny_model, word_tokenizer

EOS, PER_STEP = 1, {"ref_logprob"}
AT_END = {"prompt", "response", "score", "kl", "length", "finish_reason", "eos", "gold", "words", "ref_logprob"}


def test_an_observation_is_right_padded_with_minus_one(text):
    env, lm = text(), tiny_lm()
    seen, info = env.reset(seed=0)
    prompt = lm.encode(info["prompt"])
    expected = np.full(24, -1)
    expected[: len(prompt)] = prompt
    assert env.observation_space == spaces.Box(-1, V - 1, (24,), np.int64)
    for i, action in enumerate([5, 0, 39, 7]):
        assert seen.dtype == np.int64
        assert seen in env.observation_space
        np.testing.assert_array_equal(seen, expected)
        seen = env.step(action)[0]
        expected[len(prompt) + i] = action
    np.testing.assert_array_equal(env.step(EOS)[0][len(prompt) : len(prompt) + 5], [5, 0, 39, 7, EOS])


@pytest.mark.parametrize("num_envs", [None, 2])
def test_observations_belong_to_the_caller(text, num_envs):
    env = text(num_envs)
    step = (lambda: env.step(5)) if num_envs is None else (lambda: env.step(np.array([5, 5])))
    first = env.reset(seed=0)[0]
    kept = first.copy()
    step()
    np.testing.assert_array_equal(first, kept)  # a stored observation does not change
    first[:] = 7
    assert (step()[0] != 7).any()  # and writing into one changes no text


def test_the_action_space_has_the_width_of_the_logits(text, oracle):
    lm = CausalLM(tiny_model("gpt2"), word_tokenizer(30))
    env = text(model=lm, prompts=["a3 a4"])
    assert env.action_space == spaces.Discrete(V)
    assert env.observation_space.high.max() == V - 1
    seen, _ = env.reset(seed=0)
    after, reward, *_ = env.step(35)  # beyond the tokenizer
    assert 35 in after
    assert reward == pytest.approx(0.05 * oracle.logprob(lm, seen, 35), abs=1e-5)
    assert env.step(EOS)[4]["response"] == ""


@pytest.mark.parametrize("announce", [False, True])
def test_rewards_are_penalties_plus_the_final_score(text, oracle, write, rng, announce):
    env = text(kl_coef=0.3)
    for k in range(12):
        one = write(env, rng, announce=announce, seed=k)
        kl, last = one.kl(oracle, tiny_lm()), one.infos[-1]
        expected = -0.3 * kl
        words = plain(last["response"]).split()
        gold = np.mean([int(word[1:]) % 2 == 0 for word in words] or [0])
        expected[-1] += gold
        np.testing.assert_allclose(one.rewards, expected, atol=1e-5)
        assert last["score"] == pytest.approx(gold)
        assert last["kl"] == pytest.approx(kl.sum(), abs=1e-5)
        found = [info["ref_logprob"] for info in one.infos]
        np.testing.assert_allclose(found, np.array(one.logprobs) - kl, atol=1e-5)
        assert last["length"] == len(one.actions)


def test_without_a_logprob_the_policy_counts_as_deterministic(text):
    env = text(kl_coef=2.0)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(5)
    assert reward == pytest.approx(2.0 * info["ref_logprob"])  # KL(δ ‖ π_ref) = −log π_ref
    assert reward < 0


def test_a_logprob_serves_one_step(text):
    env = text(kl_coef=1.0)
    env.reset(seed=0)
    env.unwrapped.policy_logprob = -1.5
    _, reward, _, _, info = env.step(5)
    assert reward == pytest.approx(1.5 + info["ref_logprob"])
    assert env.unwrapped.policy_logprob is None
    _, reward, _, _, info = env.step(5)
    assert reward == pytest.approx(info["ref_logprob"])


def test_a_reset_clears_the_logprob(text):
    for env, action in ((text(), 5), (text(2), np.array([5, 5]))):
        env.reset(seed=0)
        env.unwrapped.policy_logprob = -1.5 if np.ndim(action) == 0 else np.array([-1.5, -1.5])
        env.reset()
        _, reward, _, _, info = env.step(action)
        np.testing.assert_allclose(reward, 0.05 * info["ref_logprob"], rtol=1e-6)


def test_a_batch_takes_one_logprob_per_row(text):
    env = text(3, kl_coef=1.0)
    env.reset(seed=0)
    announced = np.array([-0.5, -1.0, -2.5])
    env.unwrapped.policy_logprob = announced
    _, rewards, _, _, info = env.step(np.array([5, 6, 7]))
    np.testing.assert_allclose(rewards, info["ref_logprob"] - announced)
    np.testing.assert_array_equal(announced, [-0.5, -1.0, -2.5])
    _, rewards, _, _, info = env.step(np.array([5, 6, 7]))
    np.testing.assert_allclose(rewards, info["ref_logprob"])


@pytest.mark.parametrize(
    "given",
    [
        -1.5,
        np.float32(-1.5),
        np.array([-1.5]),
        torch.tensor(-1.5),
        torch.tensor([-1.5], requires_grad=True),
        torch.tensor(-1.5, dtype=torch.bfloat16),
    ],
    ids=["float", "float32", "array", "tensor", "with gradient", "bfloat16"],
)
def test_logprobs_of_many_types(text, given):
    env = text(kl_coef=1.0)
    env.reset(seed=0)
    env.unwrapped.policy_logprob = given
    _, reward, _, _, info = env.step(5)
    assert reward == pytest.approx(1.5 + info["ref_logprob"])
    batch = text(1, kl_coef=1.0)
    batch.reset(seed=0)
    batch.unwrapped.policy_logprob = given.reshape(1) if hasattr(given, "reshape") else [given]
    assert batch.step(np.array([5]))[1][0] == pytest.approx(reward)


@pytest.mark.parametrize("given", [np.nan, 0.1, np.inf, -np.inf])
def test_an_invalid_logprob_is_refused(text, given):
    env, batch = text(), text(2)
    seen, _ = env.reset(seed=0)
    env.unwrapped.policy_logprob = given
    with pytest.raises(ValueError, match=r"policy_logprob is .* expected a finite log-probability"):
        env.step(5)
    after = env.step(5)[0]
    assert (after >= 0).sum() == (seen >= 0).sum() + 1  # the refused token was not written
    batch.reset(seed=0)
    batch.unwrapped.policy_logprob = np.array([-1.0, given])
    with pytest.raises(ValueError, match=r"policy_logprob is .* in environment 1"):
        batch.step(np.array([5, 5]))


@pytest.mark.parametrize("given", [np.zeros(3), np.zeros((2, 1)), -1.0], ids=["three", "column", "number"])
def test_logprobs_of_another_shape_are_refused(text, given):
    env = text(2)
    env.reset(seed=0)
    env.unwrapped.policy_logprob = given
    with pytest.raises(ValueError, match=r"policy_logprob has the shape .*expected \(2,\)"):
        env.step(np.array([5, 5]))


def test_a_logprob_slightly_above_zero_passes(text):
    env = text()
    env.reset(seed=0)
    env.unwrapped.policy_logprob = 5e-7
    env.step(5)


def test_restarting_rows_ignore_logprobs(text):
    env = text(2, "NextStep", kl_coef=1.0)
    env.reset(seed=0)
    env.step(np.array([EOS, 5]))
    env.unwrapped.policy_logprob = np.array([np.nan, -1.0])
    _, rewards, _, _, info = env.step(np.array([5, 5]))
    np.testing.assert_allclose(rewards, [0, info["ref_logprob"][1] + 1.0])


@pytest.mark.parametrize("num_envs", [None, 2])
def test_kl_coef_may_change_within_a_text(text, num_envs):
    env = text(num_envs, kl_coef=0.25)
    act = 5 if num_envs is None else np.array([5, 6])
    base = env.unwrapped
    assert type(base.kl_coef) is float
    env.reset(seed=0)
    for beta in (0.25, 0.0, 1.5, np.float32(0.5)):
        base.kl_coef = beta
        assert type(base.kl_coef) is float
        _, reward, _, _, info = env.step(act)
        np.testing.assert_allclose(reward, beta * info["ref_logprob"], rtol=1e-6)
    env.reset()
    assert base.kl_coef == 0.5  # a reset keeps it


def test_eos_terminates(text):
    env = text()
    env.reset(seed=0)
    env.step(4)
    _, _, terminated, truncated, info = env.step(EOS)
    assert (terminated, truncated, info["finish_reason"], info["length"]) == (True, False, "eos", 2)


def test_a_used_up_budget_terminates(text):
    for penalty in (0.0, 0.75):
        env = text(max_new_tokens=3, missing_eos_penalty=penalty, kl_coef=0.0)
        env.reset(seed=0)
        results = [env.step(4) for _ in range(3)]
        assert [result[2] for result in results] == [False, False, True]
        _, reward, _, truncated, info = results[-1]
        assert not truncated
        assert info["finish_reason"] == "length"
        assert reward == info["score"] == pytest.approx(1.0 - penalty)
        assert info["gold"] == 1.0  # gold has no penalty


def test_eos_as_the_last_token_of_the_budget(text):
    for on_length in ("score", "truncate"):
        env = text(max_new_tokens=3, missing_eos_penalty=5.0, on_length=on_length, kl_coef=0.0)
        env.reset(seed=0)
        env.step(4)
        env.step(4)
        _, reward, terminated, truncated, info = env.step(EOS)
        assert (terminated, truncated, info["finish_reason"]) == (True, False, "eos")
        assert reward == pytest.approx(1.0)


def test_a_truncated_text_is_not_scored(text):
    calls = []
    env = text(max_new_tokens=2, on_length="truncate", missing_eos_penalty=5.0, reward_model=spy(calls), kl_coef=1.0)
    env.reset(seed=0)
    env.step(4)
    _, reward, terminated, truncated, info = env.step(4)
    assert (terminated, truncated, info["finish_reason"]) == (False, True, "length")
    assert reward == pytest.approx(info["ref_logprob"])  # the KL penalty alone
    assert not {"score", "gold", "words"} & set(info)
    assert not calls
    assert info["kl"] > 0
    assert info["response"] == " a4 a4"


def test_a_batch_truncates_at_max_episode_steps(text):
    calls = []
    env = text(2, max_episode_steps=3, max_new_tokens=6, reward_model=spy(calls), kl_coef=0.0)
    env.reset(seed=0)
    env.step(np.array([4, 4]))
    env.step(np.array([4, EOS]))
    _, _, terminated, truncated, info = env.step(np.array([4, 4]))
    np.testing.assert_array_equal(truncated, [True, False])
    assert not terminated.any()
    assert info["final_info"]["finish_reason"][0] == "time_limit"
    assert "score" not in info["final_info"]
    assert len(calls) == 1  # the text that ended


def test_info_has_the_documented_keys(text):
    env = text()
    _, info = env.reset(seed=0)
    assert set(info) == {"prompt"}
    assert set(env.step(4)[4]) == PER_STEP
    last = env.step(EOS)[4]
    assert set(last) == AT_END
    assert {key: type(last[key]) for key in ("prompt", "response", "score", "kl", "length", "finish_reason")} == {
        "prompt": str,
        "response": str,
        "score": float,
        "kl": float,
        "length": int,
        "finish_reason": str,
    }


def test_prompt_plus_response_is_the_text(text):
    env = text()
    _, info = env.reset(seed=0)
    for action in (5, 6):
        env.step(action)
    after, *_, last = env.step(EOS)
    assert last["prompt"] == info["prompt"]
    assert last["response"] == " a5 a6"
    assert last["prompt"] + last["response"] == tiny_lm().decode(after[after >= 0])


def test_one_call_scores_all_texts_of_a_step(text):
    calls = []
    env = text(3, reward_model=spy(calls), kl_coef=0.0)
    prompts = env.reset(seed=0)[1]["prompt"]
    env.step(np.array([4, 5, 6]))
    _, rewards, *_ = env.step(np.array([EOS, 7, EOS]))
    assert calls == [([prompts[0], prompts[2]], [" a4", " a6"])]
    np.testing.assert_allclose(rewards, [1.0, 0.0, 2.0])


def test_a_chosen_prompt_does_not_advance_the_order(text):
    env, other, records = text(), text(), Counting().prompts("train")
    order = [other.reset(seed=3)[1]["prompt"]] + [other.reset()[1]["prompt"] for _ in range(5)]
    assert env.reset(seed=3, options={"prompt": 7})[1]["prompt"] == records[7].text
    assert env.reset(options={"prompt": np.int64(22)})[1]["prompt"] == records[22].text
    assert [env.reset()[1]["prompt"] for _ in range(6)] == order
    batch = text(3)
    shown = batch.reset(seed=0, options={"prompt": [4, 4, 9]})[1]["prompt"]
    assert shown.tolist() == [records[i].text for i in (4, 4, 9)]


def test_the_other_split_has_other_prompts(text):
    train, heldout = text(), text(split="heldout")
    shown = {heldout.reset(seed=0)[1]["prompt"]} | {heldout.reset()[1]["prompt"] for _ in range(22)}
    assert shown == {prompt.text for prompt in Counting().prompts("heldout")}
    assert train.reset(seed=0)[1]["prompt"] not in shown


def test_the_budget_and_the_prompt_share_the_context(text):
    env = text(context=13, max_new_tokens=8)  # the longest prompt has 5 tokens: exactly enough
    longest = max(range(23), key=lambda i: len(Counting().prompts("train")[i].text))
    seen, _ = env.reset(seed=0, options={"prompt": longest})
    assert (seen >= 0).sum() == 5
    for _ in range(8):
        seen, _, terminated, _, _ = env.step(4)
    assert terminated
    assert (seen >= 0).all()
    assert seen in env.observation_space


def test_the_default_context_is_the_models(text):
    assert text(context=None).observation_space.shape == (128,)
    assert text(context=None, family="bloom").observation_space.shape == (512,)  # which has no limit


def test_measure_gets_the_facts(text):
    class Facts(Counting):
        def measure(self, prompts: list[Prompt], responses):
            return {"gold": np.array([float(prompt.facts["number"]) for prompt in prompts])}

    env = text(task=Facts(), kl_coef=0.0)
    env.reset(seed=0, options={"prompt": 17})
    assert env.step(EOS)[1] == 17.0


def spy(calls):
    """A reward function that records its calls; 1 for the first text, 2 for the second."""

    def reward_model(prompts, responses):
        calls.append((list(prompts), list(responses)))
        return np.arange(len(prompts)) + 1.0

    return reward_model
