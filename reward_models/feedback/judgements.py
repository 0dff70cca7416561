"""What a person can say of responses: which is better, whether one is good, how good it is.

    Ranked     a chosen response before a rejected one, or k responses, best first
    Labelled   one response, good or bad
    Rated      one response, a rating on a scale

Each is checked when it is made. `place` says where it came from ("pairs.jsonl, line 3"): errors begin with it, and
two judgements that differ in nothing else are equal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TypeGuard

from ...records.jsonl import DataError, shortened


@dataclass(frozen=True)
class Ranked:
    """Responses to one prompt, best first; a pair is a ranking of two."""

    prompt: str
    responses: tuple[str, ...]
    margin: float = 0.0  # by how much the first of two is better, on the scale of raw scores
    place: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.responses, tuple) or len(self.responses) < 2:
            raise _wrong(
                self.place, f"responses is {shortened(self.responses)}: expected a tuple of at least two, best first"
            )
        _check_texts(self.place, self.prompt, self.responses)
        first: dict[str, int] = {}
        for i, response in enumerate(self.responses):
            if first.setdefault(response, i) != i:
                raise _wrong(
                    self.place,
                    f"responses {first[response]} and {i} are the same ({shortened(response)}): identical chosen and "
                    "rejected teach nothing; drop the row",
                )
        if not (is_number(self.margin) and self.margin >= 0):
            raise _wrong(self.place, f"the margin is {shortened(self.margin)}: expected a finite number, 0 or more")
        if self.margin and len(self.responses) > 2:
            raise _wrong(
                self.place,
                f"the margin is {self.margin} for {len(self.responses)} responses: only a pair has one; leave it out",
            )

    @property
    def texts(self) -> tuple[str, ...]:
        """The responses."""
        return self.responses


@dataclass(frozen=True)
class Labelled:
    """A response, and whether it is good."""

    prompt: str
    response: str
    good: bool
    place: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        _check_texts(self.place, self.prompt, (self.response,))
        if not isinstance(self.good, bool):
            raise _wrong(self.place, f"good is {shortened(self.good)}: expected True or False")

    @property
    def texts(self) -> tuple[str, ...]:
        """The response."""
        return (self.response,)


@dataclass(frozen=True)
class Rated:
    """A response, and its rating on a scale that goes from `scale[0]`, worst, to `scale[1]`, best."""

    prompt: str
    response: str
    rating: float
    scale: tuple[float, float]
    place: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        _check_texts(self.place, self.prompt, (self.response,))
        low, high = checked_scale(self.scale, self.place)
        if not (is_number(self.rating) and low <= self.rating <= high):
            raise _wrong(
                self.place,
                f"the rating is {shortened(self.rating)}: expected a number on the scale from {low} to {high}",
            )

    @property
    def texts(self) -> tuple[str, ...]:
        """The response."""
        return (self.response,)


Judgement = Ranked | Labelled | Rated


def checked_scale(scale: object, place: str = "") -> tuple[float, float]:
    """Return a scale as (low, high), or raise an error that says what is wrong with it."""
    if isinstance(scale, tuple | list) and len(scale) == 2:
        low, high = scale
        if is_number(low) and is_number(high) and low < high:
            return low, high
    raise _wrong(place, f"scale is {shortened(scale)}: expected (low, high), two finite numbers, the lower first")


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False


def _check_texts(place: str, prompt: object, responses: Sequence[object]) -> None:
    names = ["response"] if len(responses) == 1 else [f"responses[{i}]" for i in range(len(responses))]
    for name, text in zip(["prompt", *names], [prompt, *responses], strict=True):
        if not isinstance(text, str):
            raise _wrong(place, f"{name} is {shortened(text)}: expected a string")
        if name != "prompt" and not text.strip():
            raise _wrong(
                place, f"{name} is empty ({shortened(text)}): there is nothing to reward function; drop the row"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _wrong(
                place, f"{name} holds half a character at {error.start}, which no tokenizer reads: mend the text"
            ) from None


def _wrong(place: str, what: str) -> DataError:
    return DataError(f"{place}: {what}" if place else what)
