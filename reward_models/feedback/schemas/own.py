"""Our own forms, which are also TRL's: preference, unpaired and stepwise, of texts or of chat messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ....records.jsonl import DataError, shortened
from ..fields import Row, dialogues, is_chat, rater_of
from ..judgements import Judgement, Labelled, Ranked, Rated, Tied, checked_scale
from .schema import Reading, Schema

FORMS = (
    '{"prompt", "chosen", "rejected"}, {"chosen", "rejected"}, {"prompt", "completion", "label"}, '
    '{"prompt", "completion", "rating" or "ratings"}, {"prompt", "responses", "ranking"}, '
    '{"prompt", "responses", "tie"} or {"prompt", "completions", "labels"}'
)


def pair(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """{"prompt", "chosen", "rejected"}: a pair; without a prompt, of whole dialogues."""
    margin = 0.0 if row.get("margin") is None else row["margin"]
    prompt, texts = dialogues(
        place, row.get("prompt"), {key: _given(place, row, key) for key in ("chosen", "rejected")}
    )
    return [Ranked(prompt, texts, margin, place, rater=rater_of(row), position=_position(place, row))]


def ranking(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """{"prompt", "responses", "ranking"}: the indices of the responses, best first, from 0."""
    order = row["ranking"]
    prompt, texts = dialogues(place, _given(place, row, "prompt"), _listed(place, row, "responses"))
    if not isinstance(order, Sequence) or any(type(i) is not int for i in order):
        raise DataError(f'{place}: "ranking" is {shortened(order)}: expected a list of indices')
    if sorted(order) != list(range(len(texts))):
        from_one = sorted(order) == list(range(1, len(texts) + 1))
        raise DataError(
            f'{place}: "ranking" is {shortened(order)} for {len(texts)} responses: expected the index of each once, '
            + ("counted from 0, not from 1" if from_one else f"0 to {len(texts) - 1}, the best first")
        )
    margin = 0.0 if row.get("margin") is None else row["margin"]
    ordered = tuple(texts[i] for i in order)
    return [Ranked(prompt, ordered, margin, place, rater=rater_of(row), position=order[0] if order else None)]


def tie(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """{"prompt", "responses", "tie"}: neither of two is better; "tie" is true, or "both bad"."""
    if row["tie"] is not True and row["tie"] != "both bad":
        raise DataError(f'{place}: "tie" is {shortened(row["tie"])}: expected true, or "both bad"')
    prompt, texts = dialogues(place, _given(place, row, "prompt"), _listed(place, row, "responses"))
    return [Tied(prompt, texts, row["tie"] == "both bad", place, rater=rater_of(row))]  # type: ignore[arg-type]


def label(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """{"prompt", "completion", "label"}: good or bad."""
    prompt, response = _one(place, row)
    return [Labelled(prompt, response, good(place, "label", row["label"]), place, rater=rater_of(row))]


def rating(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """{"prompt", "completion", "rating"}: on a scale; several raters' "ratings" in a list, their names in "raters"."""
    prompt, response = _one(place, row)
    scale: Any = row.get("scale")
    scale = reading.scale if scale is None else checked_scale(scale, f'{place}: "scale"')
    weight = 1.0 if row.get("weight") is None else row["weight"]
    return [
        Rated(prompt, response, value, scale or (0.0, 1.0), place, rater=rater, weight=weight)
        for value, rater in ratings_of(place, row)
    ]


def ratings_of(place: str, row: Row) -> list[tuple[Any, str | None]]:
    """The ratings of a row with who gave them."""
    if row.get("ratings") is None:
        return [(row["rating"], rater_of(row))]
    values, raters = row["ratings"], row.get("raters")
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise DataError(f'{place}: "ratings" is {shortened(values)}: expected a list of numbers')
    if raters is None:
        return [(value, None) for value in values]
    if not isinstance(raters, Sequence) or isinstance(raters, str) or len(raters) != len(values):
        raise DataError(f'{place}: "raters" is {shortened(raters)}: expected a list of {len(values)}, as of "ratings"')
    return [(value, str(rater)) for value, rater in zip(values, raters, strict=True)]


def steps(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """{"prompt", "completions", "labels"}: whether each step is right; the response up to it gets its label."""
    named, labels = _listed(place, row, "completions"), row["labels"]
    prompt, texts = dialogues(place, _given(place, row, "prompt"), named)
    if not isinstance(labels, Sequence) or isinstance(labels, str) or len(labels) != len(texts):
        raise DataError(f'{place}: "labels" is {shortened(labels)}: expected a list of {len(texts)}, one for each step')
    judgements: list[Judgement] = []
    so_far = ""
    for i, (step, value) in enumerate(zip(texts, labels, strict=True)):
        apart = not so_far or so_far[-1].isspace() or step[:1].isspace()
        so_far += step if apart else f"\n{step}"
        judgements.append(Labelled(prompt, so_far, good(place, f"labels[{i}]", value), place, rater=rater_of(row)))
    return judgements


def good(place: str, name: str, value: object) -> bool:
    """A label as true or false."""
    if not isinstance(value, bool | int | float) or value not in (0, 1):
        raise DataError(f"{place}: {name} is {shortened(value)}: expected true or 1 for good, false or 0 for bad")
    return bool(value)


def _one(place: str, row: Row) -> tuple[str, str]:
    if row.get("completion") is not None and row.get("response") is not None:
        raise DataError(f'{place}: has a "completion" and a "response": expected one of them')
    key = "completion" if row.get("response") is None else "response"
    value = _given(place, row, key)
    prompt = row.get("prompt") if is_chat(value) else _given(place, row, "prompt")
    prompt, (response,) = dialogues(place, prompt, {key: value})
    return prompt, response


def _given(place: str, row: Row, key: str) -> Any:
    if row.get(key) is None:
        raise DataError(f'{place}: "{key}" is missing; expected the form {FORMS}')
    return row[key]


def _listed(place: str, row: Row, key: str) -> Mapping[str, object]:
    values = row.get(key)
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise DataError(f'{place}: "{key}" is {shortened(values)}: expected a list of strings')
    return {f"{key}[{i}]": value for i, value in enumerate(values)}


def _position(place: str, row: Row) -> int | None:
    value = row.get("position")
    if value is not None and (type(value) is not int or value < 0):
        raise DataError(
            f'{place}: "position" is {shortened(value)}: expected the index at which the chosen one was shown'
        )
    return value


_STEPS, _RATED = ("completions", "labels"), ("rating", "ratings", "raters", "scale", "weight")
_SEVERAL, _ONE = ("prompt", "responses"), ("prompt", "completion", "response")
OWN = (
    Schema(
        "pair",
        "chosen and rejected",
        ("chosen", "rejected"),
        pair,
        any_field=True,
        reads=("prompt",),
        values=("margin", "position"),
        own=True,
    ),
    Schema(
        "ranking",
        "responses and their ranking",
        ("ranking",),
        ranking,
        reads=_SEVERAL,
        values=("responses", "ranking", "margin"),
        own=True,
    ),
    Schema(
        "tie",
        "responses of which neither is better",
        ("tie",),
        tie,
        reads=_SEVERAL,
        values=("responses", "tie"),
        own=True,
    ),
    Schema("label", "a response, good or bad", ("label",), label, reads=_ONE, values=("label",), own=True),
    Schema(
        "rating",
        "a response, rated",
        ("rating", "ratings"),
        rating,
        any_field=True,
        reads=_ONE,
        values=_RATED,
        own=True,
    ),
    Schema("steps", "steps, right or wrong", _STEPS, steps, reads=("prompt",), values=_STEPS, own=True),
)
