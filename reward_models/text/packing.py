"""Packing texts into rows for a forward: texts with a common beginning share one row that branches.

    prompt ──┬── chosen        one row of tokens:   prompt | chosen | rejected
             └── rejected      attention:           a response sees the shared tokens and itself

So a prompt is read once however many responses it has, and rows need little padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
ROW = 256  # tokens per row of many short texts: the cost of attention grows with the square
PADDING = -1  # the branch of padding


@dataclass(frozen=True)
class Text:
    """A prompt and a response as tokens; the response is `tokens[start:end]`."""

    tokens: Ints
    start: int
    end: int
    segments: Ints | None = None  # 0 and 1, token types, where an encoder has them


@dataclass(frozen=True)
class Row:
    """One row of tokens, and where in it each text lies."""

    tokens: Ints  # (L,)
    positions: Ints  # (L,)
    branches: Ints  # (L,) 0: shared; 1, 2, …: seen by that text alone
    texts: tuple[int, ...]  # indices of the texts
    paths: tuple[Ints, ...]  # the positions in the row of each text's tokens, in reading order


def pack(texts: Sequence[Text], groups: Sequence[Sequence[int]], share: bool) -> list[Row]:
    """Pack texts into rows; with `share`, the common beginning of a group's texts is stored once."""
    if not share:
        return [_row(texts, [i]) for group in groups for i in group]
    return [_row(texts, part) for group in groups for part in _parts(texts, group)]


def _parts(texts: Sequence[Text], group: Sequence[int]) -> Iterator[list[int]]:
    """Split a group where its row would grow too long."""
    part: list[int] = []
    longest = max(len(texts[i].tokens) for i in group)
    room = max(ROW, 2 * longest)
    used = 0
    for i in group:
        own = len(texts[i].tokens) - (_common(texts[part[0]].tokens, texts[i].tokens) if part else 0)
        if part and used + own > room:
            yield part
            part, used, own = [], 0, len(texts[i].tokens)
        part.append(i)
        used += own
    yield part


def _row(texts: Sequence[Text], which: Sequence[int]) -> Row:
    first = texts[which[0]].tokens
    if len(which) == 1:
        places = np.arange(len(first))
        return Row(first, places, np.zeros(len(first), np.int64), (which[0],), (places,))
    shared = min(_common(first, texts[i].tokens) for i in which)
    tokens, positions = [first[:shared]], [np.arange(shared)]
    branches, paths, length = [np.zeros(shared, np.int64)], [], shared
    for number, i in enumerate(which, 1):
        own = texts[i].tokens[shared:]
        tokens.append(own)
        positions.append(np.arange(shared, shared + len(own)))
        branches.append(np.full(len(own), number))
        paths.append(np.concatenate([np.arange(shared), np.arange(length, length + len(own))]))
        length += len(own)
    return Row(np.concatenate(tokens), np.concatenate(positions), np.concatenate(branches), tuple(which), tuple(paths))


def _common(a: Ints, b: Ints) -> int:
    """The length of the common beginning of two texts."""
    n = min(len(a), len(b))
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n
