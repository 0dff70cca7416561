"""Data sets of responses that were rated one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ....records.jsonl import DataError, shortened
from ..fields import Row, number, rater_of, text, user
from ..judgements import Judgement, Rated
from .comparisons import post
from .own import ratings_of
from .schema import LeftOut, Reading, RefusedError, Schema


def ultrafeedback(place: str, row: Row, reading: Reading) -> list[Judgement | LeftOut]:
    """UltraFeedback: each completion by the mean of its aspects' ratings, 1 to 5, which are strings or "N/A"."""
    prompt = user(text(place, row, "instruction"))
    found: list[Judgement | LeftOut] = []
    for i, one in enumerate(row["completions"]):
        response = text(f"{place}: completions[{i}]", one, "response")
        ratings = [value for value in map(_rating, one.get("annotations", {}).values()) if value is not None]
        if not ratings or not response.strip():
            found.append(LeftOut("an empty completion" if ratings else "a completion without a rating"))
        else:
            found.append(Rated(prompt, response, math.fsum(ratings) / len(ratings), (1, 5), place))
    if all(isinstance(one, LeftOut) for one in found):
        raise RefusedError("no completion has a text and a rating")
    return found


def _rating(aspect: Any) -> float | None:
    value = aspect.get("Rating") if isinstance(aspect, Mapping) else None
    try:
        return None if value in (None, "N/A") else float(value)
    except (TypeError, ValueError):
        raise RefusedError("a rating is neither a number nor N/A") from None


def summary(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """summarize_from_feedback, axes: the overall rating of a summary, 1 to 7."""
    one = row["summary"]
    axes = one.get("axes") if isinstance(one, Mapping) else None
    if not isinstance(axes, Mapping):
        raise DataError(f'{place}: "summary" is {shortened(one)}: expected an object with "text" and "axes"')
    if axes.get("overall") is None:
        raise RefusedError("no overall rating")
    response = " " + text(f"{place}: summary", one, "text").strip()
    rating = number(f"{place}: axes", axes, "overall")
    return [Rated(post(place, row), response, rating, (1, 7), place, rater=rater_of(row, "worker"))]


def rated_texts(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """VADER's texts, each with the ratings of ten to twenty people, −4 to 4."""
    scale: Any = tuple(row["scale"])
    return [
        Rated("", text(place, row, "text"), value, scale, place, rater=rater) for value, rater in ratings_of(place, row)
    ]


def _is_ultrafeedback(row: Row) -> bool:
    completions = row["completions"]
    return isinstance(completions, list) and all(isinstance(one, Mapping) and "response" in one for one in completions)


RATINGS = (
    Schema(
        "ultrafeedback",
        "UltraFeedback",
        ("instruction", "completions"),
        ultrafeedback,
        where=_is_ultrafeedback,
        values=("completions",),
    ),
    Schema(
        "summarize-from-feedback-axes",
        "OpenAI's summarize_from_feedback, ratings",
        ("info", "summary"),
        summary,
        values=("info", "summary"),
    ),
    Schema(
        "vader",
        "VADER's rated texts",
        ("text", "ratings", "scale"),
        rated_texts,
        values=("ratings", "scale"),
        before=("rating",),
    ),
)
