"""The user's own prompts: a JSONL file or a list."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from ...language.tokenization import check_texts
from ...records.jsonl import DataError, read_jsonl, row_split, shortened
from .task import Prompt

Rows = str | os.PathLike[str] | Sequence[str | Mapping[str, Any]] | Mapping[str, Any]  # the last: by split
HELD_OUT_EVERY = 10  # where no row names its split


def load_prompts(rows: Rows, split: str, needs: Sequence[str] = ()) -> list[Prompt]:
    """Read the prompts of a split; `needs` names the fields that each row must have besides "prompt".

    A row is `{"prompt": …, "reference": …, "split": …}` (the last two optional, the split "train" or "heldout"), or in
    a list just a string. All other fields become `facts`. If no row names a split, every tenth one is held out; fewer
    than ten serve both splits. `{"train": …, "heldout": …}` has the rows of each split.
    """
    if isinstance(rows, Mapping):
        if split not in rows:
            raise DataError(f"prompts has the splits {sorted(rows)}: expected {split!r} among them")
        return [prompt for prompt, _ in _parsed(rows[split], needs)]
    parsed = _parsed(rows, needs)
    if any(declared for _, declared in parsed):
        chosen = [prompt for prompt, declared in parsed if (declared or "train") == split]
    elif len(parsed) < HELD_OUT_EVERY:
        chosen = [prompt for prompt, _ in parsed]  # too few to hold any out
    else:
        held_out = range(HELD_OUT_EVERY - 1, len(parsed), HELD_OUT_EVERY)
        chosen = [prompt for i, (prompt, _) in enumerate(parsed) if (i in held_out) == (split == "heldout")]
    if not chosen:
        raise DataError(f'{_named(rows)} has no prompt in the split {split!r}: give some rows "split": "{split}"')
    return chosen


def _parsed(rows: Rows, needs: Sequence[str]) -> list[tuple[Prompt, str | None]]:
    if isinstance(rows, str | os.PathLike):
        numbered = read_jsonl(rows, "prompts", 'one object a line with a "prompt"')
    elif isinstance(rows, Iterable) and not isinstance(rows, bytes | Set | Mapping | Iterator):
        numbered = [(f"prompts[{i}]", row) for i, row in enumerate(rows)]
    else:
        raise DataError(f"prompts is {shortened(rows)}: expected the path of a JSONL file, or a list of texts or rows")
    if not numbered:
        raise DataError(f"{_named(rows)} holds no prompts: expected at least one")
    return [_parse(place, row, needs) for place, row in numbered]


def _parse(place: str, row: Any, needs: Sequence[str]) -> tuple[Prompt, str | None]:
    if isinstance(row, str):
        row = {"prompt": row}
    seen = row.get("prompt") if isinstance(row, Mapping) else row
    if _are_tokens(seen):
        raise DataError(
            f"{place}: {shortened(seen)} are token ids: expected text, such as tokenizer.decode(ids) or "
            "apply_chat_template(…, tokenize=False); where it begins with <s>, no second one is added"
        )
    if not isinstance(row, Mapping) or not isinstance(row.get("prompt"), str):
        chat = "; turn chat messages into one with tokenizer.apply_chat_template(…, tokenize=False)"
        hint = chat if isinstance(seen, list) else ""
        raise DataError(f'{place}: expected an object with a string "prompt", saw {shortened(row)}{hint}')
    if not row["prompt"].strip():
        raise DataError(f"{place}: the prompt is empty, and a model needs a text to continue")
    try:
        check_texts([row["prompt"]])
    except ValueError as error:
        raise DataError(f"{place}: {error}") from None
    facts = {key: value for key, value in row.items() if key not in ("prompt", "reference", "split")}
    reference = row.get("reference")
    if reference is not None and not isinstance(reference, str):
        raise DataError(f"{place}: the reference is {shortened(reference)}, expected a string")
    for need in needs:
        if (reference if need == "reference" else facts.get(need)) is None:
            raise DataError(f'{place}: "{need}" is missing, which this task\'s score needs')
    return Prompt(str(row["prompt"]), reference, facts), row_split(place, row)


def _are_tokens(value: Any) -> bool:
    """Whether a prompt is a list, an array or a tensor of whole numbers."""
    values = value.tolist() if hasattr(value, "tolist") else value
    return isinstance(values, list | tuple) and bool(values) and all(type(one) is int for one in values)


def _named(rows: Rows) -> str:
    return str(rows) if isinstance(rows, str | os.PathLike) else "prompts"
