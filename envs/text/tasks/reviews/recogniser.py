"""Whether the grammar can write a text: the automaton, made deterministic as far as texts have led into it."""

from __future__ import annotations

import re
from functools import lru_cache

from .automaton import State
from .grammar import start

_PIECES = re.compile(r"[A-Za-z']+|[^A-Za-z' ]")


def pieces_of(text: str) -> list[str] | None:
    """Cut a text into words, each with the space before it, and marks; None where a space is missing or too many."""
    pieces = [" " + piece if piece[0].isalpha() else piece for piece in _PIECES.findall(text)]
    return pieces if "".join(pieces) == " " + text else None


@lru_cache(maxsize=1 << 16)
def _after(states: frozenset[State], piece: str) -> frozenset[State]:
    return frozenset(after for state in states for text, _, _, after in state.edges if text == piece)


def grammatical(text: str) -> bool:
    """Whether the grammar can write exactly this review."""
    states = frozenset([start()])
    for piece in pieces_of(text) or ("",):
        states = _after(states, piece)
    return any(state.node is None for state in states)
