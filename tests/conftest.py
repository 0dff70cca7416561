"""Settings of every test, and the record of a long run."""

import json
import os
import platform
import time
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # two test processes with a thread per core each wait for one another
RECORD = "TEXTRLHF_TEST_RECORD"  # names a JSON file to which `make test-long` writes its result


@pytest.fixture(autouse=True)
def every_checkpoint(monkeypatch):
    """Which checkpoints a run saves depends on the clock; tests of anything else count on all of them."""
    monkeypatch.setattr("textrlhf.records.saving_budget.ALLOWANCE", float("inf"))


def pytest_terminal_summary(terminalreporter, exitstatus):
    path = os.environ.get(RECORD)
    if not path or os.environ.get("PYTEST_XDIST_WORKER"):
        return
    stats = terminalreporter.stats
    outcomes = {report.nodeid: name for name in ("passed", "failed", "error") for report in stats.get(name, ())}
    record = {
        "command": "make test-long",
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "exit_status": int(exitstatus),
        "tests": dict(sorted(outcomes.items())),
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(record, indent=1) + "\n")
