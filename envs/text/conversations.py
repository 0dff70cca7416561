"""Prompts that are conversations, written by the model's chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...language import CausalLM, ChatTemplateError, Conversation
from ...language.conversation import Message
from ...records.jsonl import DataError
from .options import TextOptions
from .task import Prompt

NO_CONVERSATIONS = (
    "system_prompt is given, but no prompt is a conversation: pass chat=True, which makes each prompt the user's turn, "
    "or prompts of messages"
)


def converse(
    records: Sequence[Prompt], places: Sequence[str], lm: CausalLM, options: TextOptions, *, dialogue: bool
) -> Sequence[Prompt]:
    """Give each prompt that is a conversation the text that the template of `lm` makes of it.

    From then on a `Conversation` is one that the template has written. The user's messages need a template; a task's
    own conversations have a plain text for models without.
    """
    own = options.prompts is not None
    chats = [isinstance(record.text, Conversation) for record in records]
    if options.system_prompt is not None and not (options.chat or (any(chats) and lm.has_template)):
        raise ValueError(NO_CONVERSATIONS)
    if not (options.chat or any(chats)):
        return records
    if options.chat is False and own:
        raise ValueError(f"chat is False, but {places[chats.index(True)]} has messages as its prompt: leave chat out")
    if options.chat is False or not (options.chat or own or lm.has_template):
        return [replace(record, text=str(record.text)) for record in records]
    spoken = []
    for record, place, chat in zip(records, places, chats, strict=True):
        if not (chat or options.chat):
            spoken.append(record)
            continue
        try:
            spoken.append(replace(record, text=lm.chat.prompt(conversation(record.text, options.system_prompt))))
        except ChatTemplateError as error:
            raise DataError(f"{place}: {error}") from None
    if dialogue:
        _check_it_goes_on(spoken, places, lm)
    return spoken


def encoded(lm: CausalLM, records: Sequence[Prompt]) -> list[NDArray[np.int64]]:
    """The tokens of prompts that `converse` returned."""
    chats = iter(
        lm.chat.encode(found) if (found := [x.text for x in records if isinstance(x.text, Conversation)]) else []
    )
    plain = iter(lm.encode_all([record.text for record in records if not isinstance(record.text, Conversation)]))
    return [next(chats if isinstance(record.text, Conversation) else plain) for record in records]


def fitted(record: Prompt, lm: CausalLM, room: int) -> tuple[Prompt, NDArray[np.int64]]:
    """A conversation without its first turns, so that it has at most `room` tokens."""
    assert isinstance(record.text, Conversation)
    messages = record.text.messages
    first = int(messages[0]["role"] == "system")
    while True:
        text = lm.chat.prompt(messages)
        (tokens,) = lm.chat.encode([text])
        if len(tokens) <= room:
            return replace(record, text=text), tokens
        if len(messages) <= first + 2:
            raise ValueError(
                f"the last turn of a conversation has {len(tokens)} tokens with the chat template's, and {room} fit: "
                'raise context, lower max_new_tokens, or pass prompt_overflow="drop"'
            )
        del messages[first : first + 2]


def conversation(text: str, system: str | None) -> list[Message]:
    """A prompt as messages, a plain text as the user's, with a system message where it has none of its own."""
    messages = text.messages if isinstance(text, Conversation) else [{"role": "user", "content": text}]
    if system is not None and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system})
    return messages


def _check_it_goes_on(records: Sequence[Prompt], places: Sequence[str], lm: CausalLM) -> None:
    """Whether the template lets the user answer, asked once for each form of a prompt."""
    forms: dict[tuple[str, ...], tuple[list[Message], str]] = {}
    for record, place in zip(records, places, strict=True):
        if isinstance(record.text, Conversation):
            roles = tuple(message["role"] for message in record.text.messages)
            forms.setdefault(roles, (record.text.messages, place))
    for messages, place in forms.values():
        try:
            lm.chat.reply([*messages, {"role": "assistant", "content": "Yes."}], "Why?")
        except ChatTemplateError as error:
            raise DataError(f"{place}: {error}") from None
