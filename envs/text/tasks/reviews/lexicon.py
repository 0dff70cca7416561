"""The values of evaluative words, -1 to 1: the one list (lexicon.json) for the grammar and the gold sentiment."""

from __future__ import annotations

from ..splits import data_file

_TABLES = data_file("reviews/lexicon")

Verb = tuple[str, str, float]  # past, base form, value
FELT: tuple[Verb, ...] = tuple(map(tuple, _TABLES["felt"]))
MOVED: tuple[Verb, ...] = tuple(map(tuple, _TABLES["moved"]))
MADE: dict[str, float] = _TABLES["made"]
FELT_LIKE: dict[str, float] = _TABLES["felt_like"]
WAS_A: dict[str, float] = _TABLES["was_a"]
HAD: dict[str, float] = _TABLES["had"]

WORTH: dict[str, float] = {
    **_TABLES["adjectives"], **MADE, **FELT_LIKE, **WAS_A, **HAD, **_TABLES["other"],
    **{form: value for past, base, value in (*FELT, *MOVED) for form in (past, base)},
}  # fmt: skip
"""The value of each evaluative word by itself."""

EXCEPT: dict[tuple[str, str], float] = {
    (word, noun): value for word, nouns in _TABLES["adjectives_of"].items() for noun, value in nouns.items()
}
"""The value of an adjective for one noun: a cold beer is good, a cold soup is not."""

MODIFIERS: dict[str, tuple[str, float]] = {
    word: (kind, share) for kind in ("strengthen", "soften", "negate") for word, share in _TABLES[kind].items()
} | {"too": ("too", 0.0)}
"""The words before an evaluative word that strengthen its value (by the share by which it moves towards ±1), soften it
(the share that is left of it) or reverse it (likewise; "have": "could have been better")."""
ANYTHING_BUT, FAR_FROM = 0.95, 0.9  # two that are two words


def worth(word: str, noun: str = "") -> float:
    """Return the value of an evaluative word said of `noun`."""
    return EXCEPT.get((word, noun), WORTH[word])
