"""The gold sentiment of a response, by a lexicon with negation, degree and contrast."""

from __future__ import annotations

import re
from math import copysign, tanh

from .domains import THINGS
from .lexicon import ANYTHING_BUT, FAR_FROM, MODIFIERS, WORTH, worth

SCALE = 0.75
BUT, ALTHOUGH = 1.3, 0.5  # weight of the clause after "but", and of an "although" clause
BEFORE_BUT = 0.6  # what is left of the weight of the clauses before "but"
_TOKENS = re.compile(r"[a-z']+|[^a-z' ]")
_ENDS = frozenset(".!?\n")
_MARKS = frozenset(",;:")
_TURNS = frozenset(("and", "because", "but", "although", "still", "however"))
Modifier = tuple[str, float]  # "strengthen", "soften", "negate" or "too", and how much


def _modified(value: float, modifiers: list[Modifier]) -> float:
    """Apply the modifiers before an evaluative word, nearest first."""
    plain, strengthened, negated = value, False, False
    for kind, amount in reversed(modifiers):
        if kind == "strengthen":
            value += (copysign(1.0, value) - value) * amount
            strengthened = True
        elif kind == "soften":
            value *= amount
        elif kind == "too":
            plain = value = -max(abs(value), 0.4)
        elif negated:
            value, negated = plain, False
        else:
            plain, negated = value, True
            value *= -amount * (0.7 if strengthened else 1.0)
    return value


def sentiment(prompt: str, response: str) -> float:
    """Return the sentiment of `response`, read as the continuation of `prompt`, in (-1, 1).

    A text is read word by word, ignoring case. The prompt provides context (an open "was not", an "although", the noun
    last named) but does not count; an empty response has 0.

    - An evaluative word has a value in [-1, 1], for some adjectives one that depends on the noun last named in the
      sentence (a cold beer, a cold soup). Modifiers before it in its clause apply to it, the nearest first: "really"
      moves it towards +-1, "a bit" shrinks it, "too" makes it negative, "not", "hardly", "lacked" and the like reverse
      and shrink it (a strengthened value more: "not very good" is milder than "not good"), and a second negation undoes
      the first ("never failed to"). The word uses them up, unless "or" follows. "not only" is no negation; "anything
      but" and "far from" are.
    - A clause ends at a mark, "and", "but", "although", "because", "still" or "however". Its value is the mean over its
      evaluative words; one that occurred in the response before with the same sign is skipped.
    - A clause weighs 1, but 1.3 after "but", "still" or "however" until the sentence ends, and half as much from
      "although" to the next mark or "but". A "but" multiplies the weight of the sentence's clauses before it by 0.6;
      "but also" changes no weight.
    - The sentiment is tanh(0.75 * sum of weight * value).
    """
    words = _TOKENS.findall(prompt.lower())
    first = len(words)
    words += _TOKENS.findall(response.lower())
    total, sentence = 0.0, 0.0
    said: set[tuple[str, bool]] = set()
    clause: list[float] = []
    modifiers: list[Modifier] = []
    used: list[Modifier] = []
    thing, weight, aside = "", 1.0, 1.0
    for i, word in enumerate([*words, "\n"]):
        if word in WORTH:
            value = _modified(worth(word, thing), modifiers)
            if i >= first and (word, value > 0) not in said:
                said.add((word, value > 0))
                clause.append(value)
            used, modifiers = modifiers, []
        elif word in MODIFIERS:
            modifiers.append(MODIFIERS[word])
        elif word in THINGS:
            thing = word
        elif word == "or":
            modifiers = list(used)
        elif word == "only" and i and words[i - 1] == "not":
            modifiers.pop()
        elif word == "from" and i and words[i - 1] == "far":
            modifiers[-1] = ("negate", FAR_FROM)
        elif word == "but" and i and words[i - 1] == "anything":
            modifiers.append(("negate", ANYTHING_BUT))
        elif word in _ENDS or word in _MARKS or word in _TURNS:
            if clause:
                sentence += weight * aside * sum(clause) / len(clause)
                clause = []
            modifiers, used = [], []
            if word in _ENDS:
                total, sentence = total + sentence, 0.0
                thing, weight, aside = "", 1.0, 1.0
            elif word == "but":
                aside = 1.0
                if words[i + 1 : i + 2] != ["also"]:
                    sentence, weight = sentence * BEFORE_BUT, BUT
            elif word == "although":
                aside = ALTHOUGH
            elif word in _MARKS:
                aside = 1.0
            elif word in ("still", "however"):
                weight = BUT
    return tanh(SCALE * total)
