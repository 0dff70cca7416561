"""The user's own prompts: a data file or a list."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from ...language.conversation import WHOLE, Conversation, are_messages, read_messages
from ...records.characters import check_texts
from ...records.jsonl import DataError, row_split, shortened
from ...records.rows import read_rows
from .task import Prompt

Rows = str | os.PathLike[str] | Sequence[str | Mapping[str, Any]] | Mapping[str, Any]  # the last: by split
HELD_OUT_EVERY = 10  # where no row names its split


def load_prompts(rows: Rows, split: str, needs: Sequence[str] = ()) -> list[Prompt]:
    """Read the prompts of a split, without their places."""
    return [prompt for _, prompt in placed_prompts(rows, split, needs)]


def placed_prompts(rows: Rows, split: str, needs: Sequence[str] = ()) -> list[tuple[str, Prompt]]:
    """Read the prompts of a split with their places; `needs` names the fields each row must have besides "prompt".

    A row is `{"prompt": …, "reference": …, "split": …}` (the last two optional, the split "train" or "heldout"), or in
    a list just a string. "prompt" is a text or chat messages, which may also be named "messages" or "conversations"
    (ShareGPT): of these the assistant's last turn, where they end with it, is the reference. All other fields become
    `facts`. If no row names a split, every tenth one is held out; fewer than ten serve both splits.
    `{"train": …, "heldout": …}` has the rows of each split.
    """
    if isinstance(rows, Mapping):
        if split not in rows:
            raise DataError(f"prompts has the splits {sorted(rows)}: expected {split!r} among them")
        return [(place, prompt) for place, prompt, _ in _parsed(rows[split], needs)]
    parsed = _parsed(rows, needs)
    placed = [(place, prompt) for place, prompt, _ in parsed]
    if any(declared for _, _, declared in parsed):
        chosen = [one for one, row in zip(placed, parsed, strict=True) if (row[2] or "train") == split]
    elif len(parsed) < HELD_OUT_EVERY:
        chosen = placed  # too few to hold any out
    else:
        held_out = range(HELD_OUT_EVERY - 1, len(parsed), HELD_OUT_EVERY)
        chosen = [one for i, one in enumerate(placed) if (i in held_out) == (split == "heldout")]
    if not chosen:
        raise DataError(f'{_named(rows)} has no prompt in the split {split!r}: give some rows "split": "{split}"')
    return chosen


def _parsed(rows: Rows, needs: Sequence[str]) -> list[tuple[str, Prompt, str | None]]:
    if isinstance(rows, str | os.PathLike):
        numbered = read_rows(rows, "prompts", 'one object a line with a "prompt"')
    elif isinstance(rows, Iterable) and not isinstance(rows, bytes | Set | Mapping | Iterator):
        numbered = [(f"prompts[{i}]", row) for i, row in enumerate(rows)]
    else:
        raise DataError(
            f"prompts is {shortened(rows)}: expected the path of a data file (.jsonl, .json, .csv, …), or a list of "
            "texts or rows"
        )
    if not numbered:
        raise DataError(f"{_named(rows)} holds no prompts: expected at least one")
    return [(place, *parse_prompt(place, row, needs)) for place, row in numbered]


def parse_prompt(place: str, row: Any, needs: Sequence[str] = ()) -> tuple[Prompt, str | None]:
    """A row as a prompt, and the split that it names; DataError with its place."""
    if isinstance(row, str):
        row = {"prompt": row}
    if are_messages(row):
        row = {"prompt": row}
    key = _prompt_key(place, row) if isinstance(row, Mapping) else "prompt"
    seen = row.get(key) if isinstance(row, Mapping) else row
    if _are_tokens(seen):
        raise DataError(
            f"{place}: {shortened(seen)} are token ids: expected text, such as tokenizer.decode(ids) or "
            "apply_chat_template(…, tokenize=False); where it begins with <s>, no second one is added"
        )
    if not isinstance(row, Mapping) or not isinstance(seen, str | list):
        raise DataError(f'{place}: expected an object with a "prompt", a string or messages, saw {shortened(row)}')
    reference, text = row.get("reference"), str(seen)
    if key in WHOLE:
        text, reference = _asked_and_answered(place, seen, reference)
    elif isinstance(seen, list | Conversation):
        text = read_messages(place, seen, prompt=True)
    if not text.strip():
        raise DataError(f"{place}: the prompt is empty, and a model needs a text to continue")
    try:
        check_texts([text])
    except ValueError as error:
        raise DataError(f"{place}: {error}") from None
    facts = {name: value for name, value in row.items() if name not in (key, "reference", "split")}
    if reference is not None and not isinstance(reference, str):
        raise DataError(f"{place}: the reference is {shortened(reference)}, expected a string")
    for need in needs:
        if (reference if need == "reference" else facts.get(need)) is None:
            raise DataError(f'{place}: "{need}" is missing, which this task\'s score needs')
    return Prompt(text, reference, facts), row_split(place, row)


def _asked_and_answered(place: str, messages: Any, reference: Any) -> tuple[Conversation, Any]:
    """A conversation as a prompt, without the assistant's last turn, which is a reference."""
    whole = read_messages(place, messages).messages
    if whole[-1]["role"] == "assistant":
        answer = whole.pop()
        reference = answer["content"] if reference is None else reference
    return read_messages(place, whole, prompt=True), reference


def _prompt_key(place: str, row: Mapping[str, Any]) -> str:
    """Which field of a row is its prompt."""
    named = [key for key in ("prompt", *WHOLE) if row.get(key) is not None]
    if len(named) > 1:
        raise DataError(f"{place}: the row has {' and '.join(named)}, and each would be its prompt: drop all but one")
    return named[0] if named else "prompt"


def _are_tokens(value: Any) -> bool:
    """Whether a prompt is a list, an array or a tensor of whole numbers."""
    values = value.tolist() if hasattr(value, "tolist") else value
    return isinstance(values, list | tuple) and bool(values) and all(type(one) is int for one in values)


def _named(rows: Rows) -> str:
    return str(rows) if isinstance(rows, str | os.PathLike) else "prompts"
