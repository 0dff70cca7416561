"""Several ratings of a text: each, their mean, and the mean weighted by its precision, against closed forms."""

from __future__ import annotations

import json

import numpy as np
import pytest

from textrlhf.reward_models import Rated, read_judgements
from textrlhf.reward_models.feedback import import_judgements
from textrlhf.reward_models.feedback.raters import precisions

ROWS = [
    {"prompt": "p", "completion": "a", "ratings": [1, 2, 4], "raters": ["x", "y", "z"], "scale": [0, 4]},
    {"prompt": "p", "completion": "b", "rating": 3, "scale": [0, 4], "rater": "x"},
    {"prompt": "p", "completion": "b", "rating": 4, "scale": [0, 4], "rater": "y"},
    {"prompt": "p", "completion": "c", "rating": 0, "scale": [0, 4], "rater": "x"},
]


def read(how):
    return read_judgements(ROWS, None, raters=how)


def test_all_are_kept_with_who_gave_them():
    found = [(one.response, one.rating, one.rater) for one in read("all")]
    assert found == [("a", 1, "x"), ("a", 2, "y"), ("a", 4, "z"), ("b", 3, "x"), ("b", 4, "y"), ("c", 0, "x")]


def test_the_mean_of_a_row_or_of_all_rows():
    assert [(one.response, one.rating, one.rater) for one in read(None)] == [
        ("a", pytest.approx(7 / 3), None),
        ("b", 3, "x"),
        ("b", 4, "y"),
        ("c", 0, "x"),
    ]
    assert [(one.response, one.rating) for one in read("mean")] == [("a", pytest.approx(7 / 3)), ("b", 3.5), ("c", 0)]
    assert {one.weight for one in read("mean")} == {1}


def test_no_mean_over_both_splits():
    """It would train on what is held out."""
    rows = [
        {"prompt": "p", "completion": "a", "rating": r, "scale": [0, 4], "split": s}
        for r, s in ((1, "train"), (3, "heldout"))
    ]
    found = import_judgements(rows, raters="mean")
    assert [found.of(split)[0].rating for split in ("train", "heldout")] == [1, 3]


def test_weights_by_spread_in_closed_form():
    """1 / (s²/n + c) on the unit scale, c the mean of s²/n; a single rating has the usual variance."""
    variances = np.array([np.var([1, 2, 4], ddof=1), np.var([3, 4], ddof=1)]) / 16
    errors = np.array([variances[0] / 3, variances[1] / 2, variances.mean()])
    weights = 1 / (errors + errors.mean())
    assert [one.weight for one in read("spread")] == pytest.approx(list(weights / weights.mean()), rel=1e-12)
    assert [one.rating for one in read("spread")] == [one.rating for one in read("mean")]


def test_agreement_and_numbers_count_for_more():
    agreed, split, many = precisions([[0.5, 0.5], [0.0, 1.0], [0.0, 1.0] * 10])
    assert agreed > many > split
    assert precisions([[0.1], [0.9]]) == precisions([[0.5, 0.5], [0.1, 0.1]]) == [1, 1]
    assert precisions([]) == []


def test_ratings_of_one_text_without_a_prompt_are_held_out_together():
    rows = [{"prompt": "", "completion": f"t{i % 21}", "rating": i % 4, "rater": str(i)} for i in range(63)]
    found = import_judgements(rows, raters="all")
    sides = [{one.response for one in found.of(split)} for split in ("train", "heldout")]
    assert sides[1] == {"t9", "t19"}
    assert not sides[0] & sides[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratings": []}, '"ratings" is \\[\\]: expected a list of numbers'),
        ({"ratings": "1, 2"}, '"ratings" is '),
        ({"ratings": [1, "2"]}, "rating is '2'"),
        ({"ratings": [1, 5]}, "rating is 5: expected a number on the scale"),
        ({"raters": ["x"]}, '"raters" is .* expected a list of 3'),
    ],
)
def test_errors_name_the_row(change, message):
    with pytest.raises(ValueError, match=rf"^judgements\[0\]: {message}"):
        read_judgements([{**ROWS[0], "raters": None, **change}])
    with pytest.raises(ValueError, match="raters is 'median': expected one of 'mean', 'all', 'spread'"):
        read("median")


class TestVader:
    """The two files of Hutto and Gilbert."""

    def write(self, folder, texts, ratings):
        (folder / "x_GroundTruth.txt").write_text(texts)
        (folder / "x_anonDataRatings.txt").write_text(ratings)
        return folder / "x_anonDataRatings.txt"

    def test_either_file_names_both(self, tmp_path):
        path = self.write(tmp_path, "1\t0.5\tso\tso\n", "1\t0.5\t1.0\t[-1, 2]\n")
        found = read_judgements(path, None, raters="all")
        assert found == [Rated("", "so\tso", rating, (-4, 4)) for rating in (-1, 2)]
        assert read_judgements(tmp_path / "x_GroundTruth.txt", None)[0].rating == 0.5

    @pytest.mark.parametrize(
        ("texts", "ratings", "message"),
        [
            ("2\t0\tso\n", "1\t0\t1\t[0]\n", "_GroundTruth.txt, line 1: .*_anonDataRatings.txt has no ratings of '2'"),
            ("1\tso\n", "1\t0\t1\t[0]\n", "_GroundTruth.txt, line 1: 2 cells apart by tabs: expected 3"),
            ("1\t0\tso\n", "1\t0\t1\t__import__('os')\n", "_anonDataRatings.txt, line 1: the ratings are"),
            ("1\t0\tso\n", "1\t0\t1\t[9]\n", "rating is 9"),
        ],
    )
    def test_errors(self, tmp_path, texts, ratings, message):
        with pytest.raises(ValueError, match=message):
            read_judgements(self.write(tmp_path, texts, ratings))

    def test_one_file_is_missing(self, tmp_path):
        self.write(tmp_path, "1\t0\tso\n", "1\t0\t1\t[0]\n").unlink()
        with pytest.raises(ValueError, match=r"there is no file .*_anonDataRatings.txt.*lie together"):
            read_judgements(tmp_path / "x_GroundTruth.txt")


def test_a_weight_is_written_and_read(tmp_path):
    from textrlhf.reward_models import write_judgements

    one = Rated("p", "a", 2.0, (0.0, 4.0), rater="x", weight=0.25)
    write_judgements(tmp_path / "a.jsonl", [one])
    assert json.loads((tmp_path / "a.jsonl").read_text())["weight"] == 0.25
    assert read_judgements(tmp_path / "a.jsonl") == [one]
