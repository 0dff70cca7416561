"""The description of a data set, each number from rows in which it can be counted by hand."""

from __future__ import annotations

import pytest

from textrlhf.reward_models import import_judgements
from textrlhf.reward_models.evaluation.data_set import describe
from textrlhf.reward_models.evaluation.metrics import binomial_interval


def described(*rows):
    return describe(import_judgements(rows, raters="all"))


def pair(prompt, chosen, rejected, **more):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def test_duplicates_and_verdicts_either_way():
    found = described(pair("p", "a", "b"), pair("p", "a", "b"), pair("p", "b", "a"), pair("q", "a", "b", rater="Ann"))
    assert found["duplicates"] == {"repeated": 1, "decided_both_ways": 1}
    assert found["kinds"] == {"pair": 4}
    assert found["raters"] == 1


def test_equal_ratings_of_one_row_are_no_duplicates():
    row = {"prompt": "", "completion": "a", "ratings": [1, 1, 2], "scale": [0, 4]}
    assert described(row)["duplicates"]["repeated"] == 0
    assert described(row, {**row, "ratings": [2]})["duplicates"]["repeated"] == 1


def test_leaks_between_splits():
    found = described(
        pair("p", "a", "b", split="train"),
        pair("p", "a", "c", split="heldout"),
        pair("q", "a", "b", split="heldout"),
    )
    assert found["leaks"] == {"prompts": 1, "texts": 1, "responses": 2}
    assert (found["splits"], found["splits_declared"]) == ({"train": 1, "heldout": 2}, True)


def test_position_and_length():
    rows = [{"prompt": f"p{i}", "responses": ["a b", "c"], "ranking": [0, 1] if i < 3 else [1, 0]} for i in range(4)]
    found = described(*rows, pair("p", "a", "b"))
    assert found["position"] == {"share": 0.75, "interval": list(binomial_interval(3, 4)), "count": 4}
    assert found["length_bias"]["longer_is_chosen"] == found["position"]  # the fifth pair has no longer text
    labels = [{"prompt": "p", "completion": t, "label": len(t) > 2} for t in ("a", "a b", "c", "a b c")]
    assert described(*labels)["length_bias"] == {"good_is_longer": 1.0}
    ratings = [{"prompt": "p", "completion": "w " * n, "rating": -n} for n in (1, 2, 3)]
    assert described(*ratings)["length_bias"] == {"rank_correlation_of_words_and_rating": pytest.approx(-1)}


def test_interval_of_wilson():
    assert binomial_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert binomial_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert binomial_interval(0, 0) == (0, 1)


class TestAgreement:
    """α is computed on what several people judged, whatever the order in which texts are given."""

    def test_pairs_in_either_order_and_ties(self):
        one, other = {"responses": ["a", "b"], "ranking": [0, 1]}, {"responses": ["b", "a"], "ranking": [1, 0]}
        tie = {"responses": ["b", "a"], "tie": True}
        same = [{"prompt": "p", **verdict, "rater": str(i)} for i, verdict in enumerate((one, other))]
        opposite = [{"prompt": "q", **verdict, "ranking": [1, 0], "rater": "x"} for verdict in (one,)]
        found = described(*same, *opposite, {"prompt": "q", **one, "ranking": [1, 0], "rater": "y"})
        assert found["agreement"]["pairs"]["alpha"] == 1
        half = described(*same, *opposite, {"prompt": "q", **tie, "rater": "y"})["agreement"]["pairs"]
        assert 0 < half["alpha"] < 1
        assert (half["judged_by_several"], half["judgements"]) == (2, 4)

    def test_ratings(self):
        rows = [
            {"prompt": "p", "completion": t, "ratings": r, "scale": [1, 5]} for t, r in (("a", [1, 2]), ("b", [4, 5]))
        ]
        assert (
            described(*rows, {**rows[0], "completion": "c", "ratings": [3]})["agreement"]["ratings"][
                "judged_by_several"
            ]
            == 2
        )

    def test_undefined(self):
        rows = [{"prompt": "p", "completion": "a", "label": True, "rater": rater} for rater in ("x", "y")]
        assert described(*rows)["agreement"]["labels"]["alpha"] is None
        assert "agreement" not in described(rows[0])


def test_conversations_and_lengths():
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "one two"}]
    found = described(pair(chat, "a b c", "d"), pair("one", "a", "b"))
    assert found["conversations"] == {
        "of": "prompts",
        "count": 1,
        "messages": dict.fromkeys(("0%", "5%", "25%", "50%", "75%", "95%", "100%"), 2),
        "roles": {"system": 1, "user": 1},
        "with_system_message": 1,
        "responses_of_several_turns": 0,
    }
    assert found["lengths"]["responses"]["count"] == 4
    assert found["lengths"]["responses"]["100%"] == 3
