"""Chat messages: what a conversation is, and reading it from rows of data.

[{"role": "system" | "user" | "assistant", "content": …}, …]     as chat templates take them
[{"from": "system" | "human" | "gpt", "value": …}, …]            ShareGPT
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..records.jsonl import DataError, shortened

Message = dict[str, str]  # "role" and "content"

ROLES = ("system", "user", "assistant")
WHOLE = ("messages", "conversations")  # fields of rows with a whole conversation; the second is ShareGPT's
_NAMES = {  # of roles, as data sets and tokenizers' templates write them
    **{role: role for role in ROLES},
    "developer": "system",
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
}
FORM = '[{"role": "user", "content": "…"}, …] with the roles system (first), then user and assistant in turn'


class Conversation(str):
    """Messages, and as a string their text: functions that know only text can read it.

    `messages` is what a chat template renders. The text is the one given, else a plain "User: …" transcript; two
    conversations are equal if their texts are.
    """

    __slots__ = ("_messages",)
    _messages: tuple[tuple[str, str], ...]

    def __new__(cls, messages: Sequence[Mapping[str, str]], text: str | None = None) -> Conversation:
        """Take messages as they are; `read_messages` checks them."""
        pairs = tuple((message["role"], message["content"]) for message in messages)
        plain = "\n\n".join(f"{role.capitalize()}: {content}" for role, content in pairs)
        made = super().__new__(cls, plain if text is None else text)
        made._messages = pairs
        return made

    @property
    def messages(self) -> list[Message]:
        """The messages, with "role" and "content"."""
        return [{"role": role, "content": content} for role, content in self._messages]

    def __getnewargs__(self) -> tuple[Any, ...]:  # for pickle and copy
        return self.messages, str(self)


def role_of(message: Mapping[str, Any]) -> str | None:
    """The role of a message in either form, as chat templates name it; None for any other role."""
    return _NAMES.get(str(message.get("role", message.get("from"))).lower())


def are_messages(value: object) -> bool:
    """Whether a value looks like chat messages: a list whose items have a role (or "from")."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and bool(value)
        and all(isinstance(one, Mapping) and ("role" in one or "from" in one) for one in value)
    )


def read_messages(place: str, value: object, *, prompt: bool = False, after: Sequence[Message] = ()) -> Conversation:
    """Check messages, in either form, and name their roles as chat templates do; DataError names the `place`.

    A `prompt` ends with the user's turn. `after` are checked messages that these follow; both are returned. Content in
    parts, [{"type": "text", "text": …}], is joined.
    """
    if isinstance(value, Conversation):
        value = value.messages
    if not are_messages(value):
        raise DataError(f"{place}: the messages are {shortened(value)}: expected {FORM}")
    assert isinstance(value, Sequence)
    read = [_message(f"{place}: message {i}", one) for i, one in enumerate(value)]
    messages = [*after, *read]
    turns = [message["role"] for message in messages if message["role"] != "system"]
    systems = sum(message["role"] == "system" for message in messages)
    expected = [("user", "assistant")[i % 2] for i in range(len(turns))]
    if turns != expected or systems > 1 or (systems and messages[0]["role"] != "system"):
        seen = ", ".join(message["role"] for message in read)
        seen += f" (after {', '.join(message['role'] for message in after)})" if after else ""
        raise DataError(f"{place}: the roles are {seen}: expected at most one system message, first, then user and "
                        "assistant in turn; join or drop the others")  # fmt: skip
    if not turns:
        raise DataError(f"{place}: there is only a system message: add the user's")
    if prompt and turns[-1] == "assistant":
        raise DataError(
            f"{place}: the prompt ends with the assistant's turn, and the assistant is to write the next one: drop "
            'that turn, or give it as the "completion"'
        )
    return Conversation(messages)


def _message(place: str, one: Any) -> Message:
    content = one["content"] if "content" in one else one.get("value")
    name = role_of(one)
    if name is None:
        seen = shortened(one.get("role", one.get("from")))
        raise DataError(f"{place} has the role {seen}: expected one of {', '.join(ROLES)}")
    if isinstance(content, Sequence) and not isinstance(content, str):
        parts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        if any(not isinstance(part, str) for part in parts):
            raise DataError(f"{place} has content other than text, {shortened(content)}: only text can be read")
        content = "".join(str(part) for part in parts)
    if not isinstance(content, str):
        raise DataError(f"{place} ({name}) has the content {shortened(content)}: expected a string")
    if not content.strip():
        raise DataError(f"{place} ({name}) is empty: drop it, or the row")
    return {"role": name, "content": content}
