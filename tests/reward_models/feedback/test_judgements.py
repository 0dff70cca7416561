"""Judgements are validated when they are made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from textrlhf.reward_models.feedback import DataError, Judgement, Labelled, Ranked, Rated, Tied, UnusableError
from textrlhf.reward_models.feedback.judgements import checked_scale


def test_valid_judgements() -> None:
    """An empty prompt, spaces, a rating at an end of its scale, any real number."""
    made: list[Judgement] = [
        Ranked("", (" a", "a", " a ")),
        Ranked("p", ("a", "b"), 2),
        Ranked("p", ("a", "b"), np.float32(0.5)),
        Labelled("\n", "a", False),
        Rated("p", "a", 1, (1, 5)),
        Rated("p", "a", np.int64(5), (1.0, 5.0)),
    ]
    assert [len(judgement.responses) for judgement in made] == [3, 2, 2, 1, 1, 1]
    assert made[3].responses == made[4].responses == ("a",)


def test_judgements_of_something_other_than_text() -> None:
    clips = tuple(np.zeros((5, 2)) + i for i in range(2))
    assert Ranked("walk", clips).responses is clips
    assert Labelled("walk", clips[0], True).responses[0] is clips[0]
    assert Rated("walk", clips[0], 2, (1, 5)).response is clips[0]


def test_what_says_nothing_is_told_apart_from_what_is_wrong() -> None:
    for unusable in (lambda: Ranked("p", ("a", "a")), lambda: Labelled("p", " ", True)):
        with pytest.raises(UnusableError):
            unusable()
    with pytest.raises(DataError) as error:
        Rated("p", "a", 7, (0, 1))
    assert not isinstance(error.value, UnusableError)


def test_place_is_ignored_when_comparing() -> None:
    assert Labelled("p", "a", True, "here") == Labelled("p", "a", True, "there") != Labelled("p", "a", False, "here")
    assert hash(Ranked("p", ("a", "b"), place="here")) == hash(Ranked("p", ("a", "b")))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Labelled("p", "a", True).good = False


BAD: dict[str, tuple[Callable[[str], object], str]] = {
    "one response": (lambda place: Ranked("p", ("a",), place=place), r"responses is \('a',\): expected a tuple of"),
    "a string": (lambda place: Ranked("p", "good", place=place), "responses is 'good': expected a tuple"),
    "identical": (
        lambda place: Ranked("p", ("b", "a", "a"), place=place),
        r"responses 1 and 2 are the same \('a'\)",
    ),
    "three tie": (lambda place: Tied("p", ("a", "b", "c"), place=place), r"responses is .* expected a tuple of two"),  # type: ignore[arg-type]
    "identical tie": (lambda place: Tied("p", ("a", "a"), place=place), "responses 0 and 1 are the same"),
    "both_bad": (lambda place: Tied("p", ("a", "b"), "yes", place), "both_bad is 'yes'"),  # type: ignore[arg-type]
    "rater": (lambda place: Labelled("p", "a", True, place, rater=3), "rater is 3: expected a string"),  # type: ignore[arg-type]
    "weight": (lambda place: Rated("p", "a", 1, (0, 1), place, weight=0), "weight is 0: expected a positive"),
    "nan margin": (lambda place: Ranked("p", ("a", "b"), math.nan, place), "margin is nan"),
    "negative margin": (
        lambda place: Ranked("p", ("a", "b"), -0.1, place),
        "margin is -0.1: expected .* 0 or more",
    ),
    "boolean margin": (lambda place: Ranked("p", ("a", "b"), True, place), "margin is True"),
    "margin of three": (lambda place: Ranked("p", ("a", "b", "c"), 1.0, place), "margin is 1.0 for 3 responses"),
    "empty": (
        lambda place: Labelled("p", "", True, place),
        r"response is empty \(''\)",
    ),
    "blank": (lambda place: Ranked("p", ("a", " \n"), place=place), r"responses\[1\] is empty"),
    "no text": (lambda place: Ranked("p", ("a", 7), place=place), r"responses\[1\] is 7: expected a string"),
    "no prompt": (lambda place: Labelled(None, "a", True, place), "prompt is None: expected a string"),
    "half a character": (
        lambda place: Rated("p", "ab\ud83d", 1, (0, 1), place),
        "response has half a surrogate pair at 2",
    ),
    "no boolean": (lambda place: Labelled("p", "a", 1, place), "good is 1: expected True or False"),
    "above": (
        lambda place: Rated("p", "a", 6, (1, 5), place),
        "rating is 6: .* scale from 1 to 5",
    ),
    "below": (lambda place: Rated("p", "a", 0.9, (1, 5), place), "rating is 0.9"),
    "nan rating": (lambda place: Rated("p", "a", math.nan, (1, 5), place), "rating is nan"),
    "text rating": (lambda place: Rated("p", "a", "4", (1, 5), place), "rating is '4'"),
    "no scale": (lambda place: Rated("p", "a", 1, (1, 1), place), r"scale is \(1, 1\): expected \(low, high\)"),
    "endless scale": (lambda place: Rated("p", "a", 1, (0, math.inf), place), r"scale is \(0, inf\)"),
    "three ends": (lambda place: Rated("p", "a", 1, (0, 1, 2), place), r"scale is \(0, 1, 2\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_judgements(name: str) -> None:
    make, message = BAD[name]
    for place in ("pairs.jsonl, line 3", ""):
        with pytest.raises(DataError, match=f"^{place}{': ' * bool(place)}{message}"):
            make(place)


def test_a_scale_may_be_a_list() -> None:
    assert checked_scale([1, 5]) == (1, 5)
