"""Rows of data from files of every kind that people keep them in.

.jsonl, .ndjson    one JSON value a line, as does any other file without an ending of this list
.json              an array of rows, or {"train": [rows], "test": [rows]}
.csv, .tsv         a table whose first line names the columns; see `tables`
each also with .gz
.parquet           with the extra "hub", as the next two; see `hub`
a folder           written by `save_to_disk` of Hugging Face's `datasets`, or one of data files
owner/name         a data set of the hub, owner/name:config with a configuration
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

from . import hub
from .jsonl import DataError, parse_jsonl, shortened
from .tables import parse_table

Rows = list[tuple[str, object]]  # (place, row): the place is for errors

HELD_OUT = ("heldout", "test", "valid", "val", "dev", "eval")  # beginnings of the names of splits
COMPRESSED = ".gz"


def read_rows(
    source: str | os.PathLike[str],
    name: str = "path",
    expected: str = "rows of JSON, one value a line",
    values: Collection[str] = (),
) -> Rows:
    """Read the rows of a file, a folder or a hub id with their places, such as "prefs.csv, line 3".

    A source that consists of splits gives each row without a "split" that of its part, "train" or "heldout". `name`
    (the caller's argument) and `expected` are used in errors, which are all `DataError`. `values` are the columns of a
    table that hold numbers, truth values, lists or objects; all others are text, or chat messages.
    """
    path = Path(source)
    if hub.is_folder(path) or hub.is_id(str(source)) or path.suffix == ".parquet":
        parts = hub.read(str(source), name)
        return [
            row for part, rows in parts for row in _of_split(f"{source}, {part}" if part else str(source), part, rows)
        ]
    if not path.is_file():
        raise DataError(
            f"{name} is {str(path)!r}, where there is no file: expected a .jsonl, .json, .csv, .tsv or .parquet file, "
            f"a folder of `datasets`, or a hub id owner/name, with {expected}"
        )
    kind = (path.with_suffix("") if path.suffix == COMPRESSED else path).suffix.lower()
    if kind in (".csv", ".tsv"):
        return list(parse_table(_text(path, "a table"), str(path), "\t" if kind == ".tsv" else None, values))
    text = _text(path, expected)
    rows = _json_rows(text, path) if kind == ".json" else None
    # JSON strings may contain other line separators than \n.
    return parse_jsonl(text.split("\n"), str(path), expected) if rows is None else rows


def content_hash(source: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file, of all files of a folder with their names, or of the rows of a hub's data set."""
    path, found = Path(source), hashlib.sha256()
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if path.is_dir():
        for file in sorted(file for file in path.rglob("*") if file.is_file()):
            found.update(f"{file.relative_to(path)}\0{content_hash(file)}\n".encode())
        return found.hexdigest()
    for _, row in read_rows(source):
        found.update(json.dumps(row, sort_keys=True, default=str).encode("utf-8", "backslashreplace"))
    return found.hexdigest()


def split_named(value: object) -> str | None:
    """The split, "train" or "heldout", that a data set means by a name such as "train_prefs" or "validation"."""
    name = str(value).lower()
    if name.startswith("train"):
        return "train"
    return "heldout" if name.startswith(HELD_OUT) else None


def _text(path: Path, expected: str) -> str:
    try:
        content = path.read_bytes()
        if path.suffix == COMPRESSED:
            content = gzip.decompress(content)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is no whole gzip file ({error}): download it again, or unpack it by hand") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f'{path} is not UTF-8 text ({error}): expected {expected}. Save it as UTF-8: in a spreadsheet as "CSV '
            f'UTF-8", elsewhere with Path(file).write_text(Path(file).read_text("{_guess(content)}"), "utf-8"); a '
            "binary file has to have its usual ending, such as .parquet or .gz"
        ) from None


def _guess(content: bytes) -> str:
    return "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252"


def _json_rows(text: str, path: Path) -> Rows | None:
    """The rows of one JSON value, or None where the file has one value a line, as .json files of the hub often do."""
    lines = text.strip().split("\n", 1)
    try:
        json.loads(lines[0])
    except (ValueError, RecursionError):
        pass
    else:
        if len(lines) > 1:
            return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}): expected an array of rows, or one row a line") from None
    if isinstance(value, list):
        return _of_split(str(path), "", value)
    if isinstance(value, Mapping):
        if value and all(split_named(name) and isinstance(rows, list) for name, rows in value.items()):
            return [row for name, rows in value.items() for row in _of_split(f"{path}, {name}", name, rows)]
        return [(f"{path}, row 1", value)]
    raise DataError(f"{path} is {shortened(value)}: expected an array of rows, or an object of splits")


def _of_split(place: str, name: str, rows: list[object]) -> Rows:
    split = split_named(name) if name else None
    return [
        (
            f"{place}, row {i}",
            {**row, "split": row.get("split") or split} if split and isinstance(row, Mapping) else row,
        )
        for i, row in enumerate(rows, 1)
    ]
