"""A grammar as a probabilistic automaton, which both writes texts and recognises them.

A grammar is a tree of nodes (`Word`, `Then`, `Choice`, `EMPTY`). A state is what is still to come: a node, and the
state after it. States are made when first visited, so the unused part of a large grammar costs nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from math import exp

MOODS = (-2.0, -1.0, 1.0, 2.0)  # from very bad to very good
NO_MOOD = len(MOODS)  # the index of a mood of 0
_PIECES = re.compile(r"[A-Za-z']+|[^A-Za-z' ]")
Edge = tuple[str, float, float, "State"]  # text, share, tilt, what comes after


class Node:
    """A part of a grammar. Nodes are compared by identity: use one object wherever the same part is meant."""

    __slots__ = ("parts",)

    def __init__(self, *parts: Node) -> None:
        self.parts = parts


class Word(Node):
    """One word (with the space before it) or mark; in mood m its share is multiplied by exp(tilt·m)."""

    __slots__ = ("text", "tilt")

    def __init__(self, word: str, tilt: float = 0.0) -> None:
        super().__init__()
        self.text, self.tilt = (" " + word if word[0].isalpha() else word), tilt


class Then(Node):
    """One part after another."""

    __slots__ = ()


class Choice(Node):
    """One of several parts: (share, tilt, part)."""

    __slots__ = ("options",)

    def __init__(self, *options: tuple[float, float, Node]) -> None:
        super().__init__(*(part for _, _, part in options))
        total = sum(share for share, _, _ in options)
        self.options = tuple((share / total, tilt, part) for share, tilt, part in options)


EMPTY = Node()
Table = tuple[list[float], tuple[str, ...], tuple["State", ...]]  # cumulative probability, word, state after it


class State:
    """What is still to come: a node and then `rest`; without a node, the end."""

    __slots__ = ("_before", "_edges", "node", "rest", "tables")

    def __init__(self, node: Node | None = None, rest: State | None = None) -> None:
        self.node, self.rest = node, rest
        self._edges: list[Edge] | None = None
        self._before: dict[Node, State] = {}
        self.tables: list[Table | None] = [None] * (len(MOODS) + 1)

    @property
    def edges(self) -> list[Edge]:
        """The words that can come next."""
        if self._edges is None:
            self._edges = []
            if self.node is not None and self.rest is not None:
                _expand(self.node, self.rest, 1.0, 0.0, self._edges)
        return self._edges

    def before(self, node: Node) -> State:
        """Return the state of `node` and then this one: the same object for the same node."""
        state = self._before.get(node)
        if state is None:
            state = self._before[node] = State(node, self)
        return state

    def table(self, mood: int) -> Table:
        """Return the next words' cumulative probabilities in MOODS[mood], the words and the states after them."""
        table = self.tables[mood]
        if table is None:
            texts, shares, tilts, after = zip(*self.edges, strict=True)
            level = MOODS[mood] if mood != NO_MOOD and any(tilts) else 0.0
            if level:
                shares = tuple(share * exp(tilt * level) for share, tilt in zip(shares, tilts, strict=True))
            reached = list(accumulate(shares))
            total = reached[-1]
            table = self.tables[mood] = ([share / total for share in reached], texts, after)
        return table


def _expand(node: Node, rest: State, share: float, tilt: float, edges: list[Edge]) -> None:
    """Append the words that a part can begin with, followed by `rest`; its `share` is split among them."""
    if isinstance(node, Word):
        edges.append((node.text, share, node.tilt + tilt, rest))
    elif isinstance(node, Then):
        first, second = node.parts
        _expand(first, rest.before(second), share, tilt, edges)
    elif isinstance(node, Choice):
        for part_share, part_tilt, part in node.options:
            _expand(part, rest, share * part_share, tilt + part_tilt, edges)
    else:
        edges += [(text, share * own, tilt + own_tilt, after) for text, own, own_tilt, after in rest.edges]


def write(state: State, mood: int, draws: Iterator[float], limit: int, last: str = "") -> tuple[list[str], State]:
    """Write from `state` on, at most `limit` words or up to the word `last`; return them and the state reached."""
    written: list[str] = []
    while len(written) < limit and state.node is not None:
        shares, words, after = state.tables[mood] or state.table(mood)
        chosen = bisect_right(shares, next(draws))
        word = words[chosen]
        written.append(word)
        state = after[chosen]
        if word == last:
            break
    return written, state


def read(start: State, pieces: list[str], mood: int) -> dict[State, float]:
    """Return how likely each state is after these words in this mood, jointly with the words; {} if impossible."""
    beliefs = {start: 1.0}
    for piece in pieces:
        ahead: dict[State, float] = {}
        for state, belief in beliefs.items():
            shares, words, after = state.table(mood)
            for i, word in enumerate(words):
                if word == piece:
                    share = shares[i] - (shares[i - 1] if i else 0.0)
                    ahead[after[i]] = ahead.get(after[i], 0.0) + belief * share
        beliefs = ahead
    return beliefs


def pieces_of(text: str) -> list[str] | None:
    """Cut a text into words, each with the space before it, and marks; None where a space is missing or too many."""
    pieces = [" " + piece if piece[0].isalpha() else piece for piece in _PIECES.findall(text)]
    return pieces if "".join(pieces) == " " + text else None


def accepts(start: State, text: str) -> bool:
    """Whether exactly this text can be written from `start` on."""
    states = frozenset([start])
    for piece in pieces_of(text) or ("",):
        states = _after(states, piece)
    return any(state.node is None for state in states)


@lru_cache(maxsize=1 << 16)
def _after(states: frozenset[State], piece: str) -> frozenset[State]:
    """The automaton, made deterministic as far as texts have led into it."""
    return frozenset(after for state in states for text, _, _, after in state.edges if text == piece)
