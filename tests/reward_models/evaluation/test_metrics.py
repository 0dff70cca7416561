"""The metrics against closed forms and brute force."""

import math

import numpy as np
import pytest

from textrlhf.reward_models.evaluation.metrics import accuracy, auroc, calibration, pearson, ranks, spearman
from textrlhf.reward_models.reward_function import sigmoid


def test_ties_count_half():
    assert accuracy([1.0, -2.0, 0.0, 3.0]) == 2.5 / 4
    assert accuracy([1.0, -1.0], [3.0, 1.0]) == 0.75
    assert math.isnan(accuracy([]))


@pytest.mark.parametrize("seed", range(3))
def test_auroc_against_all_pairs(seed):
    rng = np.random.default_rng(seed)
    scores, good = rng.integers(0, 6, 50), rng.random(50) < 0.4  # many ties
    pairs = [(g > b) + 0.5 * (g == b) for g in scores[good] for b in scores[~good]]
    assert auroc(scores, good) == pytest.approx(np.mean(pairs))
    assert auroc(-scores, good) == pytest.approx(1 - np.mean(pairs))


def test_ranks_of_equal_values():
    assert ranks([30, 10, 20, 20, 10, 10]).tolist() == [6, 2, 4.5, 4.5, 2, 2]


def test_spearman():
    rng = np.random.default_rng(0)
    a, b = rng.permutation(30), rng.permutation(30)
    assert spearman(a, b) == pytest.approx(1 - 6 * np.sum((a - b) ** 2) / (30 * (30**2 - 1)))
    assert spearman(np.exp(a / 3.0), b) == pytest.approx(spearman(a, b))  # order alone counts
    assert spearman([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(np.corrcoef([1, 2.5, 2.5, 4], [1, 2, 3, 4])[0, 1])


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_pearson_at_any_scale(scale):
    rng = np.random.default_rng(1)
    a = rng.normal(size=40)
    b = a + rng.normal(size=40)
    assert pearson(a * scale, b + 3) == pytest.approx(np.corrcoef(a, b)[0, 1])


def test_nan_without_variation():
    assert math.isnan(auroc([1.0, 2.0], [True, True]))
    assert math.isnan(auroc([1.0, 2.0], [False, False]))
    assert math.isnan(auroc([], []))
    for measure in (pearson, spearman):
        assert math.isnan(measure([1.0, 1.0], [1.0, 2.0]))
        assert math.isnan(measure([1.0], [2.0]))
        assert math.isnan(measure([], []))
    nothing = calibration([], [])
    assert nothing.ece == nothing.ece_by_chance == 0
    assert [b.count for b in nothing.bins] == [0] * 10


class TestCalibration:
    def test_two_bins(self):
        found = calibration([0.61, 0.62, 0.63, 0.64, 0.95], [1, 0, 0, 0, 1], low=0.5)
        filled = [b for b in found.bins if b.count]
        assert [(b.low, b.high) for b in filled] == [pytest.approx((0.6, 0.65)), pytest.approx((0.95, 1))]
        assert [b.count for b in filled] == [4, 1]
        assert [b.confidence for b in filled] == pytest.approx([0.625, 0.95])
        assert [b.right for b in filled] == [0.25, 1]
        assert found.ece == pytest.approx(0.8 * (0.625 - 0.25) + 0.2 * 0.05)

    def test_bounds_are_in_a_bin(self):
        found = calibration([0.5, 1.0], [0, 1], bins=5, low=0.5)
        assert [b.count for b in found.bins] == [1, 0, 0, 0, 1]
        assert [b.count for b in calibration([0.0, 1.0], [0, 1], bins=1).bins] == [2]

    def test_weights(self):
        p, came = [0.2, 0.25, 0.9], [0, 1, 1]
        twice = calibration([0.2, *p], [0, *came])
        assert calibration(p, came, weights=[2, 1, 1]).ece == pytest.approx(twice.ece)

    def test_ece_by_chance(self):
        rng, seen, expected = np.random.default_rng(0), [], []
        for _ in range(100):
            p = rng.random(400)
            found = calibration(p, rng.random(400) < p)
            seen.append(found.ece)
            expected.append(found.ece_by_chance)
        assert np.mean(seen) == pytest.approx(np.mean(expected), rel=0.05)

    def test_overconfidence(self):
        rng = np.random.default_rng(0)
        odds = rng.normal(size=3000)
        came = rng.random(3000) < sigmoid(odds)
        assert calibration(sigmoid(odds), came).ece < 0.04
        assert calibration(sigmoid(4 * odds), came).ece > 0.12

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([0.4], [1], 10), "probabilities are between 0.4 and 0.4"),
            (([0.7], [2], 10), "outcomes are between 2.0"),
            (([0.7], [1, 0], 10), r"outcomes has the shape \(2,\): expected \(1,\)"),
            (([0.7], [1], 0), "bins is 0"),
            (([math.nan], [1], 10), "probabilities holds nan"),
        ],
    )
    def test_invalid_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            calibration(*arguments, low=0.5)
