"""Similarity of a response to a reference, from 0 to 1."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from ..task import Prompt, Scores

Measure = Callable[[Prompt, str], float]


def score_each(score: Measure, prompts: Sequence[Prompt], responses: Sequence[str]) -> Scores:
    """Return `score(prompt, response)` of each pair. # (N,)"""
    if len(prompts) != len(responses):
        raise ValueError(f"{len(responses)} responses to {len(prompts)} prompts: expected one for each")
    return np.array([score(*pair) for pair in zip(prompts, responses, strict=True)], dtype=np.float64)


def to_reference(score: Callable[[str, str], float]) -> Measure:
    """Return the measure `score(response, reference)`."""

    def measure(prompt: Prompt, response: str) -> float:
        if prompt.reference is None:
            raise ValueError(f"prompt {prompt.text!r} has no reference: expected one, a good response")
        return score(response, prompt.reference)

    return measure


def words(text: str) -> list[str]:
    """Words and numbers in lower case, without punctuation."""
    return re.findall(r"\w+", text.lower())


def normalised(text: str) -> str:
    """The text in lower case, with single spaces between words and no final full stop."""
    return " ".join(text.lower().split()).removesuffix(".").rstrip()


def exact(response: str, reference: str) -> float:
    """1 where both are the same once normalised."""
    return float(normalised(response) == normalised(reference))


def overlap_f1(response: str, reference: str) -> float:
    """F1 of the words both have (ROUGE-1): each counts as often as it occurs in both."""
    ours, theirs = Counter(words(response)), Counter(words(reference))
    return _f1((ours & theirs).total(), ours.total(), theirs.total())


def rouge_l(response: str, reference: str) -> float:
    """F1 of the longest common subsequence of words (ROUGE-L)."""
    ours, theirs = words(response), words(reference)
    return _f1(_longest_common(ours, theirs), len(ours), len(theirs))


def bleu(response: str, reference: str, order: int = 4) -> float:
    """Sentence BLEU: the geometric mean of the n-gram precisions, n = 1 to 4, times the brevity penalty.

    Over words and punctuation marks, with case. As sacreBLEU's `sentence_bleu`: an n for which the response is too
    short is left out; the k-th n without a match counts 1/2^k of a match; a response without any match has 0.
    """
    ours, theirs = (re.findall(r"\w+|[^\w\s]", text) for text in (response, reference))
    logs: list[float] = []
    credit = 1.0
    for n in range(1, min(order, len(ours)) + 1):
        found = _ngrams(ours, n)
        matches: float = (found & _ngrams(theirs, n)).total()
        if n == 1 and not matches:
            return 0.0
        if not matches:
            credit /= 2
            matches = credit
        logs.append(math.log(matches / found.total()))
    if not logs:
        return 0.0
    brevity = min(0.0, 1 - len(theirs) / len(ours))
    return math.exp(brevity + sum(logs) / len(logs))


def _f1(common: int, ours: int, theirs: int) -> float:
    return 2 * common / (ours + theirs) if common else float(ours == theirs == 0)


def _ngrams(tokens: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def _longest_common(ours: list[str], theirs: list[str]) -> int:
    """The length of the longest common subsequence, a whole row of the table as bits of an int (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for i, word in enumerate(ours):
        places[word] = places.get(word, 0) | 1 << i
    every = (1 << len(ours)) - 1
    row = every
    for word in theirs:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & every
    return len(ours) - row.bit_count()
