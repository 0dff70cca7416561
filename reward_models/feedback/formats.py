"""Reading judgements: our own forms and those of known data sets, which may be mixed.

    {"prompt", "chosen", "rejected"}      a pair, with an optional "margin"
    {"chosen", "rejected"}                a pair of whole dialogues: their common beginning is the prompt
    {"prompt", "responses", "ranking"}    the indices of the responses, best first, from 0
    {"prompt", "responses", "tie"}        neither of two is better: true, or "both bad"
    {"prompt", "completion", "label"}     good or bad: true or false, 1 or 0
    {"prompt", "completions", "labels"}   whether each step of a response is right
    {"prompt", "completion", "rating"}    a rating, or several "ratings", with an optional "scale": [low, high]

A text may be chat messages. "response" is accepted for "completion", and "rater" says who judged. A key whose value is
null counts as missing, other keys are ignored. `schemas` has the other data sets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...language.tokenizer_loading import load_tokenizer
from ...records.checks import SPLITS
from ...records.jsonl import DataError, row_split, shortened
from ...records.rows import read_rows, split_named
from ..reward_function import is_number
from .fields import Row
from .judgements import Judgement, Labelled, Rated, Tied, UnusableError, checked_scale
from .raters import HOW, combined
from .report import ReadReport
from .schemas.own import FORMS, ratings_of
from .schemas.schema import LeftOut, Outcome, Reading, RefusedError, Schema
from .schemas.table import VALUES, named, recognise
from .vader import is_vader, read_vader

Rows = str | os.PathLike[str] | Iterable[Mapping[str, Any]]
Known = list[tuple[str, Row, Schema]]

HELD_OUT_EVERY = 10  # where no row names a split, every tenth prompt is held out


@dataclass(frozen=True)
class ImportedJudgements:
    """The judgements of a data set, the split of each, and what became of its rows."""

    judgements: list[Judgement]
    splits: list[str]  # "train" or "heldout"
    report: ReadReport
    declares_splits: bool  # whether any row names its split

    def of(self, split: str) -> list[Judgement]:
        """The judgements of a split."""
        return [one for one, own in zip(self.judgements, self.splits, strict=True) if own == split]


def read_judgements(
    rows: Rows,
    split: str | None = "train",
    *,
    scale: tuple[float, float] | None = None,
    schema: str | None = None,
    raters: str | None = None,
    tokenizer: str | None = None,
) -> list[Judgement]:
    """Read the judgements of a split, "train" or "heldout", or with None all of them.

    `rows` is a file (.jsonl, .json, .csv, .tsv, .parquet), a folder of `datasets`, a hub id, or a list. A row of our
    own forms that cannot be used is an error. Of other data sets, rows that say nothing (deleted, empty, identical
    texts) are left out; `import_judgements` reports how many and why.

    If any row names its "split", rows without one are for training. Otherwise every tenth prompt, in order of first
    appearance, is held out with all its rows (each row without a prompt counts as a prompt); fewer than ten prompts
    hold nothing out.

    Args:
        rows: where the judgements are.
        split: which of them.
        scale: of ratings whose row has none; without it the range of all such ratings, in both splits: pass it where
            its ends may not have been used.
        schema: the data set that the rows are of, where they cannot be recognised (`textrlhf data --schemas`).
        raters: several ratings of a text: None takes the mean of those in one row, "mean" also of those in several,
            "spread" weights that mean by its precision, and "all" keeps each.
        tokenizer: the model whose tokenizer reads a data set's token ids: a folder or hub id.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"split is {split!r}: expected one of {list(SPLITS)}, or None for all")
    found = import_judgements(rows, scale=scale, schema=schema, raters=raters, tokenizer=tokenizer)
    if split is None:
        return found.judgements
    chosen = found.of(split)
    if not chosen and split == "train":
        raise DataError(f'{_named(rows)} holds out every row: expected some with "split": "train", or without a split')
    return chosen


def import_judgements(
    rows: Rows,
    *,
    scale: tuple[float, float] | None = None,
    schema: str | None = None,
    raters: str | None = None,
    tokenizer: str | None = None,
) -> ImportedJudgements:
    """Read all judgements with a report of what was recognised and left out; the arguments are `read_judgements`'s."""
    if raters is not None and raters not in HOW:
        raise ValueError(f"raters is {raters!r}: expected one of {', '.join(map(repr, HOW))}, or None")
    scale = None if scale is None else checked_scale(scale)
    numbered = _numbered(rows)
    if not numbered:
        raise DataError(f"{_named(rows)} holds no judgements: expected at least one row {FORMS}")
    known = [_recognised(place, row, schema) for place, row in numbered]
    reading = Reading(scale or _found_scale(known), raters, _decoder(tokenizer))
    outcomes = _outcomes(known, reading)
    report = _report(known, outcomes)
    declared = [_declared_split(*one) for one in known]
    tagged = [(one, split) for outcome, split in zip(outcomes, declared, strict=True) for one in outcome.judgements]
    if not tagged:
        raise DataError(f"{_named(rows)} has no judgement that can be used: {'; '.join(report.lines()[1:])}")
    tagged = combined(tagged, raters)
    judgements = [one for one, _ in tagged]
    return ImportedJudgements(judgements, _splits(tagged), report, any(split for _, split in tagged))


def _numbered(rows: Rows) -> list[tuple[str, object]]:
    if not isinstance(rows, str | os.PathLike):
        return [(f"judgements[{i}]", row) for i, row in enumerate(rows)]
    return read_vader(rows) if is_vader(rows) else read_rows(rows, "judgements", f"one object a line, {FORMS}", VALUES)


def _named(rows: Rows) -> str:
    return str(rows) if isinstance(rows, str | os.PathLike) else "judgements"


def _recognised(place: str, row: object, schema: str | None) -> tuple[str, Row, Schema]:
    if not isinstance(row, Mapping):
        raise DataError(f"{place}: expected an object {FORMS}, saw {shortened(row)}")
    if schema is None:
        return place, row, recognise(place, row)
    chosen = named(schema)
    if not chosen.has_fields(row):
        missing = [field for field in chosen.fields if row.get(field) is None]
        raise DataError(f"{place}: {', '.join(missing)} missing, which rows of {schema} have: leave out the schema")
    return place, row, chosen


def _outcomes(known: Known, reading: Reading) -> list[Outcome]:
    found: dict[int, Outcome] = {}
    groups: dict[str, list[int]] = {}
    for i, (place, row, schema) in enumerate(known):
        if schema.group is None:
            found[i] = _converted(place, row, schema, reading)
        else:
            groups.setdefault(schema.name, []).append(i)
    for members in groups.values():
        group = known[members[0]][2].group
        assert group is not None
        found |= zip(members, group([known[i][:2] for i in members]), strict=True)
    return [found[i] for i in range(len(known))]


def _converted(place: str, row: Row, schema: Schema, reading: Reading) -> Outcome:
    assert schema.convert is not None
    try:
        found = schema.convert(place, row, reading)
        left_out = [one for one in found if isinstance(one, LeftOut)]
        return Outcome([one for one in found if not isinstance(one, LeftOut)], left_out=left_out)
    except RefusedError as refused:
        return Outcome(refused=str(refused))
    except UnusableError as error:
        if schema.own:
            raise
        return Outcome(refused="identical texts" if "the same" in str(error) else "an empty text")


def _report(known: Known, outcomes: Sequence[Outcome]) -> ReadReport:
    report = ReadReport(read=len(known))
    for (place, _, schema), outcome in zip(known, outcomes, strict=True):
        report.schemas[schema.name] += 1
        for part in outcome.left_out:
            report.leave_out(part.reason, place)
        if outcome.refused:
            report.refuse(outcome.refused, place)
        elif outcome.context:
            report.context += 1
        elif outcome.judgements and all(isinstance(one, Tied) for one in outcome.judgements):
            report.tied += 1
        else:
            report.kept += 1
    return report


def _declared_split(place: str, row: Row, schema: Schema) -> str | None:
    named = split_named(row.get("split"))
    return row_split(place, row) if schema.own and named is None else named


def _decoder(tokenizer: str | None) -> Callable[[Sequence[int]], str] | None:
    """A function from token ids to text; ids that the tokenizer does not have, as of padding, are left out."""
    if tokenizer is None:
        return None
    known = load_tokenizer(tokenizer)
    return lambda ids: str(known.decode([token for token in ids if 0 <= token < len(known)], skip_special_tokens=True))


def _found_scale(known: Known) -> tuple[float, float]:
    """The range of the ratings that have no scale; where there are none, any scale."""
    ratings = []
    for place, row, schema in known:
        if schema.name == "rating" and row.get("scale") is None:
            for rating, _ in ratings_of(place, row):
                if not is_number(rating):
                    raise DataError(f"{place}: rating is {shortened(rating)}: expected a finite number")
                ratings.append((rating, place))
    if not ratings:
        return 0.0, 1.0
    (low, place), (high, _) = min(ratings), max(ratings)
    if low == high:
        raise DataError(f"{place}: every rating is {low}, so the scale is unknown: pass scale=(low, high)")
    return low, high


def _splits(tagged: Sequence[tuple[Judgement, str | None]]) -> list[str]:
    if any(split for _, split in tagged):
        return [split or "train" for _, split in tagged]
    seen: dict[tuple[str, str], int] = {}
    numbers = [seen.setdefault(_unit(one), len(seen)) for one, _ in tagged]
    return ["heldout" if number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else "train" for number in numbers]


def _unit(one: Judgement) -> tuple[str, str]:
    """What is held out together: a prompt, and without one a text that is judged alone, or a row."""
    alone = isinstance(one, Labelled | Rated)
    return one.prompt, "" if one.prompt else one.responses[0] if alone else one.place
