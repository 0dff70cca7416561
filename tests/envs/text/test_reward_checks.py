"""What is checked of a reward model when an environment is made with it."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken

from textrlhf.language import CausalLM
from textrlhf.reward_models import Composite, Ensemble, Ranked, RewardModel, TrainConfig, train
from tiny_models import noisy, tiny_model, word_tokenizer

PROMPTS = ["a3 a4 a5", "a6"]


def reward_model(positions=12, *, tokenizer=None, **options):
    tokenizer = tokenizer or word_tokenizer()
    made = RewardModel.new(
        CausalLM(tiny_model("gpt2", n_positions=positions, vocab_size=len(tokenizer)), tokenizer), "tokens", **options
    )
    noisy(made.network.values)
    return made


def letters():
    """Twice as many tokens for the same words."""
    tokenizer = word_tokenizer()
    tokenizer.add_tokens(["a"])
    return tokenizer


WAYS = {
    "alone": lambda one: one,
    "in an ensemble": lambda one: Ensemble([one, reward_model(64)]),
    "in a composite": lambda one: Composite({"deep": (Composite({"it": (one, 1.0)}), 1.0)}),
}


@pytest.mark.parametrize("way", WAYS)
def test_texts_longer_than_the_reward_model_reads_are_refused_at_once(text, way):
    """Guards against an error in the middle of training, with a remedy for training reward models."""
    options = {"prompts": PROMPTS, "max_new_tokens": 9}
    text(reward_model=WAYS[way](reward_model(12)), **options)
    for wrong in (reward_model(11), reward_model(12, end=True)):
        with pytest.raises(
            ValueError, match=r"has 1\d tokens, 3 of its prompt and max_new_tokens=9.* at most 1[12]: lower"
        ):
            text(reward_model=WAYS[way](wrong), **options)


def test_the_remedy_is_one(text):
    env = text(
        prompts=PROMPTS, reward_model=reward_model(11), max_new_tokens=9, context=11, prompt_overflow="drop"
    ).unwrapped
    assert [prompt.text for prompt in env.prompts] == ["a6"]


def test_prompts_are_read_with_the_reward_models_tokenizer(text):
    one = reward_model(11, tokenizer=letters())
    size = len(one.reader.read(PROMPTS[:1], [""])[0].tokens)
    assert size > 3
    with pytest.raises(ValueError, match=f"{size} of its prompt and max_new_tokens=8"):
        text(prompts=PROMPTS, reward_model=one, max_new_tokens=8)


def test_a_response_read_alone_has_no_prompt(text):
    text(prompts=PROMPTS, reward_model=reward_model(9, reads="response"), max_new_tokens=9)


def test_prompts_without_the_template_of_the_training_are_announced(text, caplog):
    """Guards against a reward model of chat templates that is asked about bare prompts."""
    tokenizer = word_tokenizer()
    tokenizer.add_tokens([AddedToken("<turn>", special=True)], special_tokens=True)
    one, pair = reward_model(64, tokenizer=tokenizer), ("a5", "a7")
    lm = CausalLM(tiny_model("gpt2", vocab_size=len(tokenizer)), tokenizer)
    train(one, [Ranked("<turn>a3 <turn>", pair)] * 4, TrainConfig(epochs=1, batch_size=4), show=False)
    assert one.config.templated == 1
    text(model=lm, reward_model=one, prompts=["<turn>a3 <turn>"])
    assert "chat template" not in caplog.text
    text(model=lm, reward_model=one, prompts=["a3"])
    assert "trained on prompts with the special tokens of a chat template, and these are" in caplog.text


def test_a_scale_that_was_never_measured_is_announced_once(text, caplog):
    """Guards against a kl_coef that means something else for every reward model, without a word."""
    one = reward_model(64)
    for _ in range(2):
        text(reward_model=one, prompts=PROMPTS)
    assert caplog.text.count("was never normalised: its scores are raw log-odds") == 1
    caplog.clear()
    other = reward_model(64)
    other.normalise(["a3", "a3"], [" a4", " a9"])
    text(reward_model=other, prompts=PROMPTS)
    assert "normalised" not in caplog.text


def test_credit_by_a_head_that_reads_whole_texts_is_announced_once(text, caplog):
    """Guards against slower learning without a word; a sum over tokens is what credit by token is for."""
    text(reward_model=reward_model(64), credit="token")
    assert "was trained on whole texts" not in caplog.text
    last = RewardModel.new(CausalLM(tiny_model("gpt2"), word_tokenizer()), "last")
    for _ in range(2):
        text(reward_model=last, credit="token")
    assert caplog.text.count("was trained on whole texts") == 1
