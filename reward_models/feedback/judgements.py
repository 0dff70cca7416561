"""Human judgements: which response is better, whether one is good, how good it is.

    Ranked     k responses, best first; a pair (chosen, rejected) is a ranking of two
    Tied       two responses of which neither is better
    Labelled   one response, good or bad
    Rated      one response, rated on a scale

They are generic over what is judged: text (str, chat messages as a `Conversation`), or for example clips of
trajectories. Each is validated when it is made, and text responses further. `rater` is who judged, where that is known.
`place` is where it came from ("pairs.jsonl, line 3"): errors begin with it, and it is ignored when judgements are
compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ...records.jsonl import DataError, shortened
from ..reward_function import is_number

T = TypeVar("T")  # what is judged


class UnusableError(DataError):
    """A judgement that is well formed but says nothing: empty texts, identical ones."""


@dataclass(frozen=True)
class Ranked(Generic[T]):
    """Responses to one prompt, best first; a pair is a ranking of two."""

    prompt: str
    responses: tuple[T, ...]
    margin: float = 0.0  # by how much the first of two is better, on the scale of raw scores
    place: str = field(default="", compare=False)
    rater: str | None = field(default=None, kw_only=True)
    position: int | None = field(
        default=None, kw_only=True, compare=False
    )  # of the best as annotators saw them, from 0

    def __post_init__(self) -> None:
        if not isinstance(self.responses, tuple) or len(self.responses) < 2:
            raise _error(
                self.place, f"responses is {shortened(self.responses)}: expected a tuple of at least two, best first"
            )
        _check_texts(self.place, self.prompt, self.responses)
        _check_rater(self.place, self.rater)
        _check_different(self.place, self.responses)
        if not (is_number(self.margin) and self.margin >= 0):
            raise _error(self.place, f"margin is {shortened(self.margin)}: expected a finite number, 0 or more")
        if self.margin and len(self.responses) > 2:
            raise _error(
                self.place, f"margin is {self.margin} for {len(self.responses)} responses: only a pair may have one"
            )


@dataclass(frozen=True)
class Tied(Generic[T]):
    """Two responses to one prompt of which neither is better."""

    prompt: str
    responses: tuple[T, T]
    both_bad: bool = False  # and neither is good; trained on as any tie
    place: str = field(default="", compare=False)
    rater: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.responses, tuple) or len(self.responses) != 2:
            raise _error(self.place, f"responses is {shortened(self.responses)}: expected a tuple of two")
        _check_texts(self.place, self.prompt, self.responses)
        _check_rater(self.place, self.rater)
        _check_different(self.place, self.responses)
        if not isinstance(self.both_bad, bool):
            raise _error(self.place, f"both_bad is {shortened(self.both_bad)}: expected True or False")


@dataclass(frozen=True)
class _OneResponse(Generic[T]):
    prompt: str
    response: T

    @property
    def responses(self) -> tuple[T, ...]:
        """The response, as a tuple."""
        return (self.response,)


@dataclass(frozen=True)
class Labelled(_OneResponse[T]):
    """A response, and whether it is good."""

    good: bool
    place: str = field(default="", compare=False)
    rater: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_texts(self.place, self.prompt, self.responses)
        _check_rater(self.place, self.rater)
        if not isinstance(self.good, bool):
            raise _error(self.place, f"good is {shortened(self.good)}: expected True or False")


@dataclass(frozen=True)
class Rated(_OneResponse[T]):
    """A response, and its rating on a scale from `scale[0]`, worst, to `scale[1]`, best."""

    rating: float
    scale: tuple[float, float]
    place: str = field(default="", compare=False)
    rater: str | None = field(default=None, kw_only=True)
    weight: float = field(default=1.0, kw_only=True)  # in the loss, relative to other ratings

    def __post_init__(self) -> None:
        _check_texts(self.place, self.prompt, self.responses)
        _check_rater(self.place, self.rater)
        if not (is_number(self.weight) and self.weight > 0):
            raise _error(self.place, f"weight is {shortened(self.weight)}: expected a positive number")
        low, high = checked_scale(self.scale, self.place)
        if not (is_number(self.rating) and low <= self.rating <= high):
            raise _error(
                self.place, f"rating is {shortened(self.rating)}: expected a number on the scale from {low} to {high}"
            )


Judgement = Ranked[str] | Tied[str] | Labelled[str] | Rated[str]


def checked_scale(scale: object, place: str = "") -> tuple[float, float]:
    """Return a scale as (low, high), or raise a `DataError`."""
    if isinstance(scale, tuple | list) and len(scale) == 2:
        low, high = scale
        if is_number(low) and is_number(high) and low < high:
            return low, high
    raise _error(place, f"scale is {shortened(scale)}: expected (low, high), two finite numbers, the lower first")


def _check_texts(place: str, prompt: object, responses: tuple[object, ...]) -> None:
    """Validate the prompt, and the responses where they are texts: of a ranking, all of them or none."""
    of_text = any(response is None or isinstance(response, str) for response in responses)
    names = ["response"] if len(responses) == 1 else [f"responses[{i}]" for i in range(len(responses))]
    for name, text in [("prompt", prompt), *(zip(names, responses, strict=True) if of_text else ())]:
        if not isinstance(text, str):
            raise _error(place, f"{name} is {shortened(text)}: expected a string")
        if name != "prompt" and not text.strip():
            raise UnusableError(
                f"{_at(place)}{name} is empty ({shortened(text)}): there is nothing to score; drop the row"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise _error(
                place, f"{name} has half a surrogate pair at {error.start}, which no tokenizer can read: fix the text"
            ) from None


def _check_different(place: str, responses: tuple[object, ...]) -> None:
    first: dict[str, int] = {}
    for i, response in enumerate(responses):
        if isinstance(response, str) and first.setdefault(response, i) != i:
            raise UnusableError(
                f"{_at(place)}responses {first[response]} and {i} are the same ({shortened(response)}): there is "
                "nothing to learn from identical texts; drop the row"
            )


def _check_rater(place: str, rater: object) -> None:
    if rater is not None and not isinstance(rater, str):
        raise _error(place, f"rater is {shortened(rater)}: expected a string, or None where it is not known")


def _at(place: str) -> str:
    return f"{place}: " if place else ""


def _error(place: str, what: str) -> DataError:
    return DataError(_at(place) + what)
