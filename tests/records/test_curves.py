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


def ink(picture: np.ndarray) -> np.ndarray:
    """Dark pixels in each of the 2×3 panels."""
    rows = np.array_split(picture, 2)
    return np.array([[(part < 200).sum() for part in np.array_split(row, 3, axis=1)] for row in rows])


def test_every_panel_is_drawn_from_its_own_series(tmp_path: Path) -> None:
    empty = ink(drawn(tmp_path / "empty", []))
    for bit in range(3):  # three pictures tell six panels apart: panel k is filled where k + 1 has the bit
        filled = np.array([bool((k + 1) >> bit & 1) for k in range(len(PANELS))])
        names = [names[0] for full, (_, names) in zip(filled, PANELS, strict=True) if full]
        rows: list[dict[str, float | None]] = [{"step": t} | {n: math.sin(t) for n in names} for t in range(40)]
        gained = (ink(drawn(tmp_path / str(bit), rows)) - empty).ravel()
        assert np.array_equal(gained > 300, filled), gained


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
