"""Texts of the reference model, which set the scale of scores."""

from __future__ import annotations

import pytest

from textrlhf.language import CausalLM
from textrlhf.reward_models import RewardModel
from textrlhf.reward_models.training.score_scale import find_reference, sample_texts
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


def test_progress_of_the_texts(reward_model, capsys):
    """Half a thousand texts of a large model took minutes without a word."""
    sample_texts(tiny_lm(), reward_model, ["a3 a4"], 48, 4, seed=0, show=True)
    assert "reference texts" in (said := capsys.readouterr().out)
    assert "48/48" in said
