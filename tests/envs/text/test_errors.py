"""Errors of wrong input name the argument and the value."""

import json
import logging
import re

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from tokenizers import AddedToken, normalizers

from textrlhf.envs.text import Prompt, TextVectorEnv
from textrlhf.envs.text.data import DataError
from textrlhf.language import CausalLM, LanguageError
from textrlhf.reward_models import Composite, RewardFunctionError
from tiny_envs import Counting, text_env
from tiny_models import V, beginning, tiny_lm, tiny_model, word_tokenizer

EOS = 1

WRONG = {  # by argument: a value, the error, and what it must say
    "unknown name": (
        {"temprature": 1.0},
        TypeError,
        "unknown argument 'temprature': a text environment takes task, model",
    ),
    "kl_penalty": (
        {"kl_penalty": "later"},
        ValueError,
        "penalty is 'later': expected one of 'token', 'deferred', 'none'",
    ),
    "on_length": ({"on_length": "cut"}, ValueError, "on_length is 'cut': expected one of 'score', 'truncate'"),
    "split": ({"split": "test"}, ValueError, "split is 'test': expected one of 'train', 'heldout'"),
    "overflow": ({"prompt_overflow": "cut"}, ValueError, "prompt_overflow is 'cut': expected one of 'error', 'drop'"),
    "no budget": ({"max_new_tokens": 0}, ValueError, "max_new_tokens is 0: expected a whole number of at least 1"),
    "half a budget": ({"max_new_tokens": 2.5}, ValueError, "max_new_tokens is 2.5: expected a whole number"),
    "true budget": ({"max_new_tokens": True}, ValueError, "max_new_tokens is True: expected a whole number"),
    "min": ({"min_new_tokens": -1}, ValueError, "min_new_tokens is -1: expected a whole number of at least 0"),
    "turns": ({"turns": 0}, ValueError, "turns is 0: expected a whole number of at least 1"),
    "beta": ({"kl_coef": float("nan")}, ValueError, "kl_coef is nan: expected a finite number"),
    "negative beta": ({"kl_coef": -1.0}, ValueError, "kl_coef is -1.0: expected a finite number of at least 0"),
    "beta of words": ({"kl_coef": "much"}, ValueError, "kl_coef is 'much': expected a finite number"),
    "penalty": ({"missing_eos_penalty": float("inf")}, ValueError, "missing_eos_penalty is inf: expected a finite"),
    "negative penalty": ({"missing_eos_penalty": -1.0}, ValueError, "missing_eos_penalty is -1.0: expected .* least 0"),
    "wide context": ({"context": 129}, ValueError, "context is 129: .* has 128 positions"),
    "narrow context": ({"context": 8}, ValueError, "max_new_tokens is 8, which leaves no room .* raise context"),
    "task": ({"task": "review"}, ValueError, "task is 'review': expected one of 'reviews', .* or a .*Task"),
    "reward model by name": ({"reward_model": "golden"}, ValueError, "reward_model is 'golden': expected a callable"),
    "no reward model": (
        {"reward_model": 3.0},
        TypeError,
        r"reward_model is 3.0: expected a callable \(prompts, responses\)",
    ),
    "no model": ({"model": "./nowhere/model"}, LanguageError, "no language model at ./nowhere/model: expected a fold"),
    "empty prompts": ({"prompts": []}, DataError, "prompts holds no prompts: expected at least one"),
    "blank prompt": ({"prompts": ["a3", " "]}, DataError, r"prompts\[1\]: the prompt is empty"),
    "no file": ({"prompts": "nowhere.jsonl"}, DataError, "prompts is 'nowhere.jsonl', where there is no file"),
    "no such split": ({"prompts": {"dev": ["a3"]}}, DataError, r"prompts has the splits \['dev'\]: expected 'train'"),
}


@pytest.mark.parametrize("which", WRONG)
def test_arguments(text, which):
    changes, error, message = WRONG[which]
    for num_envs in (None, 2):
        with pytest.raises(error, match=f"(?s){message}"):
            text(num_envs, **changes)


@pytest.mark.parametrize("beta", [-0.1, float("nan"), float("inf"), None, True])
def test_no_way_leads_to_a_negative_beta(text, beta):
    """Guards against a KL penalty that pays for leaving the reference, set later or through a vector environment."""
    several = gym.vector.SyncVectorEnv([lambda: text()])
    ways = [
        lambda: setattr(text().unwrapped, "kl_coef", beta),
        lambda: setattr(text(2), "kl_coef", beta),
        lambda: several.set_attr("kl_coef", [beta]),
    ]
    for way in ways:
        with pytest.raises(ValueError, match=f"kl_coef is {beta}: expected a finite number of at least 0"):
            way()


def test_own_prompts_need_a_model_and_a_reward():
    with pytest.raises(ValueError, match="model is missing"):
        gym.make("TextRLHF-v0", prompts=["a3"])
    with pytest.raises(ValueError, match="reward_model is missing: expected a callable"):
        gym.make("TextRLHF-v0", prompts=["a3"], model=tiny_lm())
    with pytest.raises(ValueError, match="model is missing"):
        gym.make("TextRLHF-v0", prompts=["a3"], reward_model=lambda prompts, responses: [0.0] * len(prompts))


def test_num_envs(text):
    for wrong in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match=r"num_envs is .*: expected a whole number of at least 1"):
            TextVectorEnv(num_envs=wrong, **text_env())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'prompt': 'a3'}", 'line 3: not JSON .*expected one object a line with a "prompt"'),
        ('{"prompt": "a3"', "line 3: not JSON"),
        (
            '{"text": "a3"}',
            r'line 3: expected an object with a "prompt", a string or messages, saw \{\'text\': \'a3\'\}',
        ),
        ("[1, 2]", r"line 3: \[1, 2\] are token ids: expected text"),
        ("[]", r'line 3: expected an object with a "prompt", a string or messages, saw \[\]'),
        ("null", "line 3: expected an object"),
        ('{"prompt": 7}', "line 3: expected an object with a .prompt., a string or messages"),
        ('{"prompt": "  "}', "line 3: the prompt is empty"),
        ('{"prompt": "a3", "reference": 4}', "line 3: the reference is 4, expected a string"),
        ('{"prompt": "a3", "split": "dev"}', r"line 3: the split is 'dev', expected one of \['train', 'heldout'\]"),
    ],
)
def test_a_malformed_line_is_named(text, tmp_path, line, message):
    path = tmp_path / "prompts.jsonl"
    path.write_text(f'{{"prompt": "a4"}}\n\n{line}\n{{"prompt": "a5"}}\n')
    with pytest.raises(DataError, match=f"{re.escape(str(path))}, {message}"):
        text(prompts=path)


def test_a_file_that_is_not_utf8(text, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b'{"prompt": "caf\xe9"}\n')
    with pytest.raises(DataError, match=f"{re.escape(str(path))} is not UTF-8 text"):
        text(prompts=path)


def test_an_empty_file(text, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n\n")
    with pytest.raises(DataError, match=f"{re.escape(str(path))} holds no prompts"):
        text(prompts=path)


def test_a_row_without_a_needed_field(text, tmp_path):
    class Needy(Counting):
        needs = ("reference", "number")

    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a3", "reference": "a4", "number": 1}\n{"prompt": "a3", "number": 1}\n')
    with pytest.raises(DataError, match='line 2: "reference" is missing'):
        text(task=Needy(), prompts=path)
    text(task=Needy(), prompts=path, reward_model=lambda prompts, responses: [0.0] * len(prompts))  # which needs none


def test_a_task_without_prompts(text):
    class Empty(Counting):
        def prompts(self, split):
            return []

    with pytest.raises(DataError, match="the task 'counting' has no prompts in the split 'train'"):
        text(task=Empty())


@pytest.mark.parametrize("overflow", ["error", "drop", "truncate"])
def test_prompts_too_long_for_their_budget(text, caplog, overflow):
    prompts = ["a3 a4", "a5 a6 a7 a8 a9", "a2", "a9 a8 a7 a6"]
    make = lambda: text(prompts=prompts, context=11, max_new_tokens=8, prompt_overflow=overflow)  # noqa: E731
    if overflow == "error":
        message = r"2 of 4 prompts have more than the 3 tokens.*5: 'a5 a6 a7 a8 a9'. Raise context"
        with pytest.raises(ValueError, match=message):
            make()
        return
    with caplog.at_level(logging.WARNING, logger="textrlhf"):
        env = make()
    [record] = caplog.records
    assert "2 of 4 prompts have more than the 3 tokens" in record.getMessage()
    shown = {env.reset(seed=0)[1]["prompt"]} | {env.reset()[1]["prompt"] for _ in range(3)}
    if overflow == "drop":
        assert "dropped" in record.getMessage()
        assert shown == {"a3 a4", "a2"}
        return
    assert "truncated on the left" in record.getMessage()
    assert shown == {"a3 a4", "a7 a8 a9", "a2", "a8 a7 a6"}  # as the reward model sees them


def test_truncated_prompts_keep_their_beginning_and_their_template(text):
    """Guards against a text without its first token, and a reward model that is asked about a bare prompt."""
    tokenizer = beginning()
    tokenizer.add_tokens([AddedToken("<turn>", special=True)], special_tokens=True)
    lm = CausalLM(tiny_model("gpt2", vocab_size=V + 2), tokenizer)
    env = text(
        model=lm, prompts=["<s>a3 a4 <turn> a5"], context=11, max_new_tokens=8, prompt_overflow="truncate"
    ).unwrapped
    assert env.engine.prompts.tokens[0].tolist() == [V, V + 1, 5]
    assert "<turn>" in env.prompts[0].text
    assert lm.encode(env.prompts[0].text).tolist() == [V, V + 1, 5]


def test_prompts_that_are_all_too_long(text):
    with pytest.raises(ValueError, match="dropping them leaves none: raise context or lower max_new_tokens"):
        text(prompts=["a3 a4 a5 a6"], context=11, max_new_tokens=8, prompt_overflow="drop")


def test_unknown_words_are_logged(text, caplog):
    with caplog.at_level(logging.WARNING, logger="textrlhf"):
        text(prompts=["a3 a4", "hello a4"])
    assert "1 of 2 prompts have words unknown to" in caplog.text
    assert "hello a4" in caplog.text


def test_prompts_that_end_in_a_space_are_logged(caplog):
    """Guards against a model whose words bring their space, and which would have to begin without one."""
    with caplog.at_level(logging.WARNING, logger="textrlhf"):
        gym.make("TextRLHF-v0", prompts=["The film was", "The plot was "], task="reviews")
    assert "1 of 2 prompts end in a space, the first 'The plot was '" in caplog.text


def raises(prompts, responses):
    raise KeyError("lost")


@pytest.mark.parametrize(
    ("reward_model", "message"),
    [
        (raises, r"reward_model raised KeyError: 'lost'; .* with 1 responses, the first ' a5' to the prompt 'a\d+"),
        (lambda prompts, responses: [np.nan], "reward_model returned nan for the response ' a5'"),
        (lambda prompts, responses: [np.inf], "reward_model returned inf for the response ' a5'"),
        (lambda prompts, responses: [1.0, 2.0], r"returned scores of shape \(2,\): expected \(1,\)"),
        (lambda prompts, responses: 1.0, r"returned scores of shape \(\): expected \(1,\)"),
        (lambda prompts, responses: None, r"returned"),
        (lambda prompts, responses: ["good"], "returned .*expected 1 numbers"),
        (Composite({"fine": (lambda p, r: [1.0], 1.0), "broken": (raises, 1.0)}), "broken raised KeyError"),
    ],
)
def test_a_reward_function_that_fails(text, reward_model, message):
    env = text(reward_model=reward_model)
    env.reset(seed=0)
    env.step(5)
    with pytest.raises(RewardFunctionError, match=message):
        env.step(EOS)


def test_a_task_whose_measure_fails(text):
    class Broken(Counting):
        def measure(self, prompts, responses):
            return {"gold": np.full(len(prompts), np.nan)}

    env = text(task=Broken())
    env.reset(seed=0)
    with pytest.raises(RewardFunctionError, match="the measure 'gold' of the task 'counting' returned nan"):
        env.step(EOS)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (V, f"action is {V} in environment 0: expected a token id from 0 to {V - 1}"),
        (-1, "action is -1"),
        (1.0, "action has the dtype float64: expected integers"),
        (True, "action has the dtype bool"),
        (None, "action has the dtype object"),
        ("a5", "action has the dtype"),
        ([5, 6], r"action has the shape \(2,\): expected \(1,\)"),
        ([], r"action has the shape \(0,\)"),
    ],
)
def test_actions(text, action, message):
    env = text().unwrapped  # else Gymnasium's checker raises first
    before, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)
    after = env.step(5)[0]
    assert (after >= 0).sum() == (before >= 0).sum() + 1  # nothing was written


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.array([5]), r"action has the shape \(1,\): expected \(2,\)"),
        (np.array([[5, 6]]), r"action has the shape \(1, 2\)"),
        (5, r"action has the shape \(\)"),
        (np.array([5.0, 6.0]), "action has the dtype float64"),
        (np.array([5, V]), f"action is {V} in environment 1"),
    ],
)
def test_batches_of_actions(text, actions, message):
    env = text(2)
    before, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(actions)
    after = env.step(np.array([5, 6]))[0]
    np.testing.assert_array_equal((after >= 0).sum(1), (before >= 0).sum(1) + 1)


def test_a_step_outside_an_episode(text):
    env = text().unwrapped
    with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
        env.step(5)
    env.reset(seed=0)
    env.step(EOS)
    with pytest.raises(ResetNeeded, match="after the text's end"):
        env.step(5)
    batch = text(2)
    with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
        batch.step(np.array([5, 5]))


@pytest.mark.parametrize("prompt", [23, -1, "a3", 1.0, [1, 2], True])
def test_a_prompt_number_outside_the_split(text, prompt):
    env = text()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"options\['prompt'\] is .*: expected 1 indices from 0 to 22"):
        env.reset(options={"prompt": prompt})
    batch = text(2)
    with pytest.raises(ValueError, match=r"options\['prompt'\] is .*: expected 2 indices"):
        batch.reset(options={"prompt": [0, 23]})
    with pytest.raises(ValueError, match=r"expected 2 indices"):
        batch.reset(options={"prompt": 3})


def test_a_prompt_without_tokens():
    tokenizer = word_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("a3", "")
    lm = CausalLM(tiny_model("gpt2"), tokenizer)
    with pytest.raises(DataError, match="the prompt 'a3' has no tokens"):
        gym.make("TextRLHF-v0", **text_env(model=lm, prompts=["a3"]))


def test_own_prompts_of_every_type(text, tmp_path):
    path = tmp_path / "prompts.jsonl"
    rows = [{"prompt": "a3 a4", "reference": " a5", "note": 7}, {"prompt": "a6"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    measured = []

    class Curious(Counting):
        def measure(self, prompts, responses):
            measured.extend(prompts)
            return {"gold": np.zeros(len(prompts))}

    for given in (path, str(path), rows, {"train": rows, "heldout": ["a9"]}):
        env = text(task=Curious(), prompts=given)
        env.reset(seed=0, options={"prompt": 0})
        env.step(EOS)
        assert measured[-1] == Prompt("a3 a4", " a5", {"note": 7})
    assert text(prompts={"train": rows, "heldout": ["a9"]}, split="heldout").reset(seed=0)[1]["prompt"] == "a9"
