"""Rows that judge nothing: prompts and demonstrations, read in order to describe or convert them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...language.conversation import WHOLE, Conversation, Message, read_messages
from ...records.jsonl import row_split
from .fields import Row, dialogues, is_chat, messages_at, text
from .judgements import Judgement, Labelled, Ranked
from .schemas.table import SCHEMAS

TEXT, COMPLETIONS = "text", ("completion", "response")


@dataclass(frozen=True)
class Unjudged:
    """A prompt, with the response that demonstrates what to write if there is one."""

    prompt: str
    response: str | None
    split: str | None = None

    @property
    def messages(self) -> list[Message] | None:
        """The whole conversation; None where it is plain text."""
        if not isinstance(self.prompt, Conversation):
            return None
        if self.response is None:
            return self.prompt.messages
        if isinstance(self.response, Conversation):
            return [*self.prompt.messages, *self.response.messages]
        return [*self.prompt.messages, {"role": "assistant", "content": self.response}]


def read_unjudged(numbered: Sequence[tuple[str, object]]) -> list[Unjudged] | None:
    """The prompts and demonstrations of rows; None if any row is something else."""
    rows = [(place, row) for place, row in numbered if isinstance(row, Mapping)]
    if len(rows) < len(numbered) or not all(_is_unjudged(row) for _, row in rows):
        return None
    return [_read(place, row) for place, row in rows]


def demonstrations_of(judgements: Sequence[Judgement], splits: Sequence[str | None]) -> list[Unjudged]:
    """What to imitate: the best of each comparison, and what is labelled good."""
    return [
        Unjudged(one.prompt, one.responses[0], split)
        for one, split in zip(judgements, splits, strict=True)
        if isinstance(one, Ranked) or (isinstance(one, Labelled) and one.good)
    ]


def _is_unjudged(row: Row) -> bool:
    judged = any(schema.fits(row) for schema in SCHEMAS.values())
    return not judged and any(row.get(key) is not None for key in (*WHOLE, TEXT, "prompt"))


def _read(place: str, row: Row) -> Unjudged:
    split = row_split(place, row)
    if chat := next((row[key] for key in WHOLE if is_chat(row.get(key))), None):
        if messages_at(place, chat)[-1]["role"] == "user":
            return Unjudged(read_messages(place, chat, prompt=True), None, split)
        prompt, (response,) = dialogues(place, None, {"messages": chat})
        return Unjudged(prompt, response, split)
    if row.get("prompt") is None:
        return Unjudged("", text(place, row, TEXT), split)
    if key := next((key for key in COMPLETIONS if row.get(key) is not None), None):
        prompt, (response,) = dialogues(place, row["prompt"], {key: row[key]})
        return Unjudged(prompt, response, split)
    chat = row["prompt"]
    prompt = read_messages(f'{place}: "prompt"', chat, prompt=True) if is_chat(chat) else text(place, row, "prompt")
    return Unjudged(prompt, None, split)
