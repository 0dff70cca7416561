"""Folders and files that are either there whole or not at all.

A writer fills a temporary sibling, syncs it, and renames it into place. A reader that finds a folder missing
whose predecessor was set aside (the writer died between two renames) takes the predecessor back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder to fill; when the block ends without an error it becomes `path`."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    for file in draft.iterdir():
        _sync(file)
    _sync(draft)
    aside = _aside(target)
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
    draft.rename(target)
    _sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def check_replaceable(path: str | os.PathLike[str], mark: str, subfolders: str = "") -> None:
    """Raise FileExistsError unless `path` may be overwritten: missing, empty, or a folder of the same kind.

    That is a folder with the file `mark` and otherwise nothing but files, and folders that match `subfolders`.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: name a folder")
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    known = all(inside.is_file() or (subfolders and inside.match(subfolders)) for inside in names)
    if names and not (known and (folder / mark).is_file()):
        raise FileExistsError(f"{folder} holds {names[0].name} and more: name a new folder, or one inside it")


def recovered(path: str | os.PathLike[str]) -> Path:
    """Return `path`, first restoring what a killed writer had set aside."""
    target = Path(path)
    aside = _aside(target)
    if not target.exists() and aside.exists():
        aside.rename(target)
    return target


def write_file(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.draft")
    draft.write_bytes(content.encode() if isinstance(content, str) else content)
    _sync(draft)
    draft.replace(target)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
