"""JSONL: one JSON value a line, each known by its place."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .checks import SPLITS
from .folder import write_file


class DataError(ValueError):
    """Data that cannot be used, and where it is."""


def read_jsonl(
    path: str | os.PathLike[str], name: str = "path", expected: str = "one JSON value a line"
) -> list[tuple[str, object]]:
    """Read each value with its place, "file, line 3"; blank lines hold none.

    `name` is what the caller's user knows the file by, and `expected` what it should hold: both are for the errors.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{name} is {str(path)!r}, where there is no file: expected a JSONL file, {expected}")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # JSON strings may hold other separators
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error}): save it as UTF-8") from None
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
        except (ValueError, RecursionError) as error:  # not only JSONDecodeError: a number may have too many digits
            raise DataError(f"{place}: not JSON ({error}); expected {expected}") from None
    return rows


def row_split(place: str, row: Mapping[Any, Any]) -> str | None:
    """Return the "split" that a row of data names, if it names one."""
    split = row.get("split")
    if split is not None and split not in SPLITS:
        raise DataError(f"{place}: the split is {shortened(split)}, expected one of {list(SPLITS)}")
    return split


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[object]) -> None:
    """Write each row as a line; the file is there whole or, where a row is no JSON, as it was."""
    lines = []
    for i, row in enumerate(rows):
        try:
            lines.append(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        except (TypeError, ValueError) as error:
            raise DataError(f"rows[{i}] cannot be written as JSON ({error}): saw {shortened(row)}") from None
    # Half a surrogate pair has no UTF-8: Python's escape for it is JSON's too.
    write_file(path, "".join(lines).encode("utf-8", "backslashreplace"))


def shortened(value: object) -> str:
    """Show a value in an error, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
