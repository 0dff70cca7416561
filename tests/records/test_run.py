"""A run's folder: its lock, whose it is, and which checkpoints are kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from textrlhf.records.run import MODEL, Run

HOLDER = """
import sys, time
from textrlhf.records.run import Run
with Run(sys.argv[1]).writing():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is locked there")
def test_lock_ends_with_the_process_that_holds_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FileExistsError, match=f"in use: process {holder.pid} is training there"):
            Run(tmp_path).writing().__enter__()
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    nested = pytest.raises(FileExistsError, match=f"process {os.getpid()}, this one")
    with Run(tmp_path).writing() as run, run.writing(), nested:
        Run(tmp_path).writing().__enter__()
    with Run(tmp_path).writing():
        pass


def test_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems have none; training there must not fail."""

    def unsupported(*args: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("textrlhf.records.lock.fcntl.flock", unsupported)
    with Run(tmp_path).writing():
        pass


def test_run_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file: name a folder"):
        Run(tmp_path / "file").writing().__enter__()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", {"agent": "ppo", "env": {"id": "A-v0"}}, "already holds a run of something else"),
        ("config.json", {"model_type": "llama"}, "already holds a run of something else"),
        ("config.json", [1], "a config.json that is no run's"),
        ("state.json", {}, "is a saved agent, not a run"),
    ],
)
def test_folder_of_something_else_is_refused(file: str, content: object, said: str, tmp_path: Path) -> None:
    """Also a Hugging Face model's, whose config.json would be overwritten."""
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(FileExistsError, match=said):
        Run(tmp_path).refuse_another(MODEL)
    assert json.loads((tmp_path / file).read_text()) == content


def test_interrupted_checkpoints_push_out_no_scheduled_one(tmp_path: Path) -> None:
    run = Run(tmp_path)

    def steps_after(*saved: int, interrupted: bool = False) -> list[int]:
        for step in saved:
            run.save(step, {"interrupted": True} if interrupted else {}, {})
        return run.steps()

    assert steps_after(10, 20, 30) == [20, 30]
    assert steps_after(33, 36, interrupted=True) == [20, 30, 36]
    assert steps_after(40) == [30, 40]
