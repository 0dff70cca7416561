"""The losses and their gradients against formulas written out in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from textrlhf.reward_models.training.losses import centring, logistic, plackett_luce, regression, tie


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigmoid(x):
    return 1 / (1 + (-x).exp())


def by_choices(scores, lapse=0.0):
    """−log P(this ranking), one row and one choice after the other."""
    terms = []
    for row in scores:
        probability = 1.0
        for i in range(len(row) - 1):
            among = row[i:]
            picked = among[0].exp() / among.exp().sum()
            probability = probability * ((1 - 2 * lapse) * picked + 2 * lapse / len(among))
        terms.append(-probability.log())
    return torch.stack(terms)


def gradient(loss, *inputs):
    inputs = [one.detach().clone().requires_grad_(True) for one in inputs]
    value = loss(*inputs)
    return value.detach(), torch.autograd.grad(value.sum(), inputs)


def assert_same(loss, reference, *inputs):
    """Values and gradients in float64, and in float32 as well as that allows."""
    expected, expected_gradients = gradient(reference, *inputs)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-6)):
        value, gradients = gradient(loss, *(one.to(dtype) for one in inputs))
        torch.testing.assert_close(value.double(), expected, atol=tolerance, rtol=tolerance)
        for seen, wanted in zip(gradients, expected_gradients, strict=True):
            torch.testing.assert_close(seen.double(), wanted, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("lapse", [0.0, 0.1])
def test_a_tie_is_half_a_preference_either_way(lapse):
    def reference(scores):
        p = sigmoid(scores[:, 0] - scores[:, 1])
        return -0.5 * sum((lapse + (1 - 2 * lapse) * one).log() for one in (p, 1 - p))

    assert_same(lambda scores: tie(scores, lapse), reference, 2 * drawn(5, 2))
    equal = torch.ones(1, 2, dtype=torch.float64)
    assert tie(equal, lapse).item() == pytest.approx(math.log(2))
    assert gradient(lambda scores: tie(scores, lapse), equal)[1][0].abs().max() < 1e-12


class TestPlackettLuce:
    @pytest.mark.parametrize("lapse", [0.0, 0.1, 0.49])
    @pytest.mark.parametrize("k", [2, 3, 4, 7])
    def test_against_successive_choices(self, k, lapse):
        assert_same(lambda s: plackett_luce(s, lapse=lapse), lambda s: by_choices(s, lapse), 2 * drawn(5, k))

    @pytest.mark.parametrize("lapse", [0.0, 0.2])
    @pytest.mark.parametrize("k", [2, 3, 4])
    def test_probabilities_of_all_rankings_sum_to_one(self, k, lapse):
        """Guards against a lapse that picks among too many."""
        scores = drawn(k, seed=k)
        orders = torch.tensor(list(itertools.permutations(range(k))))  # (k!, k)
        assert float((-plackett_luce(scores[orders], lapse=lapse)).exp().sum()) == pytest.approx(1, abs=1e-12)

    @pytest.mark.parametrize("lapse", [0.0, 0.15])
    def test_pairs_are_bradley_terry(self, lapse):
        margins = drawn(6, seed=1).abs()

        def bradley_terry(scores):
            better = sigmoid(scores[:, 0] - scores[:, 1] - margins)
            return -(lapse + (1 - 2 * lapse) * better).log()

        def ours(scores):
            return plackett_luce(scores, margins.to(scores.dtype), lapse)

        assert_same(ours, bradley_terry, 3 * drawn(6, 2))

    def test_each_ranking_has_its_own_loss(self):
        scores = drawn(5, 4)
        order = torch.tensor([3, 1, 4, 0, 2])
        torch.testing.assert_close(plackett_luce(scores[order], lapse=0.1), plackett_luce(scores, lapse=0.1)[order])

    @pytest.mark.parametrize("lapse", [0.0, 0.1])
    @pytest.mark.parametrize("lead", [-1e4, -80.0, 0.0, 80.0, 1e4])
    def test_nothing_overflows(self, lead, lapse):
        """Guards against exp() of a score in float32, and log of a probability rounded to 0."""
        value, (slope,) = gradient(
            lambda s: plackett_luce(s, lapse=lapse), torch.tensor([[lead, 0.0], [lead, 0.0]]).float()
        )
        chosen = 1 / (1 + math.exp(min(-lead, 700)))
        expected = (
            -math.log(lapse + (1 - 2 * lapse) * chosen) if lapse else max(-lead, 0.0) + math.log1p(math.exp(-abs(lead)))
        )
        torch.testing.assert_close(value, torch.full((2,), expected), rtol=1e-6, atol=1e-6)
        assert torch.isfinite(slope).all()

    def test_lapse_bounds_the_gradient_of_label_noise(self):
        pulls = [
            gradient(lambda s, q=q: plackett_luce(s, lapse=q), torch.tensor([[-8.0, 0.0]]))[1][0] for q in (0, 0.1)
        ]
        assert -float(pulls[0][0, 0]) > 0.999
        assert 0 < -float(pulls[1][0, 0]) < 0.01


class TestTheOthers:
    def test_labels(self):
        good = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)

        def naive(scores, offset):
            p = sigmoid(scores + offset)
            return -(good * p.log() + (1 - good) * (1 - p).log())

        def ours(scores, offset):
            return logistic(scores, good.to(scores.dtype), offset)

        assert_same(ours, naive, 2 * drawn(4), torch.tensor(0.3, dtype=torch.float64))

    def test_wrong_label_has_a_higher_loss(self):
        score, zero = torch.tensor([2.0]), torch.zeros(())
        assert logistic(score, torch.tensor([1.0]), zero) < logistic(score, torch.tensor([0.0]), zero)
        assert logistic(score, torch.tensor([1.0]), zero + 1) < logistic(score, torch.tensor([1.0]), zero)

    def test_nothing_overflows(self):
        value, slopes = gradient(
            lambda s, o: logistic(s, torch.tensor([0.0, 1.0]), o), torch.tensor([1e4, -1e4]), torch.zeros(())
        )
        assert value.tolist() == [1e4, 1e4]
        assert all(torch.isfinite(slope).all() for slope in slopes)

    def test_ratings(self):
        ratings = torch.tensor([-1.0, 0.25, 1.0], dtype=torch.float64)

        def naive(scores, line):
            return (line[1] + line[0].exp() * scores - ratings) ** 2

        def ours(scores, line):
            return regression(scores, ratings.to(scores.dtype), line)

        assert_same(ours, naive, drawn(3), torch.tensor([-0.7, 0.2], dtype=torch.float64))

    @pytest.mark.parametrize("k", [1, 2, 4])
    def test_centring(self, k):
        assert_same(centring, lambda s: (2 * s.sum(1) / k) ** 2, drawn(5, k))
        pair = drawn(5, 2)
        torch.testing.assert_close(centring(pair), pair.sum(1) ** 2)
        assert float(centring(torch.tensor([[3.0, -3.0]]))) == 0


@pytest.mark.parametrize(
    "loss",
    [
        lambda s: plackett_luce(s, lapse=0.1),
        lambda s: plackett_luce(s[:, :2], s[:, 2].abs()),
        centring,
        lambda s: logistic(s[:, 0], torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64), s[0, 1]),
        lambda s: regression(s[:, 0], torch.tensor([1.0, 0.0, -0.5], dtype=torch.float64), s[0, 1:3]),
    ],
    ids=["rankings", "margins", "centring", "labels", "ratings"],
)
def test_gradients_are_finite_differences(loss):
    torch.autograd.gradcheck(loss, drawn(3, 4).requires_grad_(True))
