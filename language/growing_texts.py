"""Observations of texts that only grow, so that a step need not look at what it has seen before.

A grid of token ids (N, context) costs as much to copy or to compare as it is wide, at every token. Whoever may be
handed any observation at all has to compare it whole: a foreign environment may replace a text without a word, and a
look at a few places is not enough. Where only the latest tokens are shown, "b a a" goes on to "a a a": as long as it
was, with the same token at its end.

So nothing is guessed. The text environments promise that tokens are put behind a text and none of it is changed until
it ends, and say so by what they return: a `GrowingTexts`, of which only the new tokens are read. Whatever a wrapper or
a subclass makes of it is an ordinary array again, and is compared whole.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class GrowingTexts(np.ndarray[Any, np.dtype[np.int64]]):
    """Token ids (N, context), padded with −1: the environment's own array, read-only, which its next step changes.

    Until a text ends it only grows; that it has ended is reported beside it.
    """

    lengths: Ints | None  # (N,) tokens of each text; None: this was made of a GrowingTexts, and promises nothing

    def __array_finalize__(self, other: object) -> None:
        self.lengths = None

    @classmethod
    def of(cls, tokens: Ints, lengths: Ints) -> GrowingTexts:
        """Look at an array of texts that have these lengths by now."""
        texts = tokens.view(cls)
        texts.flags.writeable = False
        texts.lengths = lengths.copy()
        return texts


def growing_lengths(tokens: Ints) -> Ints | None:  # -> (N,)
    """How many tokens each text has; None where nobody promises that they only grow."""
    return tokens.lengths if isinstance(tokens, GrowingTexts) else None


def is_new_text(seen: Ints, before: Ints, tokens: Ints, lengths: Ints, starts: Flags) -> Flags:  # -> (N,)
    """Which growing texts are others than those of which `seen` (N, context) has the first `before` (N,) tokens.

    These are what `starts` says. One that is shorter than it was, or has another token where it ended, is too: should
    a reset have been missed, that shows it in most cases, and to look at one token costs next to nothing.
    """
    every, last = np.arange(len(seen)), np.maximum(before - 1, 0)
    other = seen[every, last] != np.asarray(tokens)[every, last]
    new: Flags = starts | (lengths < before) | (other & (before > 0))
    return new


def copy_new_tokens(seen: Ints, before: Ints, tokens: Ints, lengths: Ints) -> None:
    """Write into `seen` what growing texts have beyond their first `before` tokens; where that is 0, all they have."""
    tokens = np.asarray(tokens)
    seen[before == 0] = -1
    one = np.flatnonzero(lengths - before == 1)
    seen[one, before[one]] = tokens[one, before[one]]
    for row in np.flatnonzero(lengths - before > 1).tolist():
        seen[row, before[row] : lengths[row]] = tokens[row, before[row] : lengths[row]]
