"""The picture of a run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from textrlhf.records.curves import PANELS, draw_curves


def drawn(folder: Path, rows: list[dict[str, float | None]]) -> np.ndarray:
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = draw_curves(folder, "a run")
    assert path == folder / "curves.png"
    assert {entry.name for entry in folder.iterdir()} == {"metrics.jsonl", "curves.png"}  # no draft is left
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("L"))  # decodes all of it: a cut file raises


def ink(picture: np.ndarray, down: int) -> np.ndarray:
    """Dark pixels in each panel, of which three stand side by side."""
    rows = np.array_split(picture, down)
    return np.array([[(part < 200).sum() for part in np.array_split(row, 3, axis=1)] for row in rows]).ravel()


def test_a_run_has_the_panels_it_has_series_for_and_no_empty_ones(tmp_path: Path) -> None:
    for n in (1, 3, 4, len(PANELS)):
        names = [names[-1] for _, names in PANELS[-n:]]
        rows: list[dict[str, float | None]] = [{"step": t} | {m: math.sin(t) for m in names} for t in range(40)]
        picture = drawn(tmp_path / str(n), rows)
        down = -(-n // 3)
        assert picture.shape[0] == pytest.approx(300 * down, abs=3)
        assert np.array_equal(ink(picture, down) > 1500, np.arange(3 * down) < n)


def test_nulls_leave_a_gap_and_no_error(tmp_path: Path) -> None:
    name = PANELS[0][1][0]
    rows: list[dict[str, float | None]] = [{"step": step, name: 1.0 if step % 3 else None} for step in range(9)]
    filled = [row for row in rows if row[name] is not None]
    assert np.array_equal(drawn(tmp_path / "nulls", rows), drawn(tmp_path / "without", filled))


def test_a_cut_last_line_does_not_stop_the_picture(tmp_path: Path) -> None:
    drawn(tmp_path / "run", [{"step": 1, "rollout/return": 1.0}])
    with (tmp_path / "run" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 2, "roll')
    before = (tmp_path / "run" / "curves.png").read_bytes()
    assert draw_curves(tmp_path / "run", "a run").read_bytes() == before


def test_a_run_without_metrics_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"metrics\.jsonl"):
        draw_curves(tmp_path)
