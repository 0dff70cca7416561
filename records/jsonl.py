"""JSONL files: one JSON value per line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .checks import SPLITS
from .folder import write_file


class DataError(ValueError):
    """Data that cannot be used; the message names the place."""


def read_jsonl(
    path: str | os.PathLike[str], name: str = "path", expected: str = "one JSON value per line"
) -> list[tuple[str, object]]:
    """Read the values with their places, "file, line 3"; blank lines are skipped.

    `name` (the caller's argument) and `expected` are used in errors.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{name} is {str(path)!r}, where there is no file: expected a JSONL file, {expected}")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # JSON strings may contain other line separators
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text ({error}): expected a JSONL file, {expected}; save it as UTF-8, or write the "
            "rows of parquet and the like with textrlhf.records.jsonl.write_jsonl"
        ) from None
    return parse_jsonl(lines, str(path), expected)


def parse_jsonl(lines: Iterable[str], name: str, expected: str) -> list[tuple[str, object]]:
    """Parse each line that is not blank, as `read_jsonl` does."""
    rows: list[tuple[str, object]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            rows.append((place, json.loads(line)))
        except (ValueError, RecursionError) as error:  # a number may have too many digits
            raise DataError(f"{place}: not JSON ({error}); expected {expected}") from None
    return rows


def row_split(place: str, row: Mapping[Any, Any]) -> str | None:
    """Return the "split" that a row of data names, if it names one."""
    split = row.get("split")
    if split is not None and split not in SPLITS:
        raise DataError(f"{place}: the split is {shortened(split)}, expected one of {list(SPLITS)}")
    return split


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[object]) -> None:
    """Write one row per line, atomically; DataError if a row is not JSON."""
    lines = []
    for i, row in enumerate(rows):
        try:
            lines.append(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        except (TypeError, ValueError) as error:
            raise DataError(f"rows[{i}] cannot be written as JSON ({error}): saw {shortened(row)}") from None
    # Lone surrogates have no UTF-8 encoding: Python's escape is also JSON's.
    write_file(path, "".join(lines).encode("utf-8", "backslashreplace"))


def shortened(value: object) -> str:
    """A value for an error message, shortened if it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
