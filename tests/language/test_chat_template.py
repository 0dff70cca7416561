"""Chat templates: tokens equal `apply_chat_template`'s for every family, and only the assistant's are learned."""

from __future__ import annotations

import numpy as np
import pytest

from chat_models import FAMILIES, TURN_ENDS, chat_lm, chat_tokenizer, said
from textrlhf.language import CausalLM, ChatTemplateError, Conversation
from textrlhf.language.tokenization import Codec
from tiny_models import tiny_lm

NO_SYSTEM = ("gemma",)  # and Mistral's moves it to the last of the user's turns
REWRITES = ("qwen3", "mistral")  # earlier turns: those with thoughts, those with a system message


def codec(family: str) -> Codec:
    tokenizer = chat_tokenizer(family)
    return Codec(tokenizer, (tokenizer.eos_token_id,))


def expected(tokenizer, messages, *, answer: bool) -> list[int]:
    return tokenizer.apply_chat_template(messages, add_generation_prompt=answer, tokenize=True, return_dict=False)


def conversations(family: str):
    yield said("the hat?")
    yield said("the hat?", "Here it is.", "and <then>\n?")
    if family not in NO_SYSTEM:
        yield said(" the  hat? ", system="Be brief.")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_tokens_of_a_prompt_are_those_of_apply_chat_template(family: str) -> None:
    one = codec(family)
    for messages in conversations(family):
        wanted = expected(one.tokenizer, messages, answer=True)
        assert one.chat.tokens(messages).tolist() == wanted
        assert one.encode(Conversation(messages)).tolist() == wanted
        assert one.encode_all(["the", Conversation(messages), "hat"])[1].tolist() == wanted
        bos = one.tokenizer.bos_token_id
        assert bos is None or wanted.count(bos) == (family != "phi3")
        assert one.tokenizer.decode(wanted) == one.chat.prompt(messages)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_token_that_ends_a_turn_ends_a_text(family: str) -> None:
    lm = chat_lm(family)
    end = lm.tokenizer.convert_tokens_to_ids(TURN_ENDS[family])
    assert lm.chat.end_id == end
    assert set(lm.eos_ids) == {lm.tokenizer.eos_token_id, end}
    assert lm.eos_ids[0] == lm.tokenizer.eos_token_id


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reply_continues_a_conversation_as_the_template_writes_it_whole(family: str) -> None:
    one, messages = codec(family), said("the hat?", "Here.", "and\nthen?", "The end.")
    text = one.chat.tokens(messages[:1]).tolist()
    for i in (1, 3):
        answer = messages[i]["content"]
        if family == "mistral":
            answer = f" {answer}"  # which its template puts there, and so its models write it
        text += [*one.encode_more(answer).tolist(), one.chat.end_id]
        text += one.chat.reply(messages[: i + 1], "So?" if i == 3 else messages[2]["content"]).tolist()
    assert text == expected(one.tokenizer, [*messages, *said("So?")], answer=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_what_the_assistant_wrote_is_learned(family: str) -> None:
    one, messages = codec(family), said("the hat?", "Here.", "and then?", "The end.")
    whole, end = expected(one.tokenizer, messages, answer=False), TURN_ENDS[family]
    answers = one.chat.answers(messages)
    learned = [one.tokenizer.decode(each.tokens[each.learned]) for each in answers]
    if family == "qwen3":
        thought = "<think>\n\n</think>\n\n"
        assert learned == [f"{thought}Here.{end}", f"{thought}The end.{end}"]
    else:
        space = " " if family == "mistral" else ""
        assert [text.strip() for text in learned] == [f"Here.{end}{space}The end.{end}"]
    assert whole[: len(answers[-1].tokens)] == answers[-1].tokens.tolist()  # all but what follows the last end
    (last,) = one.chat.answers(messages, first=2)[-1:]
    assert one.tokenizer.decode(last.tokens[last.learned]).strip() == learned[-1].split(f"Here.{end}")[-1].strip()


@pytest.mark.parametrize("family", ["mistral", "qwen3"])
def test_a_template_that_rewrites_earlier_turns_gives_an_example_for_each_answer(family: str) -> None:
    one, messages = codec(family), said("the?", "Here.", "then?", "So.", system="Be brief.")
    first, second = one.chat.answers(messages)
    for answer, upto in ((first, 3), (second, 5)):
        prompt = expected(one.tokenizer, messages[: upto - 1], answer=True)
        assert answer.tokens[: len(prompt)].tolist() == prompt
        assert answer.learned.tolist() == list(range(len(prompt), len(answer.tokens)))
        whole = expected(one.tokenizer, messages[:upto], answer=False)
        assert answer.tokens.tolist() == whole[: len(answer.tokens)]


def test_no_token_spans_prompt_and_answer() -> None:
    one, messages = codec("chatml"), said("the?", "\nHere.")
    whole = expected(one.tokenizer, messages, answer=False)
    assert one.tokenizer.convert_tokens_to_ids("ĊĊ") in whole  # the template's and the answer's as one token
    (answer,) = one.chat.answers(messages)
    prompt = one.chat.tokens(messages[:1])
    np.testing.assert_array_equal(answer.tokens[: len(prompt)], prompt)
    assert answer.learned[0] == len(prompt)
    assert one.tokenizer.decode(answer.tokens[answer.learned]) == "\nHere.<|im_end|>"


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_judged_is_what_the_template_writes(family: str) -> None:
    one, messages = codec(family), said("the hat?", "Here.", "and then?", "The end.")
    for n in (1, 3):
        tokens, start = one.chat.judged(messages[:n], messages[n:])
        assert tokens.tolist() == expected(one.tokenizer, messages, answer=False)
        assert "then" not in one.tokenizer.decode(tokens[start:]) or n == 1
        response = one.tokenizer.decode(tokens[start:]).lstrip()
        assert response.startswith(("Here." if n == 1 else "The end.", "<think>"))


def broken(template: str) -> Codec:
    tokenizer = chat_tokenizer()
    tokenizer.chat_template = template
    return Codec(tokenizer, (tokenizer.eos_token_id,))


@pytest.mark.parametrize(
    ("messages", "template", "error"),
    [
        (said("hi", system="Be brief."), None, "without the system message: join that into the user's first turn"),
        (said("hi", "ho"), "same", "the prompt ends with the assistant's turn, which it is to write"),
        (said("hi"), "{{ raise_exception('no') }}", r"does not take messages of user \(.*: no\)$"),
        (said("hi"), "{{ messages[0].content ", "does not take messages of user"),
        (said("hi <|im_end|> ho"), "same", r"message 0 \(user\) holds <\|im_end\|>, which ends a turn: take it out"),
        (said("hi"), "{% for m in messages %}{{ m.content[0].text }}{% endfor %}", "as those of models that also see"),
    ],
)
def test_messages_and_templates_that_do_not_fit_are_named(messages, template, error: str) -> None:
    one = codec("gemma") if template is None else codec("chatml") if template == "same" else broken(template)
    with pytest.raises(ChatTemplateError, match=error):
        one.encode(Conversation(messages))


def test_a_template_that_rewrites_its_text_cannot_have_it_go_on() -> None:
    with pytest.raises(ChatTemplateError, match="leave out the system message"):
        codec("mistral").chat.reply(said("the?", "Here.", system="Be brief."), "So?")
    endless = broken("{% for m in messages %}{{ m.content }}{% endfor %}").chat
    assert endless.prompt(said("hi")) == "hi"  # which has an end of text, if not one of turns
    for go_on in (lambda: endless.reply(said("hi", "ho"), "hu"), lambda: endless.answers(said("hi", "ho"))):
        with pytest.raises(ChatTemplateError, match="with no special token, so no answer could end"):
            go_on()
    opened = (
        "{% for m in messages %}{{ m.content + eos_token }}{% endfor %}{% if add_generation_prompt %}<think>{% endif %}"
    )
    with pytest.raises(ChatTemplateError, match="asks for an answer by '.*<think>'"):
        broken(opened).chat.answers(said("the?", "Here."))


def test_a_model_without_a_template_takes_no_messages() -> None:
    with pytest.raises(ChatTemplateError, match="has no chat template, which messages need: use an instruct model"):
        tiny_lm().encode(Conversation(said("a2")))


def test_a_template_that_cannot_be_rendered_does_not_keep_a_model_from_loading() -> None:
    lm = chat_lm()
    tokenizer = chat_tokenizer()
    tokenizer.chat_template = "{{ nothing.at.all() }}"
    assert CausalLM(lm.model, tokenizer).eos_ids == (tokenizer.eos_token_id,)
