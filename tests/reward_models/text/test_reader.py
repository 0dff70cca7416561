"""Conversations as a reward model reads them: by its own template, alike wherever they come from."""

from __future__ import annotations

import pytest

from chat_models import FAMILIES, chat_lm, chat_tokenizer, said
from textrlhf.language import Conversation
from textrlhf.reward_models import RewardModel
from textrlhf.reward_models.lengths import check_lengths
from textrlhf.reward_models.text.reader import TextReader, joined
from tiny_models import word_tokenizer

TALK = said("the?", "Here.", "then?", "So.")


def reader(tokenizer, reads="text", *, end=False, apart=False) -> TextReader:
    return TextReader(tokenizer, reads=reads, end=end, apart=apart)


def asked(n: int = 3, policy: str = "chatml") -> Conversation:
    """A prompt as an environment gives it, written by the policy's template."""
    return chat_lm(policy).chat.prompt(TALK[:n])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("apart", [False, True])
def test_a_conversation_is_read_by_the_reward_models_own_template(family: str, apart: bool) -> None:
    tokenizer = chat_tokenizer(family)
    one = reader(tokenizer, apart=apart)
    expected = tokenizer.apply_chat_template(TALK, return_dict=False)
    responses = ["So.", " So. ", "So.<|im_end|>", "So.\n", Conversation(TALK[3:]), "So."]
    texts = one.read([asked()] * 5 + [asked(policy="llama3")], responses)
    assert [text.tokens.tolist() for text in texts] == [expected] * 6
    assert {(text.start, text.end) for text in texts} == {(texts[0].start, len(expected))}
    judged = tokenizer.decode(texts[0].tokens[texts[0].start :])
    assert ("then" not in judged and "So." in judged) if apart else texts[0].start == 0


def test_a_response_of_several_turns() -> None:
    tokenizer = chat_tokenizer("llama3")
    (text,) = reader(tokenizer, apart=True).read([asked(1)], [Conversation(TALK[1:])])
    assert text.tokens.tolist() == tokenizer.apply_chat_template(TALK, return_dict=False)
    assert tokenizer.decode(text.tokens[text.start :]).startswith("Here.<|eot_id|>")


def test_conversations_and_plain_texts_may_be_mixed() -> None:
    one = reader(chat_tokenizer())
    mixed = one.read(["the", asked(), "hat"], [" hat", "So.", " the"])
    assert [text.tokens.tolist() for text in mixed] == [
        one.read([prompt], [response])[0].tokens.tolist()
        for prompt, response in (("the", " hat"), (asked(), "So."), ("hat", " the"))
    ]


@pytest.mark.parametrize(
    ("reads", "n", "text"),
    [
        ("text", 1, "User: the?\n\nAssistant: Here."),
        ("text", 3, "User: the?\n\nAssistant: Here.\n\nUser: then?\n\nAssistant: So."),
        ("response", 3, "So."),
        ("pair", 1, ("the?", "Here.")),
        ("pair", 3, ("User: the?\n\nAssistant: Here.\n\nUser: then?", "So.")),
    ],
)
def test_without_a_template_it_is_a_transcript(reads, n, text) -> None:
    tokenizer = chat_tokenizer()
    tokenizer.chat_template = None
    read = reader(tokenizer, reads).read([asked(n)], [TALK[n]["content"]])[0]
    wanted = tokenizer(*text) if isinstance(text, tuple) else tokenizer(text)
    assert read.tokens.tolist() == wanted["input_ids"]


def test_an_appended_end_is_not_doubled() -> None:
    tokenizer = chat_tokenizer("llama3")
    (text,) = reader(tokenizer, end=True).read([asked()], ["So."])
    assert tokenizer.decode(text.tokens).endswith("So.<|eot_id|><|end_of_text|>")
    phi = chat_tokenizer("phi3")
    (text,) = reader(phi, end=True).read([asked()], ["So."])
    assert phi.decode(text.tokens).count("<|endoftext|>") == 1


def test_conversations_are_templated_where_there_is_one_and_never_joined() -> None:
    assert reader(chat_tokenizer()).templated([asked(), "the"]) == 0.5
    assert reader(word_tokenizer()).templated([asked()]) == 0.0
    assert joined([asked(), "the"], ["So.", "hat"]) == (1, 1)


def test_lengths_are_those_of_the_reward_models_template() -> None:
    lm = chat_lm()
    model = RewardModel.new(lm, "tokens")
    longest = len(
        lm.tokenizer.apply_chat_template([*TALK[:3], {"role": "assistant", "content": ""}], return_dict=False)
    )
    model.context = longest + 8
    check_lengths(model, lm, [asked()], [lm.encode(asked())], 8)
    with pytest.raises(ValueError, match=f"{longest} of its prompt and max_new_tokens=9"):
        check_lengths(model, lm, [asked()], [lm.encode(asked())], 9)


def test_a_message_the_template_refuses_is_named() -> None:
    prompt = Conversation(said("hi", system="Be brief."))
    with pytest.raises(ValueError, match=r"'System: Be brief.*takes them without the system message"):
        reader(chat_tokenizer("gemma")).read([prompt], ["So."])
