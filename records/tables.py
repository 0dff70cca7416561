"""Tables of text, .csv and .tsv, as rows.

Cells are text. Only those of the columns that the caller names as `values` become what they are in JSON: numbers, true
and false, lists, objects; and in any column chat messages do. An empty cell of a column that is named like a text stays
empty, any other is missing (None).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from .jsonl import DataError, shortened

TEXTS = re.compile(
    r"(?:.*_)?(?:prompt|completion|response|chosen|rejected|text|instruction|input|output|question|answer|query|"
    r"reference|context|history|summary|article|post|title)(?:[_ ]?(?:\d|[a-z]))?",
    re.IGNORECASE,
)
MESSAGES = ({"role", "content"}, {"from", "value"})  # the keys of a chat message
WORDS = {"True": True, "False": False, "true": True, "false": False}
LARGEST = 2**31 - 1  # characters of a cell; the module's own limit is 131,072


def parse_table(
    text: str, name: str, delimiter: str | None = None, values: Collection[str] = ()
) -> list[tuple[str, dict[str, Any]]]:
    """Parse a table whose first line names the columns; without a delimiter it is a comma, or what that line has."""
    header = text.lstrip("\r\n").split("\n", 1)[0]
    if not header.strip():
        raise DataError(f"{name} is empty: expected a table, its first line the names of the columns")
    delimiter = delimiter or max(",;\t", key=lambda one: (header.count(one), one == ","))
    lines = list(_lines(text, name, delimiter))
    columns = _columns(*lines[0], name)
    for place, cells in lines[1:]:
        if len(cells) != len(columns):
            raise DataError(
                f"{place}: {len(cells)} cells for {len(columns)} columns ({', '.join(columns)}): put text with "
                f'{delimiter!r}, " or a line break in "double quotes", and write " in it twice'
            )
    return [
        (place, {column: _read(cell, column, values) for column, cell in zip(columns, cells, strict=True)})
        for place, cells in lines[1:]
    ]


def _lines(text: str, name: str, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    """Each line with its place; a quoted cell may go over several, and the first one counts."""
    before = csv.field_size_limit(LARGEST)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        at = 1
        for cells in reader:
            if cells:
                yield f"{name}, line {at}", cells
            at = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f'{name}, line {at}: {error}; put text in "double quotes", and write " in it twice') from None
    finally:
        csv.field_size_limit(before)


def _columns(place: str, header: Sequence[str], name: str) -> list[str]:
    columns = [column.strip() for column in header]
    strange = next((column for column in columns if not column or _value(column) is not None or len(column) > 60), None)
    if strange is not None and not (columns[0] == "" and strange == "" and columns.count("") == 1):  # pandas' index
        raise DataError(
            f"{place}: {shortened(strange)} is no name of a column: the first line of {name} has to name the columns, "
            "such as prompt,chosen,rejected"
        )
    if twice := next((column for column in columns if columns.count(column) > 1), None):
        raise DataError(f"{place}: two columns are named {twice!r}: rename one")
    return columns


def _read(cell: str, column: str, values: Collection[str]) -> Any:
    if not cell.strip():
        return cell if TEXTS.fullmatch(column) and column not in values else None
    if column not in values and cell.lstrip()[0] not in "[{":
        return cell
    value = _value(cell)
    return cell if value is None or (column not in values and not _are_messages(value)) else value


def _are_messages(value: Any) -> bool:
    messages = value if isinstance(value, list) else [value]
    return bool(messages) and all(
        isinstance(one, Mapping) and any(keys <= one.keys() for keys in MESSAGES) for one in messages
    )


def _value(cell: str) -> Any:
    """A cell as a number, truth value, list or object; None if it is none of these."""
    cell = cell.strip()
    if cell in WORDS:
        return WORDS[cell]
    if cell[:1] not in "-0123456789[{" or not cell:
        return None
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return None
