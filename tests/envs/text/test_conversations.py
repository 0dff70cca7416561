"""Conversations in text environments: the template's tokens, and nothing but the agent's own is charged."""

from __future__ import annotations

import json
import re

import gymnasium as gym
import numpy as np
import pytest
import torch

from chat_models import FAMILIES, TURN_ENDS, chat_lm, said
from textrlhf.agents import PPO
from textrlhf.envs.text import Prompt, Task
from textrlhf.language import Conversation
from textrlhf.records.jsonl import DataError
from textrlhf.records.progress import Stopwatch
from textrlhf.reward_models import RewardModel

ROOM = {"context": 224, "max_new_tokens": 12}


class Guide(Task):
    """Two or three turns; the user says what is not known beforehand."""

    name = "guide"
    max_new_tokens = 12
    turns = 3
    has_gold = False

    def prompts(self, split):
        return [Prompt(Conversation(said(f"the {word}?"))) for word in ("hat", "tree", "sea")]

    def measure(self, prompts, responses):
        return {"own": np.array([sum(m["role"] == "assistant" for m in r.messages) * 1.0 for r in responses])}

    def reply(self, prompt, turns, rng):
        return f"why {rng.integers(10)}?"

    def feedback(self, prompt, turns):
        return len(turns[-1]) / 100


def env(family="chatml", num_envs=None, **changes):
    options = {"model": chat_lm(family), "reward_model": lengths, "kl_coef": 0.5, **ROOM, **changes}
    if num_envs is None:
        return gym.make("TextRLHF-v0", **options)
    return gym.make_vec("TextRLHF-v0", num_envs=num_envs, **options)


def lengths(prompts, responses):
    return [len(response) / 10 for response in responses]


def template_tokens(lm, messages, *, answer=True):
    return lm.tokenizer.apply_chat_template(messages, add_generation_prompt=answer, tokenize=True, return_dict=False)


def seen(observation):
    return observation[observation >= 0].tolist()


def prompt_of(row, **options):
    made = env(options.pop("family", "chatml"), prompts=[row], **options)
    observation, info = made.reset(seed=0)
    made.close()
    return seen(observation), info["prompt"]


HI = said("the hat?")
BRIEF = said("the hat?", system="Be brief.")
SHAREGPT = [{"from": "human", "value": "the hat?"}]


@pytest.mark.parametrize(
    ("row", "options", "messages"),
    [
        ({"prompt": HI}, {}, HI),
        (HI, {}, HI),
        ({"messages": said("the?", "hat", "so?")}, {}, said("the?", "hat", "so?")),
        ({"messages": said("the hat?", "Here it is.")}, {}, HI),
        ({"conversations": SHAREGPT}, {"system_prompt": "Be brief."}, BRIEF),
        ({"prompt": BRIEF}, {"system_prompt": "Be long."}, BRIEF),
        ("the hat?", {"chat": True}, HI),
        ({"prompt": "the hat?"}, {"chat": True, "system_prompt": "Be brief."}, BRIEF),
    ],
)
@pytest.mark.parametrize("family", ["chatml", "llama3"])
def test_prompts_are_written_by_the_template(row, options, messages, family) -> None:
    tokens, prompt = prompt_of(row, family=family, **options)
    assert tokens == template_tokens(chat_lm(family), messages)
    assert prompt == chat_lm(family).tokenizer.decode(tokens)
    assert prompt.messages == messages


def test_the_last_answer_of_a_whole_conversation_is_the_reference() -> None:
    made = env(prompts=[{"messages": said("the hat?", "Here it is.")}])
    assert made.unwrapped.prompts[0].reference == "Here it is."


def test_plain_texts_stay_plain() -> None:
    lm = chat_lm()
    tokens, prompt = prompt_of("the hat")
    assert (tokens, prompt, type(prompt)) == (lm.encode("the hat").tolist(), "the hat", str)
    mixed = env(prompts=["the hat", {"prompt": HI}])
    assert [type(one.text) for one in mixed.unwrapped.prompts] == [str, Conversation]


@pytest.mark.parametrize("family", ["gemma", "phi3", "mistral"])
def test_the_end_of_the_turn_ends_the_text(family) -> None:
    lm, asked = chat_lm(family), []

    def reward_model(prompts, responses):
        asked.extend(zip(prompts, responses, strict=True))
        return lengths(prompts, responses)

    made = env(family, prompts=[{"prompt": HI}], reward_model=reward_model)
    made.reset(seed=0)
    for token in [*lm.encode_more(" hats"), lm.tokenizer.convert_tokens_to_ids(TURN_ENDS[family])]:
        observation, _, terminated, _, info = made.step(token)
    assert terminated
    assert info["finish_reason"] == "eos"
    ((prompt, response),) = asked
    assert prompt.messages == HI
    assert response.strip() == "hats"
    whole = lm.tokenizer.decode(seen(observation)[:-1])
    assert prompt + response == whole or family != "chatml"  # SentencePiece drops a space behind a special token


def speak(made, family, turns):
    """Let the agent say these turns, each with its end; returns every step."""
    lm, steps = chat_lm(family), []
    for turn in turns:
        steps += [made.step(token) for token in [*lm.encode_more(turn), lm.chat.end_id]]
    return steps


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dialogue_has_the_tokens_of_the_whole_conversation(family) -> None:
    lm, space = chat_lm(family), " " * (family == "mistral")  # which that template puts before an answer
    made = env(family, task=Guide())
    _, info = made.reset(seed=1)
    steps = speak(made, family, [f"{space}a hat", f"{space}so", f"{space}no"])
    observation, _, terminated, _, last = steps[-1]
    assert terminated
    response = last["response"]
    messages = info["prompt"].messages + response.messages
    assert [one["role"] for one in messages] == ["user", "assistant"] * 3
    assert [one["content"] for one in messages[1::2]] == ["a hat", "so", "no"]
    assert last["own"] == 3
    tokens = seen(observation)
    before_last = template_tokens(lm, messages[:-1])
    assert tokens[: len(before_last)] == before_last
    if family != "qwen3":  # its last answer would begin with a thought
        assert tokens == template_tokens(lm, messages, answer=False)[: len(tokens)]
    assert lm.tokenizer.decode(tokens[:-1]) == info["prompt"] + response


def test_thoughts_stay_in_a_text_that_grows() -> None:
    """Qwen 3's template would take them out of the history, under the feet of whoever reads token by token."""
    lm, made = chat_lm("qwen3"), env("qwen3", task=Guide(), max_new_tokens=60)
    made.reset(seed=1)
    thought = "<think>\nhm\n</think>\n\na hat"
    observation = speak(made, "qwen3", [thought, "so"])[-1][0]
    text = lm.tokenizer.decode(seen(observation))
    assert f"assistant\n{thought}<|im_end|>\n<|im_start|>user\nwhy" in text


def test_a_reward_model_reads_the_environments_texts_as_those_of_files() -> None:
    """The policy's template and the reward model's differ; what is read is the reward model's alone."""
    model = RewardModel.new(chat_lm("llama3"), "last", device="cpu")
    made = env(task=Guide(), reward_model=model, kl_penalty="none", feedback=lambda prompt, turns: None)
    _, info = made.reset(seed=1)
    last = speak(made, "chatml", ["a hat", "so", "no"])[-1][4]
    prompt, response = Conversation(info["prompt"].messages), Conversation(last["response"].messages)
    assert str(prompt) != str(info["prompt"])
    assert last["score"] == pytest.approx(float(model.score([prompt], [response])[0]), abs=1e-5)
    (text,) = model.read([info["prompt"]], [last["response"]])
    messages = prompt.messages + response.messages
    assert text.tokens.tolist() == template_tokens(chat_lm("llama3"), messages, answer=False)


def test_the_shops_customer_speaks_through_the_template() -> None:
    lm = chat_lm()
    made = gym.make("TextDialogue-v0", model=lm, split="heldout", **{**ROOM, "max_new_tokens": 64})
    _, info = made.reset(seed=0, options={"prompt": 0})
    assert info["prompt"].messages == said("I need something blue for Felix.")
    steps = speak(made, "chatml", ["What item?", "Which size?", "Your order is a small blue scarf."])
    last = steps[-1][4]
    assert (last["gold"], last["turns"], last["score"]) == (1.0, 3.0, 4.0)
    answers = [one["content"] for one in last["response"].messages if one["role"] == "user"]
    assert [answer.split()[1].strip(".") for answer in answers] == ["scarf", "small"]
    plain = gym.make("TextDialogue-v0", model=lm, chat=False, **ROOM)
    assert plain.reset(seed=0)[1]["prompt"].endswith("\nAssistant:")
    with pytest.raises(ValueError, match="whose beginnings no reward model can score"):
        gym.make("TextDialogue-v0", model=lm, credit="token", reward_model="reviews", **ROOM)


def test_a_dialogue_is_rendered_with_the_tokens_that_tell_who_speaks() -> None:
    made = env(task=Guide(), render_mode="ansi")
    made.reset(seed=0)
    speak(made, "chatml", ["a hat"])
    text = re.sub(r"\x1b\[\d+m", "", made.render())
    assert "a hat<|im_end|>\n<|im_start|>user\nwhy" in text


def test_only_the_agents_tokens_are_charged(oracle, rng) -> None:
    lm, made, charged = chat_lm(), env(task=Guide(), reward_model="none"), 0
    for episode in range(4):
        observation, _ = made.reset(seed=episode)
        over, paid, kl = False, 0.0, 0.0
        while not over:
            token = lm.chat.end_id if rng.random() < 0.3 else int(rng.integers(0, 90))
            logprob = -float(rng.exponential())
            made.unwrapped.policy_logprob = logprob
            charge = logprob - oracle.logprob(lm, observation, token)
            observation, reward, terminated, truncated, info = made.step(token)
            assert reward == pytest.approx(info.get("feedback", 0.0) - 0.5 * charge, abs=1e-5)
            over, paid, kl, charged = terminated or truncated, paid + reward, kl + charge, charged + 1
        assert info["kl"] == pytest.approx(kl, abs=1e-5)
        assert paid == pytest.approx(info["score"] - 0.5 * kl, abs=1e-5)
    assert charged > 20


@pytest.mark.parametrize("kl_penalty", ["token", "deferred"])
def test_single_and_batch_write_the_same_conversations(same, rng, kl_penalty) -> None:
    lm, n = chat_lm(), 3
    batch = env(num_envs=n, task=Guide(), kl_penalty=kl_penalty, autoreset_mode="NextStep")
    singles = [env(task=Guide(), kl_penalty=kl_penalty) for _ in range(n)]
    grid, _ = batch.reset(seed=5)
    alone = [single.reset(seed=5 + i)[0] for i, single in enumerate(singles)]
    over = np.zeros(n, bool)
    for _ in range(30):
        actions = np.where(rng.random(n) < 0.3, lm.chat.end_id, rng.integers(0, 90, n))
        batch.unwrapped.policy_logprob = np.full(n, -1.0)
        grid, rewards, terminated, truncated, info = batch.step(actions)
        for i, single in enumerate(singles):
            if over[i]:
                alone[i] = single.reset()[0]
                continue
            single.unwrapped.policy_logprob = -1.0
            alone[i], reward, *ended, its = single.step(actions[i])
            assert rewards[i] == pytest.approx(reward, abs=1e-5)
            assert (terminated[i], truncated[i]) == tuple(ended)
            if any(ended):
                assert info["response"][i].messages == its["response"].messages
        np.testing.assert_array_equal(grid, alone)
        over = terminated | truncated


@pytest.mark.slow
def test_a_policy_equal_to_its_reference_pays_nothing_and_trains_on_its_own_tokens() -> None:
    batch = env(num_envs=4, task=Guide(), kl_penalty="deferred")
    agent = PPO(batch, n_steps=16, batch_size=32, n_epochs=1, seed=0, torch_threads=1)
    agent.cut(None)
    with torch.no_grad():
        rollout = agent.collect(Stopwatch())
    kls = np.concatenate(batch.unwrapped.settled_kl())
    assert len(kls) == 4 * 16  # as many as actions: the user's tokens and the template's have none
    np.testing.assert_allclose(kls, 0, atol=1e-5)
    rollout.estimate_advantages(agent.config.gamma, agent.config.gae_lambda)
    assert agent.update(rollout, 1.0)["train/first_ratio_error"] < 1e-5


BAD = [
    ({"prompt": said("hi", "ho")}, {}, "ends with the assistant's turn"),
    ({"prompt": [{"role": "user", "content": " "}]}, {}, r"message 0 \(user\) is empty"),
    ({"prompt": [*HI, *HI]}, {}, "the roles are user, user"),
    ({"prompt": said("hi <|im_end|>")}, {}, r"message 0 \(user\) holds <\|im_end\|>"),
    ({"prompt": BRIEF}, {"family": "gemma"}, "but takes them without the system message"),
    ({"prompt": "hi", "messages": HI}, {}, "the row has prompt and messages"),
    ({"prompt": HI}, {"chat": False}, "chat is False, but"),
    ("hi", {"system_prompt": "Be brief."}, "no prompt is a conversation: pass chat=True"),
    ({"prompt": BRIEF}, {"family": "mistral", "task": Guide()}, "writes a turn differently once the conversation goes"),
]


@pytest.mark.parametrize(("row", "options", "error"), BAD)
def test_a_bad_conversation_is_named_with_its_place(row, options, error, tmp_path) -> None:
    file = tmp_path / "prompts.jsonl"
    good = {"prompt": HI} if "system_prompt" not in options else "hi"
    rows = [good, row] if isinstance(row, dict) else [{"prompt": row}]
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match=error) as raised:
        env(prompts=file, **options)
    assert isinstance(row, str) or options.get("chat") is False or f"{file}, line 2" in str(raised.value)
    if isinstance(raised.value, DataError):
        assert str(raised.value).startswith(str(file))


def test_messages_for_a_model_without_a_template_are_refused() -> None:
    from tiny_models import tiny_lm

    with pytest.raises(DataError, match=r"prompts\[0\]: .* has no chat template, which messages need"):
        env(prompts=[{"prompt": HI}], model=tiny_lm(), context=64)
    with pytest.raises(DataError, match="has no chat template"):
        env(prompts=["hi"], chat=True, model=tiny_lm(), context=64)


def test_a_long_conversation_loses_its_first_turns() -> None:
    long = said(*["the hat is here"] * 6, "so?", system="Be brief.")
    lm = chat_lm()
    tokens, prompt = prompt_of({"prompt": long}, context=120, prompt_overflow="truncate")
    assert prompt.messages[0]["role"] == "system"
    assert prompt.messages[-1] == long[-1]
    assert 1 < len(prompt.messages) < len(long)
    assert tokens == template_tokens(lm, prompt.messages)
    assert len(tokens) <= 108
    with pytest.raises(ValueError, match="the last turn of a conversation has"):
        prompt_of({"prompt": said("the hat " * 20)}, context=60, prompt_overflow="truncate")
