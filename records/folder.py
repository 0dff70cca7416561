"""Atomic writes of folders and files.

A writer fills a temporary sibling, syncs it, and renames it into place. If it is killed between the two renames that
replace a folder, `recovered` restores the old one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder to fill; it becomes `path` when the block ends without an error.

    A full disk is an OSError with `path` as its filename, also if safetensors finds it.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft, aside = target.with_name(f".{target.name}.draft"), _aside(target)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        with file_named(target):
            yield draft
            for file in draft.iterdir():
                sync(file)
            sync(draft)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
        target.rename(aside)
    draft.rename(target)
    sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def file_named(target: Path) -> Iterator[None]:
    """Name the file in errors of writing, which do not do so themselves; those of safetensors become OSErrors."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:  # else it has a message of its own
            error.filename = error.filename or str(target)
        raise
    except SafetensorError as error:
        if code := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(target)) from error
        raise


def check_replaceable(path: str | os.PathLike[str], mark: str, others: str = "*", subfolders: str = "") -> None:
    """Raise FileExistsError unless `path` may be overwritten: missing, empty, or a folder of the same kind.

    That is a folder with the file `mark`, other files only named like `others`, and folders named like `subfolders`.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: name a folder")
    inside = sorted(folder.iterdir(), key=_shown_first) if folder.is_dir() else []
    foreign = [file for file in inside if not _belongs(file, mark, others, subfolders)]
    if inside and (foreign or not (folder / mark).is_file()):
        name = (foreign or inside)[0].name
        raise FileExistsError(f"{folder} exists and contains {name}: name a new folder, for example one inside it")


def _shown_first(file: Path) -> tuple[bool, str]:
    return file.name.startswith("."), file.name


def _belongs(file: Path, mark: str, others: str, subfolders: str) -> bool:
    if file.is_file():
        return file.name == mark or file.match(others)
    return bool(subfolders) and file.match(subfolders)


def recovered(path: str | os.PathLike[str]) -> Path:
    """Return `path`, after restoring the old folder if a writer was killed while replacing it."""
    target = Path(path)
    aside = _aside(target)
    if not target.exists() and aside.exists():
        aside.rename(target)
    return target


def write_file(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a file atomically: a reader sees the old or the new content."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.draft")
    try:
        with file_named(target):
            draft.write_bytes(content.encode() if isinstance(content, str) else content)
            sync(draft)
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.previous")


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
