"""The vocabulary of films, books, meals and hotels: nouns, the adjectives that fit them, and phrases (domains.json).

In the file, a noun's adjectives may begin with the name of a group, in capitals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..splits import data_file
from .lexicon import worth

_DATA = data_file("reviews/domains")


@dataclass(frozen=True, eq=False)
class Thing:
    """A noun and the adjectives that fit it: its own, and for most nouns those that fit anything."""

    noun: str
    own: tuple[str, ...]
    general: tuple[str, ...]
    plural: bool = False

    def adjectives(self, sign: int) -> list[tuple[str, bool]]:
        """Return the adjectives that praise (sign 1) or criticise (-1) this noun, each with whether it is its own."""
        every = [(word, True) for word in self.own] + [(word, False) for word in self.general]
        return [(word, own) for word, own in every if worth(word, self.noun) * sign > 0]


@dataclass(frozen=True, eq=False)
class Domain:
    """One kind of review: its subject (under several names), the subject's aspects, and phrases."""

    names: tuple[str, ...]
    kind: str  # another name, for all of these
    subject: Thing
    aspects: tuple[Thing, ...]
    been: tuple[str, ...]  # how a review opens after "I" or "We", with a gap for the name
    when: tuple[str, ...]
    again: str  # what one would do again
    bargains: tuple[str, ...]  # what it was or was not worth
    this: str = "This"  # besides "The", what stands before a name that opens a sentence
    who: tuple[str, ...] = ("I",)
    moves: bool = False  # it can bore, or make one laugh
    stop: str | None = None  # what one could not stop doing
    returns: bool = False  # one can be back, or ask for a refund
    loses: str | None = None  # what one does when bored
    grips: str | None = None  # and when not


def _thing(entry: dict[str, Any]) -> Thing:
    first, *more = entry["adjectives"].split()
    own = [*_DATA["groups"].get(first, first).split(), *more]
    general = _DATA["anything"].split() if entry.get("anything", True) else ()
    return Thing(entry["noun"], tuple(own), tuple(general), entry.get("plural", False))


def _domain(entry: dict[str, Any]) -> Domain:
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    fields |= {"subject": _thing(entry["subject"]), "aspects": tuple(map(_thing, entry["aspects"]))}
    return Domain(**fields)


DOMAINS = {name: _domain(entry) for name, entry in _DATA["domains"].items()}
THINGS = frozenset(
    noun
    for domain in DOMAINS.values()
    for noun in (*domain.names, domain.kind, *(thing.noun for thing in domain.aspects))
)
