"""The user's own prompts: a JSONL file, or a list."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ...records.jsonl import DataError, read_jsonl, shortened
from .task import SPLITS, Prompt

__all__ = ["DataError", "Rows", "load_prompts"]

Rows = str | os.PathLike[str] | Sequence[str | Mapping[str, Any]] | Mapping[str, Any]  # the last: rows by split
HELD_OUT_EVERY = 10  # without a "split" of their own, every tenth row is held out


def load_prompts(rows: Rows, split: str, needs: Sequence[str] = ()) -> list[Prompt]:
    """Read the prompts of a split; `needs` names what each row must have beside its prompt.

    A row is `{"prompt": ..., "reference": ..., "split": ...}` (the last two optional, `split` "train" or "heldout"),
    or in a list just a string. Whatever else a row holds becomes `facts`. Where no row names its split, every
    tenth one is held out; fewer than ten serve both splits. `{"train": ..., "heldout": ...}` names each split's own.
    """
    if isinstance(rows, Mapping):
        if split not in rows:
            raise DataError(f"prompts has the splits {sorted(rows)}: expected {split!r} among them")
        return [prompt for prompt, _ in _parsed(rows[split], needs)]
    parsed = _parsed(rows, needs)
    if any(declared for _, declared in parsed):
        chosen = [prompt for prompt, declared in parsed if (declared or "train") == split]
    elif len(parsed) < HELD_OUT_EVERY:
        chosen = [prompt for prompt, _ in parsed]  # too few to hold any out: both splits are all of them
    else:
        held_out = range(HELD_OUT_EVERY - 1, len(parsed), HELD_OUT_EVERY)
        chosen = [prompt for i, (prompt, _) in enumerate(parsed) if (i in held_out) == (split == "heldout")]
    if not chosen:
        raise DataError(f'{_named(rows)} has no prompt in the split {split!r}: give rows "split": "{split}"')
    return chosen


def _parsed(rows: Rows, needs: Sequence[str]) -> list[tuple[Prompt, str | None]]:
    if isinstance(rows, str | os.PathLike):
        numbered = read_jsonl(rows, "prompts", 'one object a line with a "prompt"')
    else:
        numbered = [(f"prompts[{i}]", row) for i, row in enumerate(rows)]
    if not numbered:
        raise DataError(f"{_named(rows)} holds no prompts: expected at least one")
    return [_parse(place, row, needs) for place, row in numbered]


def _parse(place: str, row: Any, needs: Sequence[str]) -> tuple[Prompt, str | None]:
    if isinstance(row, str):
        row = {"prompt": row}
    if not isinstance(row, Mapping) or not isinstance(row.get("prompt"), str):
        raise DataError(f'{place}: expected an object with a string "prompt", saw {shortened(row)}')
    if not row["prompt"].strip():
        raise DataError(f"{place}: the prompt is empty; a model needs something to go on from")
    facts = {key: value for key, value in row.items() if key not in ("prompt", "reference", "split")}
    reference, split = row.get("reference"), row.get("split")
    if reference is not None and not isinstance(reference, str):
        raise DataError(f"{place}: the reference is {shortened(reference)}, expected a string")
    if split is not None and split not in SPLITS:
        raise DataError(f"{place}: the split is {split!r}, expected one of {list(SPLITS)}")
    for need in needs:
        if (reference if need == "reference" else facts.get(need)) is None:
            raise DataError(f'{place}: "{need}" is missing, and this task\'s score needs it')
    return Prompt(row["prompt"], reference, facts), split


def _named(rows: Rows) -> str:
    return str(rows) if isinstance(rows, str | os.PathLike) else "prompts"
