"""Rows that need Hugging Face's `datasets`: parquet files, folders and data sets of the hub."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .jsonl import DataError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?::[\w.-]+)?")
FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".parquet", ".gz")
REMEDY = "pip install 'textrlhf[hub]', or save the rows as JSONL where it is installed"


def is_folder(path: Path) -> bool:
    """Whether there is a folder."""
    return path.is_dir()


def is_id(source: str) -> bool:
    """Whether a name is a hub id: owner/name, where there is neither such a path nor a folder `owner`."""
    path = Path(source)
    named = HUB_ID.fullmatch(source) is not None and path.suffix not in FILES
    return named and not path.exists() and not path.parent.exists()


def read(source: str, name: str) -> list[tuple[str, list[Any]]]:
    """The rows of each split by its name, "" where there are none."""
    path = Path(source)
    if path.suffix == ".parquet" and not path.is_file():
        raise DataError(f"{name} is {source!r}, where there is no file")
    if path.is_dir() and not any(file.suffix in (*FILES, ".arrow") for file in path.rglob("*")):
        raise DataError(
            f"{name} is {source!r}, a folder without data: expected one with .parquet, .jsonl or .csv files, or a file"
        )
    with _explained(source, name):
        import datasets
        import pyarrow.parquet

        if path.suffix == ".parquet" and path.is_file():
            return [("", pyarrow.parquet.read_table(path).to_pylist())]
        if path.is_dir():
            saved = any((path / file).is_file() for file in ("state.json", "dataset_dict.json"))
            found = datasets.load_from_disk(source) if saved else datasets.load_dataset(source)
        else:
            owner_and_name, _, config = source.partition(":")
            found = datasets.load_dataset(owner_and_name, config or None)
        parts = found.items() if isinstance(found, dict) else [("", found)]
        return [(str(split), list(part)) for split, part in parts]


@contextlib.contextmanager
def _explained(source: str, name: str) -> Iterator[None]:
    """Turn the errors of `datasets` into ours, with the remedy."""
    what = "which" if Path(source).exists() else "where there is no file, and which as a hub id"
    try:
        yield
    except ModuleNotFoundError as error:
        raise DataError(f"{name} is {source!r}, {what} needs {error.name}: {REMEDY}") from None
    except MemoryError:
        raise
    except Exception as error:  # of as many kinds as there are ways of storing and fetching data
        why = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise DataError(
            f"{name} is {source!r}, {what} cannot be read ({why}): expected a parquet file, a folder written by "
            "save_to_disk or with data files, or a data set of the hub, owner/name or owner/name:config"
        ) from error
