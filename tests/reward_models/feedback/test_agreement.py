"""Krippendorff's α against his published example and cases that can be counted by hand."""

import math

import numpy as np
import pytest

from textrlhf.reward_models.feedback.agreement import alpha

# Four observers, twelve units: the example of "Computing Krippendorff's Alpha-Reliability" (2011), section C.
EXAMPLE = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
UNITS = [[value for value in unit if value is not None] for unit in zip(*EXAMPLE, strict=True)]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_the_published_example(level, published):
    assert alpha(UNITS, level) == pytest.approx(published, abs=5e-4)


def test_by_hand():
    """Two raters of two values: α = 1 − D_o/D_e over the 2n values."""
    units = [[0, 0], [0, 0], [1, 1], [0, 1]]
    observed, expected = 2 / 8, 2 * 5 * 3 / (8 * 7)
    for level in ("nominal", "interval"):
        assert alpha(units, level) == pytest.approx(1 - observed / expected)


def test_chance_and_perfection():
    rng = np.random.default_rng(0)
    assert abs(alpha(rng.integers(0, 5, (4000, 3)).tolist(), "ordinal")) < 0.05
    assert alpha([[2, 2], [5, 5, 5], [1]], "ordinal") == 1
    for nothing in ([], [[1], [2]], [[3, 3], [3, 3]]):
        assert math.isnan(alpha(nothing, "nominal"))
    with pytest.raises(ValueError, match="level is 'ratio': expected one of nominal"):
        alpha(UNITS, "ratio")
