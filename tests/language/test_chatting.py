"""Chats: each answer follows the template's tokens, ends with the turn, and equals `generate`'s."""

from __future__ import annotations

import pytest
import torch

from chat_models import chat_lm, said
from textrlhf.language import ChatTemplateError, generate
from textrlhf.language.chatting import Chat, ContextFullError
from tiny_models import tiny_lm


def expected(lm, messages, n: int) -> str:
    """The answer of the most likely tokens."""
    tokens = lm.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    (text,) = generate(lm, [tokens], n, temperature=0)
    return lm.decode(text.tokens)


@pytest.mark.parametrize("family", ["chatml", "llama3", "qwen3", "gemma", "mistral"])
def test_several_turns_are_those_of_the_template(family: str) -> None:
    lm = chat_lm(family)
    chat = Chat(lm, temperature=0, max_new_tokens=9)
    for text in ("the hat?", "why?", "so?"):
        messages = [*chat.messages, *said(text)]
        answer = "".join(chat.say(text))
        assert answer == expected(lm, messages, 9)
        assert chat.messages == [*messages, {"role": "assistant", "content": answer.strip()}]
    chat.reset()
    assert chat.messages == []
    assert "".join(chat.say("why?")) == expected(lm, said("why?"), 9)


def test_what_is_in_memory_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = chat_lm()
    chat = Chat(lm, system="Be brief.", temperature=0)
    written = [*lm.encode("hi ho"), lm.chat.end_id, *lm.encode("so"), lm.chat.end_id]
    drawn = (torch.tensor([token]) for token in written)
    monkeypatch.setattr("textrlhf.language.chatting.sample", lambda logits, **how: (next(drawn), None))
    read: list[int] = []
    original = chat._memory.read
    monkeypatch.setattr(chat._memory, "read", lambda rows, new: read.extend(new[0]) or original(rows, new))
    assert "".join(chat.say("the?")) == "hi ho"
    assert "".join(chat.say("why?")) == "so"
    messages = said("the?", "hi ho", "why?", "so", system="Be brief.")
    assert chat.messages == messages
    whole = lm.tokenizer.apply_chat_template(messages, return_dict=False)
    assert read == whole[: len(read)]  # each token once
    assert lm.decode(whole[len(read) :]).strip() == ""


def test_an_answer_that_is_stopped_stays_as_it_is() -> None:
    chat = Chat(chat_lm(), temperature=0, max_new_tokens=9)
    pieces = chat.say("the hat?")
    first = next(pieces)
    pieces.close()
    assert chat.messages[-1] == {"role": "assistant", "content": first.strip()}
    assert "".join(chat.say("why?")) == expected(chat.lm, chat.messages[:-1], 9)


def test_the_same_seed_says_the_same() -> None:
    one, same, other = ("".join(Chat(chat_lm(), seed=seed, max_new_tokens=9).say("the?")) for seed in (1, 1, 2))
    assert one == same != other


def test_a_full_context_is_told_and_the_conversation_stays() -> None:
    chat = Chat(chat_lm(), temperature=0, max_new_tokens=4)
    with pytest.raises(ContextFullError, match="the conversation has .* tokens, and .* has 512 positions"):
        chat.say("the hat " * 200)
    assert chat.messages == []
    assert "".join(chat.say("the?")) == expected(chat.lm, said("the?"), 4)


def test_what_cannot_be_said_is_refused_at_once() -> None:
    with pytest.raises(ChatTemplateError, match="without the system message"):
        Chat(chat_lm("gemma"), system="Be brief.")
    with pytest.raises(ChatTemplateError, match="has no chat template"):
        Chat(tiny_lm())
    chat = Chat(chat_lm())
    with pytest.raises(ChatTemplateError, match="which ends a turn"):
        chat.say("<|im_end|>")
    assert chat.messages == []
