"""Reviews written by the grammar: split into prompt and response, or continued from a prompt."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from itertools import accumulate

import numpy as np

from ...task import Prompt
from .automaton import MOODS, NO_MOOD, pieces_of, read, write
from .domains import DOMAINS
from .grammar import start
from .lexicon import WORTH

PROMPT_WORDS = (3, 14)  # the shortest and the longest prompt, in words and marks
RESPONSE_WORDS = (4, 28)
TRAIN, HELDOUT = 4096, 512
_SEED = 20260
_ONCE = frozenset(
    " " + word for word in (*WORTH, *(thing.noun for domain in DOMAINS.values() for thing in domain.aspects))
)
Pair = tuple[str, str]


def write_review(rng: np.random.Generator) -> Pair:
    """Write a review and split it: (prompt, response), the response with its own leading space."""
    longest = PROMPT_WORDS[1] + RESPONSE_WORDS[1]
    while True:
        mood, where, how_far, *draws = rng.random(longest + 3).tolist()
        words, reached = write(start(), int(mood * len(MOODS)), iter(draws), longest)
        if reached.node is None and not _repeats(words):
            inside, more = _plan(where, how_far)
            at = min(words.index(".") + 1, inside) + more
            if at <= PROMPT_WORDS[1] and RESPONSE_WORDS[0] <= len(words) - at <= RESPONSE_WORDS[1]:
                return "".join(words[:at])[1:], "".join(words[at:])


def corpus(seed: int, n: int) -> Iterator[Pair]:
    """Write `n` reviews as (prompt, response), the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        yield write_review(rng)


def continue_review(prompt: str, rng: np.random.Generator) -> str:
    """Write a response to `prompt`; ValueError where the grammar has no review that begins so."""
    pieces = pieces_of(prompt) if prompt else []
    moods = range(len(MOODS)) if pieces is not None else ()
    ahead = [(mood, state, share) for mood in moods for state, share in read(start(), pieces or [], mood).items()]
    if pieces is None or not ahead:
        raise ValueError(f"prompt is {prompt!r}: expected the beginning of a review that the grammar can write")
    reached = list(accumulate(share for _, _, share in ahead))
    words: list[str] = []
    for attempt in range(200):
        pick, *draws = rng.random(RESPONSE_WORDS[1] + 1).tolist()
        mood, state, _ = ahead[min(bisect_right(reached, pick * reached[-1]), len(ahead) - 1)]
        words, end = write(state, mood, iter(draws), RESPONSE_WORDS[1])
        if end.node is None and (attempt >= 100 or not _repeats(pieces + words)):
            break
    return "".join(words) if pieces else "".join(words)[1:]


@cache
def prompts() -> dict[str, tuple[Prompt, ...]]:
    """Return the prompts by split, all different, in their fixed order."""
    rng = np.random.default_rng(_SEED)
    found: dict[str, None] = {}
    while len(found) < TRAIN + HELDOUT:
        for where, how_far, *draws in rng.random((512, sum(PROMPT_WORDS) + 8)).tolist():
            tape, (inside, more) = iter(draws), _plan(where, how_far)
            words, state = write(start(), NO_MOOD, tape, inside, ".")
            if more:
                ahead, _ = write(state, NO_MOOD, tape, more + RESPONSE_WORDS[0])
                words += ahead[:more]
                if len(words) > PROMPT_WORDS[1] or len(ahead) < more + RESPONSE_WORDS[0]:
                    continue
            if not _repeats(words):
                found["".join(words)[1:]] = None
    texts = list(found)
    order = np.argsort(rng.random(len(texts)), kind="stable").tolist()
    shuffled = tuple(Prompt(texts[i]) for i in order)
    return {"train": shuffled[:TRAIN], "heldout": shuffled[TRAIN : TRAIN + HELDOUT]}


def _plan(where: float, how_far: float) -> tuple[int, int]:
    """Choose where a prompt ends: after at most so many words of the first sentence, plus so many words."""
    shortest, longest = PROMPT_WORDS
    return (shortest + int(how_far * 7), 0) if where < 0.55 else (longest, int(how_far * 4))


def _repeats(words: list[str]) -> bool:
    """Whether a noun or an evaluative word occurs twice."""
    telling = [word for word in words if word in _ONCE]
    return len(set(telling)) < len(telling)
