"""Supervised fine-tuning examples: rows of a data file or a list, to tokens.

    {"prompt", "completion"}    a response; "completion" may be called "response" or "chosen"
    {"prompt", "turns"}         a dialogue: the agent's turn, the user's, and so on, ending with the agent's
    {"messages"}                a conversation, of which all the assistant's turns are learned; or {"conversations"}
    {"text"}                    a text, of which every token after the first is learned

What follows a plain prompt brings its own leading space. Every response, and each of the agent's turns, is followed by
an end-of-text token, which is trained too. A prompt, completion or chosen may be messages as well: the model's chat
template then writes all of the row, and what follows the prompt is learned, with the template's end of turn. A row may
name its "split", "train" or "heldout"; a key with the value null counts as missing, and other keys are ignored.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records.jsonl import DataError, row_split, shortened
from ..records.rows import read_rows
from .causal_lm import CausalLM
from .conversation import WHOLE, Conversation, Message, are_messages, read_messages, role_of

Rows = str | os.PathLike[str] | Sequence[Mapping[str, Any]]
Row = Mapping[str, Any]
Ints = NDArray[np.int64]

COMPLETIONS = ("completion", "response", "chosen")
FORMS = '{"prompt", "completion"}, {"prompt", "turns"}, {"messages"} or {"text"}'

log = logging.getLogger("textrlhf")


@dataclass(frozen=True)
class SFTExample:
    """A text as tokens, and which of them to train on."""

    tokens: Ints  # (L,)
    learned: Ints  # (T,) their positions, increasing; never 0
    split: str | None  # of the row


@dataclass(frozen=True)
class _Plain:
    """A prompt, and what follows it: the agent's turns at even places; without a prompt a whole text."""

    prompt: str | None
    turns: list[str]


@dataclass(frozen=True)
class _Chat:
    """A conversation, and the first message that may be learned."""

    messages: list[Message]
    first: int


def read_sft_examples(rows: Rows, lm: CausalLM, context: int | None = None) -> list[SFTExample]:
    """Encode every row with `lm`'s tokenizer; one longer than `context` or the model's positions is an error.

    A row is one example, but one for each answer where a chat template rewrites earlier turns as those of models that
    think do.
    """
    if isinstance(rows, str | os.PathLike):
        named, numbered = str(rows), read_rows(rows, "demonstrations", f"one object a line, {FORMS}", ("turns",))
    else:
        named, numbered = "demonstrations", [(f"demonstrations[{i}]", row) for i, row in enumerate(rows)]
    if not numbered:
        raise DataError(f"{named} has no rows: expected at least one {FORMS}")
    parsed = [_parsed(place, row, lm) for place, row in numbered]
    both = zip(numbered, parsed, strict=True)
    plain = _plain_examples([(place, one) for (place, _), one in both if isinstance(one, _Plain)], lm, named)
    examples, places = list[SFTExample](), list[str]()
    for (place, row), one in zip(numbered, parsed, strict=True):
        split = row_split(place, row)  # type: ignore[arg-type]  # `_parsed` has checked that it is a mapping
        answers = _chat_answers(place, one, lm) if isinstance(one, _Chat) else [next(plain)]
        examples += [SFTExample(tokens, learned, split) for tokens, learned in answers]
        places += [place] * len(answers)
    _refuse_long(places, examples, lm, context)
    if unknown := lm.with_unknown_tokens(example.tokens for example in examples):
        log.warning("%s: %d of %d texts have words unknown to %s", named, len(unknown), len(examples), lm)
    return examples


def _parsed(place: str, row: object, lm: CausalLM) -> _Plain | _Chat:
    if not isinstance(row, Mapping):
        raise DataError(f"{place}: expected an object {FORMS}, saw {shortened(row)}")
    row_split(place, row)
    named = [key for key in (*COMPLETIONS, "turns", *WHOLE, "text") if row.get(key) is not None]
    if len(named) != 1:
        what = f"are {' and '.join(named)}: expected one of them" if named else f"is no response: expected {FORMS}"
        raise DataError(f"{place}: among the keys {shortened(list(row))} {what}")
    (key,) = named
    prompt = row.get("prompt")
    if key in (*WHOLE, "text"):
        if prompt is not None:
            raise DataError(f'{place}: the row has "prompt" and "{key}", two forms of one text: drop one of them')
        return _whole(place, key, row[key])
    if are_messages(prompt) or are_messages(row[key]) or (isinstance(prompt, Conversation) and lm.has_template):
        return _conversation(place, key, row)
    text = _text(place, "prompt", prompt)
    turns = [_text(place, key, row[key])] if key != "turns" else _turns(place, row[key])
    for i, turn in enumerate(turns):
        if not turn.strip():
            name = key if len(turns) == 1 else f"turns[{i}]"
            raise DataError(f'{place}: "{name}" is empty: there is nothing to train on; drop the row')
    return _Plain(text, turns)


def _whole(place: str, key: str, value: Any) -> _Plain | _Chat:
    """A text or a conversation that is not cut into prompt and response."""
    if key == "text":
        if not _text(place, key, value).strip():
            raise DataError(f'{place}: "text" is empty: there is nothing to train on; drop the row')
        return _Plain(None, [value])
    return _Chat(read_messages(f'{place}: "{key}"', value).messages, 0)


def _conversation(place: str, key: str, row: Row) -> _Chat:
    """Messages as the prompt, and what follows it, messages or text."""
    prompt, followed = row.get("prompt"), row[key]
    if are_messages(followed) and role_of(followed[0]) != "assistant":
        messages = read_messages(f'{place}: "{key}"', followed).messages  # a whole conversation, as "chosen" often is
        asked = messages[:-1] if prompt is None else _asked(place, prompt)
        if messages[: len(asked)] != asked:
            raise DataError(f'{place}: "{key}" begins with other messages than "prompt": expected the same, or none')
        return _Chat(messages, len(asked))
    asked = _asked(place, prompt)
    if key == "turns":
        roles = itertools.cycle(("assistant", "user"))
        answers: list[Any] = [{"role": next(roles), "content": _said(turn)} for turn in _turns(place, followed)]
    elif are_messages(followed):
        answers = list(followed)
    else:
        answers = [{"role": "assistant", "content": _text(place, key, followed).strip()}]
    return _Chat(read_messages(f'{place}: "{key}"', answers, after=asked).messages, len(asked))


def _asked(place: str, prompt: Any) -> list[Message]:
    messages = [{"role": "user", "content": prompt}] if type(prompt) is str else prompt
    return read_messages(f'{place}: "prompt"', messages, prompt=True).messages


def _said(turn: str) -> str:
    """A turn of a dialogue without the markers that its plain text may have."""
    return turn.messages[-1]["content"] if isinstance(turn, Conversation) else turn.strip()


def _turns(place: str, turns: Any) -> list[str]:
    if isinstance(turns, Sequence) and not isinstance(turns, str) and len(turns) % 2:
        return [_text(place, f"turns[{i}]", turn) for i, turn in enumerate(turns)]
    raise DataError(
        f'{place}: "turns" is {shortened(turns)}: expected a list of strings, the first and the last the '
        "agent's, so an odd number of them"
    )


def _text(place: str, key: str, value: object) -> str:
    if isinstance(value, str):
        return value
    seen = "missing" if value is None else shortened(value)
    raise DataError(f'{place}: "{key}" is {seen}: expected a string, in the form {FORMS}')


def _plain_examples(rows: Sequence[tuple[str, _Plain]], lm: CausalLM, named: str) -> Iterator[tuple[Ints, Ints]]:
    """The tokens of texts without a template, and which of them are learned."""
    prompts = lm.encode_all([row.turns[0] if row.prompt is None else str(row.prompt) for _, row in rows])
    later = [turn for _, row in rows if row.prompt is not None for turn in row.turns]
    every = iter(lm.encode_more_all([str(turn) for turn in later]))
    if spaced := lm.ending_in_a_bare_space([str(row.prompt or "") for _, row in rows]):
        log.warning(
            "%s: %d of %d prompts end in a space, and the words of %s begin with one: move it to the response",
            named,
            len(spaced),
            len(rows),
            lm,
        )
    for (place, row), ids in zip(rows, prompts, strict=True):
        if not len(ids):
            text = row.turns[0] if row.prompt is None else row.prompt
            raise DataError(f"{place}: the prompt {shortened(text)} has no tokens: a model needs at least one")
        if row.prompt is None:
            yield _tokens(place, ids[:1], [ids[1:]], lm)
        else:
            yield _tokens(place, ids, list(itertools.islice(every, len(row.turns))), lm)


def _chat_answers(place: str, row: _Chat, lm: CausalLM) -> list[tuple[Ints, Ints]]:
    try:
        return [(answer.tokens, answer.learned) for answer in lm.chat.answers(row.messages, row.first)]
    except ValueError as error:  # of the template, or of characters
        raise DataError(f"{place}: {error}") from None


def _tokens(place: str, prompt: Ints, turns: Sequence[Ints], lm: CausalLM) -> tuple[Ints, Ints]:
    end = np.array(lm.eos_ids[:1], np.int64)
    parts, learned, at = [prompt], [], len(prompt)
    for i, turn in enumerate(turns):
        if i % 2 == 0:
            turn = np.concatenate([turn[:-1] if len(turn) and turn[-1] in lm.eos_ids else turn, end])
            learned.append(np.arange(at, at + len(turn)))
            if np.isin(turn[:-1], lm.eos_ids).any():
                raise DataError(
                    f"{place}: the agent's text goes on after an end-of-text token, which an agent could never "
                    'write; give a dialogue as "turns", or as "messages"'
                )
        parts.append(turn)
        at += len(turn)
    return np.concatenate(parts), np.concatenate(learned)


def _refuse_long(places: Sequence[str], examples: Sequence[SFTExample], lm: CausalLM, context: int | None) -> None:
    room = min(size for size in (context, lm.context, 2**62) if size is not None)
    long = [i for i, example in enumerate(examples) if len(example.tokens) > room]
    if long:
        raise DataError(
            f"{places[long[0]]}: the text has {len(examples[long[0]].tokens)} tokens with its end, and {room} fit "
            f"({len(long)} of {len(examples)} texts are too long): shorten or drop these, or raise the context"
        )
