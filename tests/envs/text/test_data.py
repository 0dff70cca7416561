"""The user's prompts: files, lists and splits."""

import json

import numpy as np
import pytest

from textrlhf.envs.text import Prompt
from textrlhf.envs.text.data import DataError, load_prompts


def texts(rows, split="train"):
    return [prompt.text for prompt in load_prompts(rows, split)]


def test_strings_and_objects():
    assert load_prompts(["one", {"prompt": "two", "reference": " three", "topic": "x", "rank": 2}], "train") == [
        Prompt("one"),
        Prompt("two", " three", {"topic": "x", "rank": 2}),
    ]


def test_a_file_is_read_by_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('\n{"prompt": "one"}\n   \n{"prompt": " two "}\n', encoding="utf-8")
    assert texts(path) == texts(str(path)) == ["one", " two "]  # spaces are the user's


@pytest.mark.parametrize("text", ["a\u2028b", "a\x85b", "a\x0cb", "é 😀", "a\\nb"])
def test_a_string_may_contain_unicode_line_ends(tmp_path, text):
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"prompt": text, "k": i}, ensure_ascii=text == "a\x0cb") for i in range(2)]
    path.write_bytes(("\n".join(lines) + "\n").encode())
    assert texts(path) == [text, text]


def test_windows_line_ends(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"prompt": "one"}\r\n{"prompt": "two"}\r\n'.encode("utf-8-sig"))
    assert texts(path) == ["one", "two"]


def test_every_tenth_row_is_held_out_by_default():
    rows = [f"p{i}" for i in range(25)]
    assert texts(rows, "heldout") == ["p9", "p19"]
    assert texts(rows) == [row for row in rows if row not in ("p9", "p19")]


@pytest.mark.parametrize("n", [1, 9])
def test_few_rows_serve_both_splits(n):
    rows = [f"p{i}" for i in range(n)]
    assert texts(rows) == texts(rows, "heldout") == rows


def test_rows_that_name_their_split():
    rows = [{"prompt": "one", "split": "heldout"}, "two", {"prompt": "three", "split": "train"}]
    assert texts(rows) == ["two", "three"]
    assert texts(rows, "heldout") == ["one"]
    with pytest.raises(DataError, match="prompts has no prompt in the split 'heldout'"):
        texts([{"prompt": "one", "split": "train"}], "heldout")


def test_rows_by_split(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "three"}\n')
    rows = {"train": ["one", "two"], "heldout": path}
    assert texts(rows) == ["one", "two"]
    assert texts(rows, "heldout") == ["three"]
    with pytest.raises(DataError, match=r"expected 'heldout' among them"):
        texts({"train": ["one"]}, "heldout")


def test_needed_fields():
    rows = [{"prompt": "one", "reference": "x", "answer": 0}]
    assert load_prompts(rows, "train", ("reference", "answer"))  # a fact may be 0
    with pytest.raises(DataError, match=r'prompts\[0\]: "reference" is missing'):
        load_prompts([{"prompt": "one", "answer": 3}], "train", ("reference", "answer"))
    with pytest.raises(DataError, match=r'prompts\[0\]: "answer" is missing'):
        load_prompts([{"prompt": "one", "reference": "x", "answer": None}], "train", ("answer",))


def test_long_rows_are_shortened_in_errors():
    with pytest.raises(DataError) as caught:
        load_prompts([{"text": "x" * 1000}], "train")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("rows", [[[1, 2]], [{"prompt": [1, 2]}], np.array([[1, 2]])])
def test_token_ids_are_refused_with_the_remedy(rows):
    with pytest.raises(DataError, match=r"prompts\[0\]: .* are token ids: expected text, such as tokenizer.decode"):
        texts(rows)


@pytest.mark.parametrize("rows", [5, None, b"a2", {"a2"}, (row for row in ["a2"]), {"train": {"a2": 1}}])
def test_what_is_no_list_is_refused(rows):
    """Guards against a bare TypeError, and against a generator, which gymnasium.make cannot copy."""
    with pytest.raises(DataError, match="prompts is .*: expected the path of a data file .*, or a list"):
        texts(rows)


def test_half_a_character_is_refused_with_its_place():
    with pytest.raises(DataError, match=r"prompts\[1\]: .* has half of a surrogate pair"):
        texts(["a2", "\ud83d"])
