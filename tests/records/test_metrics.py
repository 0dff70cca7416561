"""metrics.jsonl and TensorBoard: one truth, one row a step, also after a kill."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from textrlhf.records.metrics import MetricLog, read_metrics


def fill(folder: Path, steps: range, start: int = 0, factor: float = 1.0) -> None:
    folder.mkdir(exist_ok=True)
    log = MetricLog(folder, start)
    for step in steps:
        log.write(step, {"rollout/return": factor * step, "train/entropy": 0.5})
    log.close()


def test_rows_round_trip_with_null_for_nan(tmp_path: Path) -> None:
    """NaN in a JSON line is not JSON: other readers would refuse the file."""
    log = MetricLog(tmp_path)
    log.write(10, {"a": 0.1, "b": math.nan, "c": math.inf, "d": 3})
    log.write(20, {"a": -1e-9})
    log.close()
    first, second = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(first, parse_constant=pytest.fail) == {"step": 10, "a": 0.1, "b": None, "c": None, "d": 3}
    assert json.loads(second) == {"step": 20, "a": -1e-9}
    assert read_metrics(tmp_path / "metrics.jsonl") == [json.loads(first), json.loads(second)]


def test_numpy_numbers_are_written(tmp_path: Path) -> None:
    """A user's callback adds `np.float32`, which json refuses: the run must not die of it."""
    log = MetricLog(tmp_path)
    log.write(1, {"a": np.float32(0.5), "b": np.int64(2), "c": np.float64("nan")})
    log.close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "a": 0.5, "b": 2.0, "c": None}]


def test_rows_are_flushed(tmp_path: Path) -> None:
    log = MetricLog(tmp_path)
    log.write(1, {"a": 1.0})
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "a": 1.0}]
    log.close()


def test_reopening_drops_later_rows(tmp_path: Path) -> None:
    fill(tmp_path / "whole", range(1, 7))
    fill(tmp_path / "resumed", range(1, 6))
    fill(tmp_path / "resumed", range(4, 7), start=3)  # killed at 5, resumed from the checkpoint at 3
    whole, resumed = (tmp_path / name / "metrics.jsonl" for name in ("whole", "resumed"))
    assert resumed.read_text() == whole.read_text()


def test_tensorboard_has_the_same_rows(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 6))
    fill(tmp_path, range(4, 7), start=3, factor=10.0)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    seen = [(event.step, event.value) for event in events.Scalars("rollout/return")]
    assert seen == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0), (5, 50.0), (6, 60.0)]
    assert seen == [(row["step"], row["rollout/return"]) for row in read_metrics(tmp_path / "metrics.jsonl")]


def test_incomplete_last_line_is_dropped(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 4))
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    for cut in range(1, len(whole.splitlines()[-1]) + 1):
        path.write_text(whole[:-cut])
        assert [row["step"] for row in read_metrics(path)] == ([1, 2, 3] if cut == 1 else [1, 2]), cut
    fill(tmp_path, range(3, 4), start=2)
    assert path.read_text() == whole


@pytest.mark.parametrize("line", ['{"step": 2, "rollout/ret', "", "7", '{"rollout/return": 1.0}'])
def test_invalid_line_raises_with_its_number(line: str, tmp_path: Path) -> None:
    fill(tmp_path, range(1, 4))
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: not a JSON object with a step"):
        read_metrics(path)
