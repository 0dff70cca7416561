"""What a schema is: the fields by which it is recognised, and how its rows become judgements."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..fields import Row
from ..judgements import Judgement, Ranked, Tied

Numbered = Sequence[tuple[str, Row]]  # rows with their places


class RefusedError(Exception):
    """A row that its data set's documentation says is of no use; the message is the reason, without the place."""


@dataclass(frozen=True)
class Reading:
    """How rows are read where there is a choice."""

    scale: tuple[float, float] | None = None  # of ratings without one
    raters: str | None = None
    decode: Callable[[Sequence[int]], str] | None = None  # token ids to text


@dataclass(frozen=True)
class LeftOut:
    """A part of a row (an answer, an annotation) that says nothing, and the reason."""

    reason: str


@dataclass(frozen=True)
class Outcome:
    """What becomes of a row: judgements (none where another row of its group has them), or why it has none."""

    judgements: Sequence[Judgement] = ()
    refused: str = ""
    context: bool = False  # part of a prompt
    left_out: Sequence[LeftOut] = ()


@dataclass(frozen=True)
class Schema:
    """A schema; `fields` recognise it if all of them have a value (`any_field`: one of them).

    `reads` are the fields that it reads besides as prompt or response, `values` those of its fields that are no text.
    """

    name: str
    about: str
    fields: tuple[str, ...]
    convert: Callable[[str, Row, Reading], Sequence[Judgement | LeftOut]] | None = None
    group: Callable[[Numbered], list[Outcome]] | None = None  # in place of `convert`: rows that belong together
    where: Callable[[Row], bool] | None = None
    any_field: bool = False
    reads: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    before: tuple[str, ...] = ()  # schemas whose fields its rows have too, where it reads all that they would
    own: bool = False  # rows that cannot be used are errors, not refused
    by_name: bool = False  # used only where the caller names it

    def has_fields(self, row: Row) -> bool:
        """Whether a row has the fields."""
        has = [row.get(field) is not None for field in self.fields]
        return any(has) if self.any_field else all(has)

    def fits(self, row: Row) -> bool:
        """Whether a row is recognised as one of this schema."""
        return not self.by_name and self.has_fields(row) and (self.where is None or self.where(row))

    def hides(self, other: Schema, row: Row) -> bool:
        """Whether a row that fits both is one of this schema, as nothing that the other would read is left out."""
        return other.name in self.before and not self.unread(row, (*other.fields, *other.reads))

    def unread(self, row: Row, fields: Sequence[str]) -> list[str]:
        """Those of some fields that say something and would be left out."""
        return [field for field in fields if field not in (*self.fields, *self.reads) and says(row.get(field))]


def says(value: object) -> bool:
    """Whether a field has something to read; an empty cell of a table has not."""
    return value is not None and (not isinstance(value, str) or bool(value.strip()))


def compared(
    place: str,
    prompt: str,
    texts: tuple[str, str],
    better: int | None,
    strength: float = 0.0,
    *,
    rater: str | None = None,
    both_bad: bool = False,
) -> list[Judgement]:
    """The judgement of two responses in the order in which they were shown; `better` is 0, 1, or None for a tie.

    The strength of a preference, as a share of the strongest that could be given, is its margin.
    """
    if better is None:
        return [Tied(prompt, texts, both_bad, place, rater=rater)]
    return [Ranked(prompt, (texts[better], texts[1 - better]), strength, place, rater=rater, position=better)]


def by_rank(
    place: str, prompt: str, ranked: Sequence[tuple[float, int, str]], *, shown: bool = True
) -> list[Judgement]:
    """(rank, position, text) as a ranking, the lowest rank the best; as pairs and ties where two ranks are equal."""
    ordered = sorted(ranked)
    if len({rank for rank, _, _ in ordered}) == len(ordered):
        texts = tuple(one for *_, one in ordered)
        return [Ranked(prompt, texts, place=place, position=ordered[0][1] if shown else None)]
    found: list[Judgement] = []
    for (rank, at, one), (other_rank, after, other) in itertools.combinations(ordered, 2):
        if rank == other_rank:
            found.append(Tied(prompt, (one, other), place=place))
        else:
            found.append(Ranked(prompt, (one, other), place=place, position=int(at > after) if shown else None))
    return found


def different(ranked: Sequence[tuple[float, int, str]]) -> list[tuple[float, int, str]]:
    """Those of (rank, position, text) that are not empty, and of equal texts the best."""
    best: dict[str, tuple[float, int, str]] = {}
    for one in sorted(ranked):
        if one[2].strip():
            best.setdefault(one[2], one)
    return list(best.values())
