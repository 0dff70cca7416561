"""Fields of rows: texts, chat messages, numbers; and which part of a dialogue is the prompt."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...language.conversation import Conversation, Message, are_messages, read_messages, role_of
from ...records.jsonl import DataError, shortened
from ..reward_function import is_number
from .judgements import UnusableError

Row = Mapping[str, Any]

# The beginning of a dialogue turn, most reliable patterns first: a line of an answer may match the last one.
TURNS = (
    re.compile(
        r"<\|im_start\|>\w+\n|<\|start_header_id\|>\w+<\|end_header_id\|>\n\n|<start_of_turn>\w+\n"
        r"|<\|(?:system|user|assistant)\|>\n?|\[/INST\]"
    ),
    re.compile(r"\n+ *(?:Human|User|Assistant|AI|Bot|System|Model):"),
    re.compile(r"\n+ *[A-Z][\w ]{0,20}:"),
)


def text(place: str, row: Row, key: str) -> str:
    """A field that has to be a string."""
    value = row.get(key)
    if value is None:
        raise DataError(f'{place}: "{key}" is missing')
    if not isinstance(value, str):
        raise DataError(f'{place}: "{key}" is {shortened(value)}: expected a string')
    return value


def number(place: str, row: Row, key: str) -> float:
    """A field that has to be a finite number, or a string of one."""
    value = row.get(key)
    try:
        value = float(value) if isinstance(value, str) else value
    except ValueError:
        value = row.get(key)
    if not is_number(value):
        raise DataError(f'{place}: "{key}" is {shortened(value)}: expected a finite number')
    return float(value)


def one_of(place: str, row: Row, key: str, accepted: Sequence[object]) -> Any:
    """A field that has to be one of some values."""
    value = row.get(key)
    if value not in accepted or isinstance(value, bool):
        raise DataError(f'{place}: "{key}" is {shortened(value)}: expected {" or ".join(map(repr, accepted))}')
    return accepted[accepted.index(value)]  # a table may have 1.0 for 1


def rater_of(row: Row, key: str = "rater") -> str | None:
    """Who judged, as text."""
    value = row.get(key)
    return None if value is None or value == "" else str(value)


def user(content: str, system: object = None) -> Conversation:
    """A prompt that is the user's first turn."""
    if not content.strip():
        raise UnusableError("the prompt is empty")
    before = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
    return Conversation([*before, {"role": "user", "content": content}])


def messages_at(place: str, value: object, after: Sequence[Message] = ()) -> list[Message]:
    """Checked messages, with those that they follow; one that is empty makes the row unusable."""
    if are_messages(value):
        contents = [one.get("content", one.get("value")) for one in value]  # type: ignore[attr-defined]
        if any(content is None or (isinstance(content, str) and not content.strip()) for content in contents):
            raise UnusableError(f"{place}: a message is empty: drop it, or the row")
    return read_messages(place, value, after=after).messages


def is_chat(value: object) -> bool:
    """Whether a value is chat messages, or one of them."""
    return are_messages(value) or are_messages([value])


def dialogues(place: str, prompt: object, named: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    """The prompt and the responses, from texts or chat messages in any combination.

    A response is a text, the messages after the prompt, or a whole conversation: the prompt is then what all of them
    begin with. A response of more than one turn is a `Conversation`, as is a prompt of messages.
    """
    prompt, named = _messages(prompt), {name: _messages(value) for name, value in named.items()}
    if not (is_chat(prompt) or any(map(is_chat, named.values()))):
        texts = [text(place, named, name) for name in named]
        if prompt is not None:
            return text(place, {"prompt": prompt}, "prompt"), tuple(texts)
        if len(texts) != 2:
            raise DataError(f'{place}: "prompt" is missing')
        prompt = shared_prompt(*texts)
        return prompt, tuple(one[len(prompt) :] for one in texts)
    given: list[Message] = []
    if is_chat(prompt):
        given = messages_at(f'{place}: "prompt"', prompt if are_messages(prompt) else [prompt])
    elif prompt and not (isinstance(prompt, str) and not prompt.strip()):
        given = user(text(place, {"prompt": prompt}, "prompt")).messages
    read = [_conversation(f'{place}: "{name}"', given, value) for name, value in named.items()]
    wholes = [whole for whole, _ in read]
    at = len(given) if given and all(continues for _, continues in read) else _common_turns(wholes)
    if not at:
        raise DataError(
            f"{place}: {' and '.join(named)} do not begin with the same turns up to the assistant's: there is no prompt"
        )
    before = Conversation(wholes[0][:at])
    read_messages(f'{place}: "prompt"', before.messages, prompt=True)
    return before, tuple(_rest(whole[at:]) for whole in wholes)


def _messages(value: object) -> object:
    """The messages of a `Conversation`, which is also a string; any other value as it is."""
    return value.messages if isinstance(value, Conversation) else value


def _conversation(place: str, given: list[Message], value: object) -> tuple[list[Message], bool]:
    """The whole conversation of a response, and whether it was given as what follows the prompt."""
    if not is_chat(value):
        if not isinstance(value, str):
            raise DataError(f"{place} is {shortened(value)}: expected a string or messages")
        if not given:
            raise DataError(f"{place} is a text, and the prompt is missing: give the messages before it as the prompt")
        return [*given, {"role": "assistant", "content": value}], True
    messages: Any = value if are_messages(value) else [value]
    continues = role_of(messages[0]) == "assistant"
    if continues and not given:
        raise DataError(f'{place} begins with the assistant\'s turn: give the messages before it as "prompt"')
    whole = messages_at(place, messages, given if continues else ())
    if whole[-1]["role"] != "assistant":
        raise DataError(
            f"{place} has the roles {', '.join(message['role'] for message in whole)}: expected the assistant's turn "
            "after the prompt's, or a whole conversation that ends with the assistant's turn"
        )
    return whole, continues


def _common_turns(wholes: Sequence[list[Message]]) -> int:
    """How many messages are the prompt: those that all begin with, up to a user's turn that all of them go on after."""
    if len(wholes) == 1:
        return len(wholes[0]) - 1
    same = sum(
        1 for _ in itertools.takewhile(lambda turn: all(one == turn[0] for one in turn), zip(*wholes, strict=False))
    )
    ends = [
        at for at in range(1, same + 1) if wholes[0][at - 1]["role"] == "user" and all(len(one) > at for one in wholes)
    ]
    return max(ends, default=0)


def _rest(turns: list[Message]) -> str:
    return turns[0]["content"] if len(turns) == 1 else Conversation(turns)


def shared_prompt(chosen: str, rejected: str) -> str:
    """The prompt of two dialogues: their common beginning up to the last turn that is non-empty in both.

    Answers that begin alike keep their common words. Without turns, the prompt is the whole words that both begin
    with, and each response keeps its leading space.
    """
    pairs = enumerate(zip(chosen, rejected, strict=False))
    shared = chosen[: next((i for i, (a, b) in pairs if a != b), min(len(chosen), len(rejected)))]
    words = (match.start() for match in re.finditer(r"(?<=\S)(?=\s)", chosen[: len(shared) + 1]))
    candidates = [[match.end() for match in turn.finditer(shared)] for turn in TURNS]
    candidates.append([end for end in words if rejected[end : end + 1].isspace()])
    for ends in candidates:
        for end in reversed(ends):
            if chosen[end:].strip() and rejected[end:].strip():
                return shared[:end]
    return ""
