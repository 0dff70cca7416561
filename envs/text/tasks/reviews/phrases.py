"""Helpers to write a grammar down: sequences, weighted choices, articles."""

from __future__ import annotations

import re
from functools import cache, reduce

from .automaton import EMPTY, Choice, Node, Then, Word

Part = str | Node
RARE = 0.003
LEAN = 0.8  # weight of a review's mood in the choice between praise and criticism


@cache
def _word(text: str) -> Word:
    return Word(text)


@cache
def _words(text: str) -> tuple[Word, ...]:
    return tuple(_word(word) for word in re.findall(r"[A-Za-z']+|[.,!]", text))


@cache
def say(*parts: Part) -> Node:
    """One part after another; a string is cut into its words and marks."""
    nodes: list[Node] = []
    for part in parts:
        nodes += [part] if isinstance(part, Node) else _words(part)
    return reduce(lambda after, node: Then(node, after), reversed(nodes)) if nodes else EMPTY


@cache
def one_of(*options: Part | tuple[float, Part]) -> Node:
    """One of several parts, each with the weight before it (1 if there is none)."""
    pairs = [option if isinstance(option, tuple) else (1.0, option) for option in options]
    return Choice(*((share, 0.0, say(part)) for share, part in pairs if share))


def maybe(share: float, *parts: Part) -> Node:
    """The parts, or nothing."""
    return one_of((share, say(*parts)), (1.0 - share, EMPTY))


@cache
def mostly(usual: Node, rare: Node) -> Node:
    """The usual part; the rare one is grammatical, but almost never written."""
    return Choice((1.0 - RARE, 0.0, usual), (RARE, 0.0, rare))


def in_mood(good: Part, bad: Part) -> Node:
    """Praise or criticism, depending on the mood of the review."""
    return Choice((1.0, LEAN, say(good)), (1.0, -LEAN, say(bad)))


def with_article(*options: tuple[float, str, Node]) -> Node:
    """ "a" or "an" before one of several parts: (share, first word, whole part)."""
    parts = []
    for article in ("a", "an"):
        fitting = [(share, part) for share, first, part in options if (first[0] in "aeiou") is (article == "an")]
        if fitting:
            parts.append((sum(share for share, _ in fitting), say(article, one_of(*fitting))))
    return one_of(*parts)
