"""Texts of the reference model, which set the scale of scores."""

from __future__ import annotations

import pytest
from transformers import BertConfig

from chat_models import chat_lm, said
from textrlhf.language import CausalLM, Conversation
from textrlhf.reward_models import RewardModel
from textrlhf.reward_models.training.score_scale import check_reference, find_reference, sample_texts
from tiny_models import tiny_lm, tiny_model, word_tokenizer

LONG = " ".join(["a9"] * 120)


@pytest.fixture
def reward_model():
    return RewardModel.new(tiny_lm())


def test_every_prompt_that_fits_is_used_equally_often(reward_model):
    prompts = ["", "a3 a4", "a5", LONG, "a5"]
    texts = sample_texts(tiny_lm(), reward_model, prompts, 48, 16, seed=1)
    assert {prompt: texts[0].count(prompt) for prompt in texts[0]} == {"a3 a4": 24, "a5": 24}
    assert len(set(texts[1])) > 24  # sampled, not the most likely
    assert texts == sample_texts(tiny_lm(), reward_model, prompts, 48, 16, seed=1)
    assert texts != sample_texts(tiny_lm(), reward_model, prompts, 48, 16, seed=2)


def test_no_prompt_with_a_token(reward_model):
    assert sample_texts(tiny_lm(), reward_model, ["", ""], 48, 16, seed=0) is None


def test_no_room_for_new_tokens(reward_model):
    with pytest.raises(ValueError, match="max_new_tokens is 127.*128 positions.*126 fits one of them"):
        sample_texts(tiny_lm(), reward_model, ["a3 a4", "a3 a4 a5"], 48, 127, seed=0)


def test_texts_beyond_the_reward_model_are_left_out(reward_model):
    reward_model.context = 8
    prompts, responses = sample_texts(tiny_lm(), reward_model, ["a3 a4"], 48, 16, seed=0)
    assert 2 <= len(prompts) < 48
    reward_model.raw(prompts, responses)  # none is too long
    reward_model.context = 1
    with pytest.raises(ValueError, match="0 of 48 texts"):
        sample_texts(tiny_lm(), reward_model, ["a3 a4"], 48, 16, seed=0)


def test_which_model_is_the_reference(reward_model, tmp_path):
    lm, other = tiny_lm(), CausalLM(tiny_model("llama"), word_tokenizer())
    assert find_reference(None, lm, reward_model, "cpu") is lm
    assert find_reference(other, lm, reward_model, "cpu") is other
    reward_model.network.causal = False
    assert find_reference(None, lm, reward_model, "cpu") is None
    with pytest.raises(ValueError, match="reference is .*nowhere"):
        find_reference(tmp_path / "nowhere", lm, reward_model, "cpu")


def test_chat_messages_need_a_reference_with_a_template(tmp_path):
    """The error came after the reward model was made, and named neither the reference nor what it is for."""
    chats = ["a3", Conversation(said("Hi"))]
    for writers in ((None, "reviews"), (tiny_lm(), chat_lm()), ("reviews", chat_lm())):
        with pytest.raises(ValueError, match=r"no chat template: name an instruct model as reference \(--ref"):
            check_reference(*writers, chats)
        check_reference(*writers, ["a3"])
    check_reference(None, chat_lm(), chats)
    check_reference(chat_lm(), "reviews", chats)
    BertConfig(architectures=["BertModel"]).save_pretrained(tmp_path)
    check_reference(None, tmp_path, chats)  # it writes nothing
    with pytest.raises(ValueError, match="reviews, which is to write the reference texts"):
        check_reference("reviews", tmp_path, chats)


def test_progress_of_the_texts(reward_model, capsys):
    """Half a thousand texts of a large model took minutes without a word."""
    sample_texts(tiny_lm(), reward_model, ["a3 a4"], 48, 4, seed=0, show=True)
    assert "reference texts" in (said := capsys.readouterr().out)
    assert "48/48" in said
