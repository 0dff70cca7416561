"""Parquet files, folders and ids of Hugging Face's `datasets`: on local files where it is installed."""

from __future__ import annotations

import importlib.util

import pytest

from textrlhf.records import hub
from textrlhf.records.jsonl import DataError
from textrlhf.records.rows import read_rows

INSTALLED = importlib.util.find_spec("datasets") is not None
MESSAGES = [{"role": "user", "content": "Hi"}]
ROWS = [{"prompt": MESSAGES, "label": True, "margin": None}, {"prompt": MESSAGES, "label": False, "margin": 0.5}]


@pytest.mark.parametrize(
    ("source", "is_id"),
    [
        ("owner/name", True),
        ("owner/name:config", True),
        ("owner/name-2.1", True),
        ("name", False),
        ("owner/prefs.jsonl", False),
        ("a/b/c", False),
        ("./name", False),
        ("/name", False),
    ],
)
def test_hub_ids(source, is_id, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub.is_id(source) is is_id
    (tmp_path / "owner").mkdir()  # now it is a misspelt path
    assert not hub.is_id(source)


@pytest.mark.skipif(INSTALLED, reason="datasets is installed")
@pytest.mark.parametrize("name", ["owner/name", "a.parquet"])
def test_what_to_install(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=rf"{name}', .*which .*needs \w+: pip install 'textrlhf\[hub\]', or save"):
        read_rows(name)


@pytest.mark.skipif(not INSTALLED, reason="needs the extra hub (pip install 'textrlhf[hub]')")
@pytest.mark.filterwarnings("default")
class TestLocal:
    """What `datasets` has saved."""

    def test_folder(self, tmp_path):
        import datasets

        datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "one")
        assert read_rows(tmp_path / "one") == [(f"{tmp_path / 'one'}, row {i}", ROWS[i - 1]) for i in (1, 2)]
        parts = {name: datasets.Dataset.from_list([row]) for name, row in zip(("train", "test"), ROWS, strict=True)}
        datasets.DatasetDict(parts).save_to_disk(tmp_path / "two")
        assert [row["split"] for _, row in read_rows(tmp_path / "two")] == ["train", "heldout"]

    def test_parquet(self, tmp_path):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
        assert [row for _, row in read_rows(tmp_path / "a.parquet")] == ROWS

    def test_damaged(self, tmp_path):
        (tmp_path / "a.parquet").write_bytes(b"PAR1")
        with pytest.raises(DataError, match="a.parquet', which cannot be read"):
            read_rows(tmp_path / "a.parquet")
