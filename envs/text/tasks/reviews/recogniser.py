"""Whether a grammar can write a text."""

from __future__ import annotations

import re

from .automaton import State

_PIECES = re.compile(r"[A-Za-z']+|[^A-Za-z' ]")


def pieces_of(text: str) -> list[str] | None:
    """Cut a text into words, each with the space before it, and marks; None where a space is missing or too many."""
    pieces = [" " + piece if piece[0].isalpha() else piece for piece in _PIECES.findall(text)]
    return pieces if "".join(pieces) == " " + text else None


class Recogniser:
    """Recognises the texts of a grammar: the automaton, made deterministic as far as texts have led into it."""

    def __init__(self, start: State) -> None:
        self._start = frozenset([start])
        self._after: dict[tuple[frozenset[State], str], frozenset[State]] = {}

    def accepts(self, text: str) -> bool:
        """Whether the grammar writes exactly this text."""
        states = self._start
        for piece in pieces_of(text) or ("",):
            after = self._after.get((states, piece))
            if after is None:
                after = frozenset(edge[3] for state in states for edge in state.edges if edge[0] == piece)
                if not after:
                    return False
                self._after[states, piece] = after
            states = after
        return any(state.node is None for state in states)
