"""The simulated annotator: it errs with exactly the given rate."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from textrlhf.reward_models import RewardFunctionError
from textrlhf.reward_models.feedback import Labelled, Ranked, Rated, SimulatedAnnotator


def length(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    """Longer is better."""
    return [len(response) for response in responses]


def number(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
    return [float(response) for response in responses]


def pairs(n: int) -> tuple[list[str], list[list[str]]]:
    return [f"p{i}" for i in range(n)], [["1", "2"] if i % 2 else ["2", "1"] for i in range(n)]


def test_no_errors() -> None:
    ranked = SimulatedAnnotator(number).rank(["p", "q"], [["2", "-1", "5", "3"], ["0", "1"]])
    assert ranked == [Ranked("p", ("5", "3", "2", "-1")), Ranked("q", ("1", "0"))]
    assert [judgement.place for judgement in ranked] == ["prompts[0]", "prompts[1]"]


def test_each_response_is_scored_with_its_own_prompt() -> None:
    seen: list[tuple[str, str]] = []

    def score(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        seen.extend(zip(prompts, responses, strict=True))
        return number(prompts, responses)

    SimulatedAnnotator(score).rank(["p", "q", "r"], [["1", "2"], [], ["3", "4", "5"]])
    assert seen == [("p", "1"), ("p", "2"), ("r", "3"), ("r", "4"), ("r", "5")]


def test_ties_and_duplicates_are_left_out() -> None:
    ranked = SimulatedAnnotator(length).rank(
        ["p", "q", "r", "s"], [["ab", "cd", "abc", "ef"], ["a", "a"], ["a"], ["a", "b", "cd", "cd", "abc"]]
    )
    assert ranked == [Ranked("p", ("abc", "ab")), Ranked("s", ("abc", "cd", "a"))]


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_error_rate_of_pairs(rate: float) -> None:
    n = 4000
    ranked = SimulatedAnnotator(number, rate, seed=3).rank(*pairs(n))
    flipped = sum(judgement.responses == ("1", "2") for judgement in ranked)
    assert abs(flipped - rate * n) <= 4 * np.sqrt(n * rate * (1 - rate))


def test_rankings_follow_the_mallows_model() -> None:
    """Each wrong pair has probability e, each right one 1 − e, normalised over all six orders."""
    n, rate = 6000, 0.2
    ranked = SimulatedAnnotator(number, rate, seed=1).rank(["p"] * n, [["2", "3", "1"]] * n)
    drawn = Counter(judgement.responses for judgement in ranked)
    chances = {}
    for order in itertools.permutations("123"):
        wrong = sum(a < b for a, b in itertools.combinations(order, 2))  # the lesser one first
        chances[order] = rate**wrong * (1 - rate) ** (3 - wrong)
    total = sum(chances.values())
    for order, chance in chances.items():
        p = chance / total
        assert abs(drawn[order] - n * p) < 4 * np.sqrt(n * p * (1 - p)), order
    for better, worse in (("3", "2"), ("2", "1")):  # true neighbours: exactly the error rate
        wrong = sum(count for order, count in drawn.items() if order.index(worse) < order.index(better))
        assert abs(wrong - n * rate) < 4 * np.sqrt(n * rate * (1 - rate))


def test_always_wrong() -> None:
    (ranked,) = SimulatedAnnotator(number, 1.0).rank(["p"], [["3", "1", "4", "2"]])
    assert ranked.responses == ("1", "2", "3", "4")


def test_errors_depend_on_seed_and_index_alone() -> None:
    """Appended prompts, ties in between, other responses or a second call change nothing."""
    annotator = SimulatedAnnotator(number, 0.4, seed=7)
    prompts, responses = pairs(60)
    first = annotator.rank(prompts, responses)
    assert annotator.rank(prompts, responses) == first
    assert annotator.rank(prompts[:40], responses[:40]) == first[:40]
    tied = [["1", "1"] if i % 3 == 0 else pair for i, pair in enumerate(responses)]
    assert annotator.rank(prompts, tied) == [judgement for i, judgement in enumerate(first) if i % 3]
    assert SimulatedAnnotator(number, 0.4, seed=8).rank(prompts, responses) != first
    values = [str(i % 5) for i in range(60)]
    for reward_function in (annotator.label, annotator.rate):
        assert reward_function(prompts[:40], values[:40]) == reward_function(prompts, values)[:40]


def test_kinds_of_judgement_err_independently() -> None:
    annotator, n = SimulatedAnnotator(number, 0.5, seed=0), 400
    prompts, responses = pairs(n)
    flipped = np.array([judgement.responses == ("1", "2") for judgement in annotator.rank(prompts, responses)])
    denied = np.array([not judgement.good for judgement in annotator.label(prompts, ["1"] * n)])
    misrated = np.array([judgement.rating != 5 for judgement in annotator.rate(prompts, ["1"] * n)])
    for a, b in itertools.combinations((flipped, denied, misrated), 2):
        assert abs((a == b).mean() - 0.5) < 0.1


def test_labels() -> None:
    prompts, responses = ["p", "q", "r"], ["-1", "0", "1"]
    assert SimulatedAnnotator(number).label(prompts, responses) == [
        Labelled("p", "-1", False),
        Labelled("q", "0", False),
        Labelled("r", "1", True),
    ]
    assert [x.good for x in SimulatedAnnotator(number).label(prompts, responses, threshold=-0.5)] == [False, True, True]
    assert [x.good for x in SimulatedAnnotator(number, 1.0).label(prompts, responses)] == [True, True, False]
    n = 4000
    wrong = sum(not x.good for x in SimulatedAnnotator(number, 0.1).label(["p"] * n, ["1"] * n))
    assert abs(wrong - 0.1 * n) <= 4 * np.sqrt(n * 0.1 * 0.9)


def test_ratings() -> None:
    responses = ["-9", "-1", "-0.76", "-0.75", "0", "0.74", "1", "9"]
    prompts = ["p"] * len(responses)
    rated = SimulatedAnnotator(number).rate(prompts, responses)
    assert [x.rating for x in rated] == [1, 1, 1, 2, 3, 4, 5, 5]
    assert rated[0] == Rated("p", "-9", 1, (1, 5))
    wider = SimulatedAnnotator(number).rate(prompts, responses, scale=(0, 10), low=0.0, high=9.0)
    assert [x.rating for x in wider] == [0, 0, 0, 0, 0, 1, 1, 10]
    n = 2000
    drawn = Counter(x.rating for x in SimulatedAnnotator(number, 0.4).rate(["p"] * n, ["0"] * n))
    for rating in range(1, 6):  # the right one with 0.6, each other with 0.1
        p = 0.6 if rating == 3 else 0.1
        assert abs(drawn[rating] - n * p) < 4 * np.sqrt(n * p * (1 - p))


def test_no_responses() -> None:
    def never(prompts: Sequence[str], responses: Sequence[str]) -> list[float]:
        raise AssertionError

    annotator = SimulatedAnnotator(never)
    assert (
        annotator.rank([], []) == annotator.rank(["p"], [[]]) == annotator.label([], []) == annotator.rate([], []) == []
    )


def test_no_global_random_state() -> None:
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    SimulatedAnnotator(number, 0.5).rank(*pairs(5))
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_invalid_arguments() -> None:
    for error_rate in (-0.1, 1.1, float("nan"), True):
        with pytest.raises(ValueError, match="error_rate is .*: expected a probability"):
            SimulatedAnnotator(number, error_rate)
    with pytest.raises(ValueError, match="seed is -1"):
        SimulatedAnnotator(number, seed=-1)
    with pytest.raises(ValueError, match="score is 'gold': expected a callable"):
        SimulatedAnnotator("gold")
    annotator = SimulatedAnnotator(number)
    with pytest.raises(ValueError, match="responses_per_prompt has 1 entries for 2 prompts"):
        annotator.rank(["p", "q"], [["1", "2"]])
    with pytest.raises(ValueError, match=r"responses_per_prompt\[0\] is '12': expected a list"):
        annotator.rank(["p"], ["12"])
    with pytest.raises(ValueError, match="responses has 1 entries for 2 prompts"):
        annotator.label(["p", "q"], ["1"])
    with pytest.raises(ValueError, match=r"scale is \(1, 1.5\): expected integers"):
        annotator.rate(["p"], ["1"], scale=(1, 1.5))
    with pytest.raises(ValueError, match=r"scale is \(5, 1\)"):
        annotator.rate(["p"], ["1"], scale=(5, 1))
    with pytest.raises(ValueError, match="low is 1 and high is 1"):
        annotator.rate(["p"], ["1"], low=1, high=1)
    with pytest.raises(RewardFunctionError, match="score returned nan for the response 'nan'"):
        annotator.rank(["p"], [["1", "nan"]])
    with pytest.raises(ValueError, match=r"prompts\[1\]: responses\[0\] is empty"):
        SimulatedAnnotator(length).rank(["p", "q"], [["a", "ab"], ["  ", "a"]])
