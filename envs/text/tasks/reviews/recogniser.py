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
        self._known: dict[frozenset[State], _Place] = {}
        self._start = self._place(frozenset([start]))

    def accepts(self, text: str) -> bool:
        """Whether the grammar writes exactly this text."""
        pieces = pieces_of(text)
        place: _Place | None = self._start
        for piece in pieces or ("",):
            assert place is not None
            place = place.after[piece] if piece in place.after else self._step(place, piece)
            if place is None:
                return False
        return place is not None and place.final

    def _step(self, place: _Place, piece: str) -> _Place | None:
        states = frozenset(edge[3] for state in place.states for edge in state.edges if edge[0] == piece)
        if not states:
            return None
        place.after[piece] = found = self._place(states)
        return found

    def _place(self, states: frozenset[State]) -> _Place:
        if states not in self._known:
            self._known[states] = _Place(states)
        return self._known[states]


class _Place:
    __slots__ = ("after", "final", "states")

    def __init__(self, states: frozenset[State]) -> None:
        self.states, self.after = states, dict[str, _Place]()
        self.final = any(state.node is None for state in states)
