"""Evaluating reward models on comparisons, labels and ratings."""

import itertools
import json
import math

import numpy as np
import pytest

from textrlhf.reward_models import RewardFunctionError
from textrlhf.reward_models.evaluation.evaluate import evaluate
from textrlhf.reward_models.evaluation.metrics import binomial_interval
from textrlhf.reward_models.feedback.judgements import Labelled, Ranked, Rated, Tied


class Reads:
    """A reward model whose raw score of a text is its first word, a number; it records its calls."""

    def __init__(self):
        self.asked = []

    def raw(self, prompts, responses):
        self.asked.append(list(zip(prompts, responses, strict=True)))
        return [float(text.split()[0]) for text in responses]

    def __call__(self, prompts, responses):
        raise AssertionError("raw scores should be used")


def pair(better, worse, **more):
    return Ranked("p", (better, worse), **more)


def expected_log_loss(margins):
    return float(np.mean(np.log1p(np.exp(-np.asarray(margins, float)))))


def test_pairs_in_closed_form():
    found = evaluate(Reads(), [pair("2", "1"), pair("0", "3"), pair("1 x", "1 y"), pair("5", "1")]).numbers()
    assert found["comparisons"] == found["pairs"] == 4
    assert found["accuracy"] == 2.5 / 4
    assert (found["accuracy_low"], found["accuracy_high"]) == binomial_interval(2.5, 4)
    assert found["mean_margin"] == pytest.approx((1 - 3 + 0 + 4) / 4)
    assert found["log_loss"] == pytest.approx(expected_log_loss([1, -3, 0, 4]))


def test_few_cases_are_not_certain():
    """The standard error of two pairs that are both right is 0, as if the accuracy were known."""
    found = evaluate(Reads(), [pair("2", "1"), pair("3", "0"), Labelled("p", "1", True)])
    numbers = found.numbers()
    assert numbers["accuracy"] == numbers["label_accuracy"] == 1
    assert (numbers["accuracy_low"], numbers["accuracy_high"]) == pytest.approx((0.342, 1), abs=1e-3)
    assert (numbers["label_accuracy_low"], numbers["label_accuracy_high"]) == pytest.approx((0.207, 1), abs=1e-3)
    assert [part.interval for part in found.comparisons.by_margin] == [binomial_interval(1, 1)] * 2


def test_a_ranking_is_one_case():
    """Its pairs are not independent."""
    numbers = evaluate(Reads(), [Ranked("p", ("4", "3", "2", "1"))]).numbers()
    assert (numbers["accuracy_low"], numbers["accuracy_high"]) == binomial_interval(1, 1)


def test_ties_in_closed_form():
    """They are no right or wrong answers, and count half in what is about probabilities."""
    decided, ties = [pair("2", "1"), pair("0", "3"), pair("5", "1")], [Tied("p", ("1", "4")), Tied("p", ("2", "2.5"))]
    found, alone = evaluate(Reads(), decided + ties), evaluate(Reads(), decided)
    numbers, before = found.numbers(), alone.numbers()
    assert (numbers["comparisons"], numbers["ties"], numbers["tie_share"]) == (3, 2, pytest.approx(0.4))
    for name in ("accuracy", "accuracy_low", "accuracy_high", "mean_margin", "prefers_longer"):
        assert numbers[name] == before[name]
    halves = [(expected_log_loss([d]) + expected_log_loss([-d])) / 2 for d in (3, 0.5)]
    assert numbers["log_loss"] == pytest.approx((3 * before["log_loss"] + sum(halves)) / 5)
    both = found.comparisons.calibration.bins[-1]  # of margins 3, wrong, and 4, right, and the tie of 3
    assert (both.count, both.right) == (3, pytest.approx(0.5))
    assert "ties" not in before
    only = evaluate(Reads(), ties)
    assert only.numbers()["ties"] == 2
    assert "accuracy" not in only.numbers()
    json.dumps(only.as_json(), allow_nan=False)


def test_pairs_of_a_ranking_weigh_one():
    of = evaluate(Reads(), [Ranked("p", ("2", "3", "1")), pair("0", "9")]).comparisons
    assert (of.rankings, of.pairs) == (2, 4)
    assert of.accuracy == pytest.approx((2 / 3 + 0) / 2)
    assert of.log_loss == pytest.approx((expected_log_loss([-1, 1, 2]) + expected_log_loss([-9])) / 2)
    assert sum(b.share for b in of.calibration.bins) == pytest.approx(1)
    surest = of.calibration.bins[-1]  # has the wrong pair alone: margins of 1 and 2 are below 95 %
    assert (surest.count, surest.share, surest.right) == (1, pytest.approx(0.5), 0)


def test_each_text_is_scored_once_in_batches_of_similar_length():
    reward_model = Reads()
    cases = [pair("1", "2"), pair("1", "3 and so on and on"), Labelled("p", "1", True), Labelled("q", "1", True)]
    evaluate(reward_model, iter(cases), batch_size=3)
    assert [len(batch) for batch in reward_model.asked] == [3, 1]
    texts = [text for batch in reward_model.asked for text in batch]
    assert sorted(texts) == [("p", "1"), ("p", "2"), ("p", "3 and so on and on"), ("q", "1")]
    assert texts[-1] == ("p", "3 and so on and on")


def test_plain_callable():
    found = evaluate(lambda prompts, responses: [len(r) for r in responses], [pair("aa", "b")])
    assert (found.scale, found.comparisons.accuracy) == ("score", 1)
    assert evaluate(Reads(), [pair("2", "1")]).scale == "raw"


def test_length_bias():
    rng, cases = np.random.default_rng(0), []
    for _ in range(300):
        short, long = "a " * rng.integers(1, 9), "b " * rng.integers(9, 30)
        cases.append(pair(long, short) if rng.random() < 0.6 else pair(short, long))
    of = evaluate(lambda prompts, responses: [len(r) for r in responses], cases).comparisons
    assert of.accuracy == of.accuracy_if_longer_wins == pytest.approx(0.6, abs=0.06)
    assert of.prefers_longer == 1
    assert [part.accuracy for part in of.by_length] == sorted(part.accuracy for part in of.by_length)
    assert (of.by_length[0].accuracy, of.by_length[-1].accuracy) == (0, 1)
    assert of.by_length[0].high < 0 < of.by_length[-1].low


def test_quintiles():
    rng = np.random.default_rng(1)
    cases = [pair(f"{rng.integers(4)} a", f"{rng.integers(4)} b") for _ in range(100)]
    of = evaluate(Reads(), cases).comparisons
    for parts in (of.by_margin, of.by_length):
        assert sum(part.count for part in parts) == 100
        assert sum(part.count * part.accuracy for part in parts) == pytest.approx(100 * of.accuracy)
        assert all(before.high < after.low for before, after in itertools.pairwise(parts))
    assert len(of.by_length) == 1  # all of one length
    assert sum(of.histogram.better) == sum(of.histogram.worse) == 100


def test_labels_in_closed_form():
    cases = [Labelled("p", "2", True), Labelled("p", "1", False), Labelled("p", "-1", True), Labelled("p", "-3", False)]
    reward_model = Reads()
    plain = evaluate(reward_model, cases).numbers()
    assert (plain["labels"], plain["good_share"], plain["auroc"], plain["label_accuracy"]) == (4, 0.5, 0.75, 0.5)
    reward_model.label_offset = 1.5
    moved = evaluate(reward_model, cases).numbers()
    assert (moved["auroc"], moved["label_accuracy"]) == (0.75, 0.75)
    assert moved["label_log_loss"] == pytest.approx(expected_log_loss([3.5, -2.5, 0.5, 1.5]))
    assert not {"accuracy", "ece", "spearman"} & moved.keys()


def test_ratings_on_several_scales():
    cases = [Rated("p", "1", 1, (1, 5)), Rated("p", "2", 50, (0, 100)), Rated("p", "4", 5, (1, 5))]
    of = evaluate(Reads(), cases).ratings
    assert of.scale == (0, 1)
    assert of.spearman == pytest.approx(1)
    assert of.pearson == pytest.approx(np.corrcoef([0, 0.5, 1], [1, 2, 4])[0, 1])
    one = evaluate(Reads(), cases[::2]).ratings
    assert (one.scale, [part.low for part in one.by_rating]) == ((1, 5), [1, 5])
    assert one.by_rating[1].quartiles == (4, 4, 4)


def test_hardest_mistakes():
    cases = [
        pair("1", "3", place="a"),
        pair("1 tie", "1 too", place="b"),
        pair("9", "0", place="c"),
        Ranked("p", ("0", "5", "8"), place="d"),
        Labelled("p", "-4", True, place="e"),
        Labelled("p", "6", False, place="f"),
        Labelled("p", "7", True, place="g"),
        Rated("p", "10", 1, (1, 5), place="h"),
        Rated("p", "-10", 5, (1, 5), place="i"),
    ]
    found = evaluate(Reads(), cases).hardest
    assert [mistake.place for mistake in found] == ["d", "a", "f", "e", "h", "i"]
    first, label, rating = found[0], found[3], found[4]
    assert (first.chosen, first.rejected, first.chosen_score, first.rejected_score) == ("0", "8", 0, 8)
    assert first.probability == pytest.approx(1 / (1 + math.exp(8)))
    assert (label.chosen, label.rejected, label.chosen_score) == ("-4", None, -4)
    assert "labelled good" in label.summary
    assert "probability of 1.8 %" in label.summary
    assert (rating.rejected, rating.probability) == ("10", None)
    assert "rated 1 on 1 to 5, above 25 % of the texts; the reward model scores it above 75 %" in rating.summary
    assert [m.place for m in evaluate(Reads(), cases, hardest=1).hardest] == ["d", "f", "h"]


def test_undefined_numbers_are_null():
    found = evaluate(Reads(), [Labelled("p", "1", True), Rated("p", "2", 3, (1, 5)), pair("1 a", "1 b")])
    plain = found.as_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["labels"]["auroc"] is None
    assert plain["ratings"]["spearman"] is None
    assert not {"auroc", "spearman"} & found.numbers().keys()
    assert plain["numbers"] == found.numbers()
    assert plain["comparisons"]["calibration"]["bins"][0]["count"] == 1


def test_invalid_arguments():
    with pytest.raises(ValueError, match="judgements is empty"):
        evaluate(Reads(), [])
    with pytest.raises(ValueError, match="batch_size is 0"):
        evaluate(Reads(), [pair("1", "2")], batch_size=0)
    with pytest.raises(TypeError, match=r"judgements\[1\] is 'good'"):
        evaluate(Reads(), [pair("1", "2"), "good"])
    with pytest.raises(RewardFunctionError, match="reward_model returned nan for the response 'nan'"):
        evaluate(Reads(), [pair("1", "nan")])
