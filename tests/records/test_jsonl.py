"""JSONL is read with each value's place, and written whole or not at all."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textrlhf.records.jsonl import DataError, read_jsonl, shortened, write_jsonl

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def test_values_come_with_their_line(tmp_path: Path) -> None:
    """Blank lines count: the number is the one an editor shows."""
    path = tmp_path / "rows.jsonl"
    path.write_bytes('\n{"a": 1}\r\n   \n[2]\n"x\u2028y\x85z"\nnull'.encode("utf-8-sig"))
    assert read_jsonl(path) == read_jsonl(str(path))
    assert read_jsonl(path) == [
        (f"{path}, line 2", {"a": 1}),
        (f"{path}, line 4", [2]),
        (f"{path}, line 5", "x\u2028y\x85z"),
        (f"{path}, line 6", None),
    ]


@pytest.mark.parametrize("line", ["{'a': 1}", '{"a": 1', "9" * 5000, "[" * 200_000], ids=["quotes", "cut", "9", "["])
def test_invalid_line_is_reported(tmp_path: Path, line: str) -> None:
    """Also by the two faults that json does not call a JSONDecodeError."""
    path = tmp_path / "rows.jsonl"
    path.write_text(f"1\n\n{line}\n2\n")
    with pytest.raises(DataError, match=f"{re.escape(str(path))}, line 3: not JSON .*; expected one pair a line"):
        read_jsonl(path, expected="one pair a line")


def test_missing_or_binary_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^pairs is '.*', where there is no file: expected a JSONL file, one JSON"):
        read_jsonl(tmp_path / "nowhere.jsonl", "pairs")
    with pytest.raises(DataError, match="where there is no file"):
        read_jsonl(tmp_path)
    (tmp_path / "latin").write_bytes(b'"caf\xe9"\n')
    with pytest.raises(DataError, match=r"latin is not UTF-8 text .*: expected a JSONL file, .*; save it as UTF-8"):
        read_jsonl(tmp_path / "latin")


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(VALUES, max_size=5))
def test_write_and_read_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[object]) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "deep" / "rows.jsonl"
    write_jsonl(path, rows)
    assert [row for _, row in read_jsonl(path)] == rows
    assert path.read_bytes().count(b"\n") == len(rows)


def test_unicode_and_lone_surrogates_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, ["größer 😀", "cut \ud83d"])
    assert "größer 😀" in path.read_text("utf-8")
    assert [row for _, row in read_jsonl(path)] == ["größer 😀", "cut \ud83d"]
    assert json.loads(path.read_bytes().split(b"\n")[1]) == "cut \ud83d"  # for other readers too


@pytest.mark.parametrize("bad", [math.nan, {"a": math.inf}, object(), {("a",): 1}])
def test_invalid_row_leaves_the_old_file(tmp_path: Path, bad: object) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, ["old"])
    with pytest.raises(DataError, match=r"rows\[1\] cannot be written as JSON \(.*saw"):
        write_jsonl(path, (row for row in ["new", bad]))
    assert [row for _, row in read_jsonl(path)] == ["old"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


def test_long_values_are_shortened() -> None:
    assert shortened({"a": 1}) == "{'a': 1}"
    assert len(shortened("x" * 1000)) == 78
