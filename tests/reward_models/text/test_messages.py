"""A reward model that is asked about chat messages, or about other texts than it was trained on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from chat_models import chat_lm, said
from textrlhf.language import Conversation
from textrlhf.records.jsonl import DataError
from textrlhf.reward_models import RewardModel
from tiny_models import noisy

ASKED, ANSWER = said("Hi", system="Be brief."), {"role": "assistant", "content": "Hello."}


@pytest.fixture(scope="module")
def reward_model():
    made = RewardModel.new(chat_lm(), "tokens")
    noisy(made.network.values)
    return made


def test_lists_of_messages_are_conversations(reward_model):
    """They were an AttributeError."""
    expected = reward_model([Conversation(ASKED)], ["Hello."])
    sharegpt = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]
    prompts = [ASKED, ASKED, None, said("Hi"), None]
    responses = ["Hello.", [ANSWER], [*ASKED, ANSWER], ANSWER, sharegpt]
    scores = reward_model(prompts, responses)
    np.testing.assert_allclose(scores[:3], expected.repeat(3), rtol=1e-5)
    np.testing.assert_allclose(scores[3], scores[4], rtol=1e-5)
    assert abs(scores[3] - scores[0]) > 1e-3  # the system message is read
    np.testing.assert_allclose(reward_model.partial_scores([ASKED], ["Hello."], [[6]])[1], expected, rtol=1e-4)
    tokens = reward_model.explain(ASKED, "Hello.")
    assert "".join(token for token, _ in tokens).startswith("Hello.")


@pytest.mark.parametrize(
    ("prompt", "response", "message"),
    [
        (3, "a", 'text 1: "prompt" is 3: expected a string'),
        (None, "a", 'text 1: "prompt" is missing'),
        ([{"role": "tool", "content": "3"}], "a", "text 1: \"prompt\": message 0 has the role 'tool'"),
        ([*ASKED, ANSWER], "a", "text 1: .*assistant"),
    ],
)
def test_what_is_neither_is_named(reward_model, prompt, response, message):
    with pytest.raises(DataError, match=message):
        reward_model(["Hi", prompt], ["a", response])


@pytest.mark.parametrize(("trained", "warns"), [(1.0, True), (0.0, False), (0.7, False), (None, False)])
def test_plain_prompts_where_training_was_by_a_template(reward_model, caplog, trained, warns):
    """Their scores were given without a word."""
    one = RewardModel(
        reward_model.network, reward_model.tokenizer, dataclasses.replace(reward_model.config, templated=trained)
    )
    one([ASKED] * 20 if trained else np.array(["Hi", "Ho"]), ["Hello."] * (20 if trained else 2))
    assert not caplog.records
    for _ in range(2):
        one(["Hi"], ["Hello."])
    assert caplog.text.count("trained on prompts with the special tokens of a chat template") == warns


def test_a_mixture_is_told_by_many_prompts(reward_model, caplog):
    config = dataclasses.replace(reward_model.config, templated=0.7)
    RewardModel(reward_model.network, reward_model.tokenizer, config)(["Hi"] * 16, ["Hello."] * 16)
    assert "chat template" in caplog.text
