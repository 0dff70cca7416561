"""Rows from files of every kind: the same rows, their places, and one clear error for what is wrong with a file."""

from __future__ import annotations

import gzip
import json

import pytest

from textrlhf.records.jsonl import DataError
from textrlhf.records.rows import content_hash, read_rows, split_named

ROWS = [{"prompt": 'Hi,\n"you"', "label": 1}, {"prompt": "größer", "label": 0}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CSV = 'prompt,label\n"Hi,\n""you""",1\ngrößer,0\n'
FILES = {
    "a.jsonl": (LINES, ["line 1", "line 2"]),
    "rows.txt": (LINES, ["line 1", "line 2"]),
    "array.json": (json.dumps(ROWS, indent=1), ["row 1", "row 2"]),
    "lines.json": ("\n" + LINES, ["line 2", "line 3"]),
    "a.csv": (CSV, ["line 2", "line 4"]),
    "semicolons.csv": (CSV.replace(",1", ";1").replace(",0", ";0").replace("prompt,", "prompt;"), ["line 2", "line 4"]),
    "windows.csv": ("\ufeff" + CSV.replace("\n", "\r\n").replace(",\r\n", ",\n"), ["line 2", "line 4"]),
    "a.tsv": (CSV.replace(",1", "\t1").replace(",0", "\t0").replace("prompt,", "prompt\t"), ["line 2", "line 4"]),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_each_kind_gives_the_same_rows(tmp_path, name, packed):
    text, places = FILES[name]
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert read_rows(path, values=("label",)) == [
        (f"{path}, {place}", row) for place, row in zip(places, ROWS, strict=True)
    ]


def test_an_object_of_splits(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"train_prefs": [{"a": 1}, {"a": 2, "split": "heldout"}], "test_prefs": [{"a": 3}]}))
    assert read_rows(path) == [
        (f"{path}, train_prefs, row 1", {"a": 1, "split": "train"}),
        (f"{path}, train_prefs, row 2", {"a": 2, "split": "heldout"}),
        (f"{path}, test_prefs, row 1", {"a": 3, "split": "heldout"}),
    ]
    names = ("train", "train_sft", "test", "validation", "valid1", "dev", "all", None)
    assert [split_named(name) for name in names] == ["train"] * 2 + ["heldout"] * 4 + [None] * 2


class TestCells:
    """What a cell of a table is."""

    def cells(self, tmp_path, text):
        path = tmp_path / "a.csv"
        path.write_text(text)
        return [row for _, row in read_rows(path, values=("label", "rating", "tie"))]

    def test_numbers_and_truth_values(self, tmp_path):
        assert self.cells(tmp_path, "label,rating,tie\ntrue,3,true\nFalse,-2.5,both bad\n") == [
            {"label": True, "rating": 3, "tie": True},
            {"label": False, "rating": -2.5, "tie": "both bad"},
        ]

    def test_numbers_that_are_texts(self, tmp_path):
        """Columns of any name were numbers if all of their cells looked like numbers."""
        row = {"system": "1984", "sample0": "true", "rater": "7", "completion": "[1, 2]", "note": '{"a": 1}'}
        text = 'system,sample0,rater,completion,note\n1984,true,7,"[1, 2]","{""a"": 1}"\n'
        assert self.cells(tmp_path, text) == [row]
        assert self.cells(tmp_path, "prompt,completion,label\n6·7,42,1\n,43,\n") == [
            {"prompt": "6·7", "completion": "42", "label": 1},
            {"prompt": "", "completion": "43", "label": None},
        ]

    def test_messages(self, tmp_path):
        messages = [{"role": "user", "content": "Hi"}]
        cell = json.dumps(messages).replace('"', '""')
        assert self.cells(tmp_path, f'prompt,note\n"{cell}",[x\nHi,\n') == [
            {"prompt": messages, "note": "[x"},
            {"prompt": "Hi", "note": None},
        ]


BAD = {
    "empty": ("a.csv", b"\n", "a.csv is empty: expected a table"),
    "no header": ("a.csv", b"hi,1\nyo,0\n", "line 1: '1' is no name of a column: the first line"),
    "a column twice": ("a.csv", b"prompt,prompt\na,b\n", "line 1: two columns are named 'prompt'"),
    "a cell too few": ("a.csv", b"a,b\n1,2\n3\n", r"line 3: 1 cells for 2 columns \(a, b\): put text with"),
    "an open quote": ("a.csv", b'a,b\n1,2\n"x,2\n', "line 3: unexpected end of data; put text"),
    "Latin 1": ("a.csv", "prompt,label\ngrößer,1\n".encode("cp1252"), 'not UTF-8 .*"CSV UTF-8".*cp1252'),
    "UTF-16": ("a.csv", "prompt,label\na,1\n".encode("utf-16"), "not UTF-8 .*utf-16"),
    "no JSON": ("a.json", b"[{'a': 1}]", "a.json is not JSON"),
    "no rows": ("a.json", b"3", "a.json is 3: expected an array of rows"),
    "no gzip": ("a.jsonl.gz", b'{"a": 1}', "a.jsonl.gz is no whole gzip file"),
    "half a gzip": ("a.jsonl.gz", gzip.compress(b'{"a": 1}')[:-9], "a.jsonl.gz is no whole gzip file"),
    "not a line": ("a.jsonl", b"prompt,label\n", "line 1: not JSON"),
}


@pytest.mark.parametrize("name", BAD)
def test_errors(tmp_path, name):
    file, content, message = BAD[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path / file)


def test_no_such_file_and_no_data(tmp_path):
    with pytest.raises(DataError, match="^pairs is 'nowhere.csv', where there is no file: expected a .jsonl"):
        read_rows("nowhere.csv", "pairs")
    with pytest.raises(DataError, match="a folder without data"):
        read_rows(tmp_path)
    with pytest.raises(DataError, match="no file"):
        read_rows(tmp_path / "a.parquet")


def test_hash_of_the_content(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a/x", "a/y"):
        (tmp_path / name).write_text("1")
    before = content_hash(tmp_path / "a")
    assert content_hash(tmp_path / "a/x") == content_hash(tmp_path / "a/y")
    (tmp_path / "a/y").write_text("2")
    assert content_hash(tmp_path / "a") != before
    (tmp_path / "a/y").write_text("1")
    assert content_hash(tmp_path / "a") == before
    (tmp_path / "a/y").rename(tmp_path / "a/z")
    assert content_hash(tmp_path / "a") != before
