"""The picture of a run."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from textrlhf.records.curves import PANELS, draw_curves, draw_frontier
from textrlhf.records.plots import picture, smooth

HEADING = 90  # pixels above the panels


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
        names = [next(reversed(names.values())) for _, names in PANELS[-n:]]
        rows: list[dict[str, float | None]] = [{"step": t} | {m: math.sin(t) for m in names} for t in range(40)]
        shown = drawn(tmp_path / str(n), rows)
        down = -(-n // 3)
        assert shown.shape == pytest.approx((150 * (0.6 + 2.9 * down), 1800), abs=3)
        assert np.array_equal(ink(shown[HEADING:], down) > 1500, np.arange(3 * down) < n)


def test_nulls_leave_a_gap_and_no_error(tmp_path: Path) -> None:
    name = "rollout/return"
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


@pytest.mark.parametrize(("gold", "panels"), [(1.0, 1), (0.5, 2)])
def test_the_score_over_kl_has_a_panel_per_score_that_differs(tmp_path: Path, gold: float, panels: int) -> None:
    rows = [{"step": t, "rollout/kl": t / 9, "rollout/score": t, "rollout/gold": gold * t} for t in range(40)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = draw_frontier(tmp_path, "a run")
    assert path == tmp_path / "frontier.png"
    with Image.open(path) as image:
        assert image.width == pytest.approx(150 * 5.5 * panels, abs=2)


def test_no_score_over_kl_without_kl(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "rollout/score": 1.0}\n')
    assert draw_frontier(tmp_path, "a run") is None
    assert not (tmp_path / "frontier.png").exists()


def test_smoothing_keeps_a_few_values_and_the_start_of_many() -> None:
    assert smooth([1.0, 5.0, 3.0]).tolist() == [1, 5, 3]
    line = smooth(np.arange(40.0))
    assert line[:36] == pytest.approx(np.arange(36))  # a straight line stays one
    assert line[-1] == pytest.approx(37)  # the mean of the last five


def test_a_picture_for_dark_pages_stands_beside_the_light_one(tmp_path: Path) -> None:
    path = picture(tmp_path / "scores.png", lambda figure: figure.subplots(), (3, 2), "a title", dark=True)
    assert {entry.name for entry in tmp_path.iterdir()} == {"scores.png", "scores-dark.png"}
    pages = [np.asarray(Image.open(path.with_stem(name)).convert("L")).mean() for name in ("scores", "scores-dark")]
    assert pages[0] > 200 > 60 > pages[1]
