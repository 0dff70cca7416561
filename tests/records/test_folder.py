"""A folder or a file is there whole or not at all, wherever its writer dies."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from textrlhf.records.checkpoint import load_checkpoint, save_checkpoint
from textrlhf.records.folder import recovered, whole_folder, write_file

OLD = {"a.txt": "old", "b.txt": "old too"}
NEW = {"a.txt": "new", "c.txt": "another"}


class Killed(BaseException):
    """Stands for a process that is no more: the library must not clean up after it."""


def write(path: Path, files: dict[str, str]) -> None:
    with whole_folder(path) as folder:
        for name, text in files.items():
            (folder / name).write_text(text)


def read(path: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in path.iterdir()}


def die_before(monkeypatch: pytest.MonkeyPatch, countdown: int) -> list[str]:
    """Kill the writer before its `countdown`-th file operation (a write: halfway); return those it got to do."""
    done: list[str] = []

    def counted(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(done) == countdown:
                if name == "write_bytes":
                    operation(args[0], args[1][: len(args[1]) // 2])
                raise Killed
            done.append(name)
            return operation(*args, **kwargs)

        return call

    for owner, name in (
        (Path, "rename"),
        (Path, "replace"),
        (Path, "mkdir"),
        (Path, "write_bytes"),
        (os, "fsync"),
        (shutil, "rmtree"),
    ):
        monkeypatch.setattr(owner, name, counted(name, getattr(owner, name)))
    return done


def test_error_leaves_the_old_folder_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    write(path, OLD)
    with pytest.raises(ZeroDivisionError), whole_folder(path) as folder:
        (folder / "a.txt").write_text("half")
        _ = 1 / 0
    assert read(path) == OLD
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no limits")
def test_full_disk_leaves_the_old_content_and_is_named(tmp_path: Path) -> None:
    """Files are limited in size, which fails as a full disk does; safetensors hid it in an error of its own."""
    import resource

    path = tmp_path / "checkpoint"
    save_checkpoint(path, {"step": 1}, {})
    write_file(tmp_path / "file", "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        for state, tensors in (({"step": 2}, {"model": {"weight": torch.zeros(100)}}), ({"text": "long" * 100}, {})):
            with pytest.raises(OSError, match="File too large: .*/checkpoint'"):
                save_checkpoint(path, state, tensors)
        with pytest.raises(OSError, match="File too large: .*/file'"):
            write_file(tmp_path / "file", "new" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_checkpoint(path).state == {"step": 1}
    assert (tmp_path / "file").read_text() == "old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["checkpoint", "file"]


@pytest.mark.parametrize("predecessor", [True, False], ids=["over an old folder", "first of its name"])
def test_killed_writer_leaves_the_old_or_the_new_folder(predecessor: bool, tmp_path: Path) -> None:
    """Guards the order of the operations: no moment may lose both folders or show a half-filled one."""
    outcomes, operations = set(), 0
    while True:
        path = tmp_path / str(operations) / "checkpoint"
        path.parent.mkdir()
        if predecessor:
            write(path, OLD)
        with pytest.MonkeyPatch.context() as patch:
            done = die_before(patch, operations)
            try:
                write(path, NEW)
            except Killed:
                finished = False
            else:
                finished = True
        folder = recovered(path)
        if folder.exists():
            content = read(folder)
            assert content in (OLD, NEW), done
        else:
            assert not predecessor, done
            content = None
        outcomes.add(content == NEW)
        write(path, {"after.txt": "the kill"})  # leftovers must not matter
        assert read(path) == {"after.txt": "the kill"}
        assert [entry.name for entry in path.parent.iterdir()] == ["checkpoint"], done
        if finished:
            break
        operations += 1
    assert outcomes == {True, False}
    assert operations > 6  # two files synced, the folder, one or two renames, …: the kills were spread over them


def test_recovered_restores_a_folder_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint"
    write(path, OLD)
    rename, calls = Path.rename, []

    def second_fails(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "rename", second_fails)
        write(path, NEW)
    assert not path.exists()  # the moment this test is about
    assert read(recovered(path)) == OLD
    assert read(path) == OLD


def test_recovered_keeps_an_existing_folder(tmp_path: Path) -> None:
    """A predecessor that was not yet deleted must not replace its successor."""
    path = tmp_path / "checkpoint"
    write(path, NEW)
    shutil.copytree(path, tmp_path / ".checkpoint.previous")
    (tmp_path / ".checkpoint.previous" / "a.txt").write_text("old")
    assert read(recovered(path)) == NEW
    assert recovered(tmp_path / "never written") == tmp_path / "never written"


def test_files_are_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a power cut can leave a folder of empty files under the final name."""
    events: list[Any] = []
    fsync, rename = os.fsync, Path.rename

    def note_fsync(descriptor: int) -> None:
        events.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def note_rename(self: Path, target: Path) -> Path:
        events.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "rename", note_rename)
    write(tmp_path / "checkpoint", NEW)
    before = events[: events.index("rename")]
    written = [tmp_path / "checkpoint", *(tmp_path / "checkpoint").iterdir()]
    assert {path.stat().st_ino for path in written} <= set(before)
    assert tmp_path.stat().st_ino in events[events.index("rename") :]  # and the new name itself


def test_stale_draft_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.draft").mkdir()
    (tmp_path / ".checkpoint.draft" / "stale.txt").write_text("of a killed writer")
    write(tmp_path / "checkpoint", NEW)
    assert read(tmp_path / "checkpoint") == NEW


def test_write_file_is_atomic(tmp_path: Path) -> None:
    """Killed at any operation, `write_file` leaves the old content or the new."""
    operations, contents = 0, set()
    while True:
        path = tmp_path / str(operations) / "metrics.jsonl"
        write_file(path, "old")
        with pytest.MonkeyPatch.context() as patch:
            die_before(patch, operations)
            try:
                write_file(path, "new")
            except Killed:
                finished = False
            else:
                finished = True
        contents.add(path.read_text())
        if finished:
            break
        operations += 1
    assert contents == {"old", "new"}
    assert path.read_text() == "new"
    assert [entry.name for entry in path.parent.iterdir()] == ["metrics.jsonl"]


def test_write_file_makes_parents(tmp_path: Path) -> None:
    write_file(tmp_path / "deep" / "text", "größer")
    write_file(tmp_path / "deep" / "bytes", b"\x00\xff")
    assert (tmp_path / "deep" / "text").read_bytes() == "größer".encode()
    assert (tmp_path / "deep" / "bytes").read_bytes() == b"\x00\xff"
