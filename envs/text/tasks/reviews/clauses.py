"""Clauses about a noun, with praise (sign 1) or criticism (-1)."""

from __future__ import annotations

from functools import cache

from .automaton import Choice, Node, Word
from .domains import Domain, Thing
from .lexicon import FELT, FELT_LIKE, HAD, MADE, MOVED, WAS_A, WORTH, worth
from .phrases import maybe, mostly, one_of, say, with_article

EXTREME = 0.8  # from this value on, an adjective takes "absolutely" and not "very"
UNGRADED = frozenset(("fine", "decent", "ordinary", "mediocre"))  # takes neither
TONE = 0.5  # weight of the mood in the choice of stronger words
OVERDONE = {"long", "slow", "sweet", "salty", "heavy", "loud", "small", "rich", "hot", "cold",
            "expensive", "high", "silly"}  # fmt: skip
GOOD_OVERDONE = {"sweet", "rich", "hot"}  # of these, the good ones
LASTING = {"dull", "lazy", "noisy"}  # may follow "never"
VARYING = {"cold", "warm", "hot", "dry", "cheap", "expensive", "long"}  # do not stand before a noun


def evaluative(words: list[tuple[float, str]], thing: str = "") -> Node:
    """One of several evaluative words, each with its share."""
    return Choice(*((share, 0.0, Word(word, TONE * worth(word, thing))) for share, word in words))


def signed(table: dict[str, float], sign: int) -> Node:
    """One of the words of a table that praise, or criticise."""
    return evaluative([(1.0, word) for word, value in table.items() if value * sign > 0])


@cache
def verb(table: tuple[tuple[str, str, float], ...], sign: int, form: int) -> Node:
    """One of the verbs that praise, or criticise, in the past (0) or as after "did not" (1)."""
    return evaluative([(1.0, (past, base)[form]) for past, base, value in table if value * sign > 0])


@cache
def adjective(thing: Thing, sign: int, extreme: bool | None = None) -> Node:
    """An adjective for the noun; `extreme`: rather one that takes "absolutely" (True) or "very" (False)."""
    every = [(1.0 if own else 0.45, word) for word, own in thing.adjectives(sign)]
    if extreme is None:
        return evaluative(every, thing.noun)
    fitting = [
        (share, word) for share, word in every if (abs(WORTH[word]) >= EXTREME) is extreme and word not in UNGRADED
    ]
    return mostly(evaluative(fitting, thing.noun), adjective(thing, sign))


@cache
def predicate(thing: Thing, sign: int) -> Node:
    """What follows "was" or "were"."""
    some, plain, other = adjective(thing, sign), adjective(thing, sign, False), adjective(thing, -sign, False)
    degree = one_of("fairly", "quite") if sign > 0 else one_of("a bit", "rather", "slightly", "quite")
    never = 2 if LASTING & set(thing.own) else 0
    options: list[tuple[float, Node]] = [
        (0.4, some),
        (0.14, say(one_of((2, "really"), (2, "very"), "so", "extremely", "truly"), plain)),
        (0.06, say(degree, plain)),
        (0.09, say(one_of((4, "not"), (never, "never"), "hardly"), other)),
        (0.02, say("really not", other)),
        (0.03, say(one_of("far from", "anything but"), other)),
    ]
    if sign < 0:
        options.append((0.04, say("not", one_of("very", "really", "so"), other)))
    if thing.general:
        expected = say("better" if sign > 0 else "worse", "than I expected")
        options.append((0.05, say(maybe(0.4, one_of("far", "much")), expected)))
        options.append((0.05, say(one_of("absolutely", "truly"), adjective(thing, sign, True))))
    overdone = [word for word in thing.own if word in OVERDONE]
    too = [(1.0, word) for word in overdone if word in GOOD_OVERDONE or worth(word, thing.noun) < 0]
    if too:
        options.append((0.05, say("too" if sign < 0 else "not too", evaluative(too, thing.noun))))
    if len(thing.own) > 5:
        options.append((0.08, say(some, "and", some)))
        options.append((0.02, say("not only", some, "but also", some)))
        options.append((0.02, say("neither", other, "nor", other)))
    return one_of(*options)


@cache
def moved(sign: int) -> Node:
    """The effect of a story: "bored me", "never failed to surprise me", "made me laugh"."""
    return one_of(
        (4, say(verb(MOVED, sign, 0), "me")),
        (2, say("did not", verb(MOVED, -sign, 1), "me")),
        (1, say("never", verb(MOVED, -sign, 0), "me")),
        (2, say("never failed to" if sign > 0 else "failed to", verb(MOVED, 1, 1), "me")),
        (2, say("made me", signed(MADE, sign))),
        (1, say("never made me", signed(MADE, -sign))),
    )


@cache
def verb_phrase(thing: Thing, sign: int, moves: bool) -> Node:
    """What follows the noun: a whole predicate with its verb."""
    rare = 1.0 if thing.general else 0.0
    return one_of(
        (0.85, say("were" if thing.plural else "was", predicate(thing, sign))),
        (0.03 * rare, "could not have been better" if sign > 0 else "could have been better"),
        (0.02 * rare, "could have been worse" if sign > 0 else "could not have been worse"),
        (0.1 if moves else 0.0, moved(sign)),
    )


@cache
def sort_of(domain: Domain, sign: int, names: tuple[str, ...]) -> Node:
    """ "a great film", "a really dull story"."""
    kinds: list[tuple[float, str, Node]] = []
    for word, own in domain.subject.adjectives(sign):
        if word not in VARYING:
            share, named = (1.0 if own else 0.7), evaluative([(1.0, word)])
            kinds.append((share, word, named))
            if abs(WORTH[word]) < EXTREME and word not in UNGRADED:
                kinds += [(0.1 * share, much, say(much, named)) for much in ("really", "very", "extremely")]
    return say(with_article(*kinds), one_of(*names))


@cache
def is_one(domain: Domain, sign: int) -> Node:
    """What follows "it", said of the subject as a whole."""
    kinds = [(1.0, word, evaluative([(1.0, word)])) for word, value in WAS_A.items() if value * sign > 0]
    kinds += [
        (0.2, much, say(much, signed(WAS_A, sign))) for much in ("absolute", "complete" if sign < 0 else "true", "real")
    ]
    thing = domain.subject
    return one_of(
        (0.5, verb_phrase(thing, sign, domain.moves)),
        (0.15, say("was", sort_of(domain, sign, (domain.kind,)))),
        (0.2, say("was", with_article(*kinds))),
        (0.05, say("had", one_of("plenty of", "so much" if sign > 0 else "so many"), signed(HAD, sign))),
        (0.05, say("had", one_of("no", "hardly any") if sign > 0 else one_of("no", "little"), signed(HAD, -sign))),
        (0.05 if sign < 0 else 0.0, say("lacked", signed(HAD, 1))),
    )


@cache
def feels(sign: int, whole: bool) -> Node:
    """What follows "I" before "it" or, where it is no `whole`, a part of it: "loved", "did not regret"."""
    odd = "admired" if whole else "regretted"
    table = tuple(row for row in FELT if row[0] != odd)
    negated = 1.0 if sign < 0 else 0.2
    return one_of(
        (5, verb(table, sign, 0)),
        (2, say("really", verb(table, sign, 0))),
        (3 * negated, say(one_of((2, "did not"), "didn't"), verb(table, -sign, 1))),
        (0.7 * negated, say("never", verb(table, -sign, 0))),
    )


@cache
def felt_like(sign: int) -> Node:
    """What follows "I was": "not happy with it", "really disappointed"."""
    moods = [(2.0, word) for word in FELT_LIKE] + [(1.0, past) for past, _, _ in MOVED if past != "surprised"]
    same, other = (evaluative([(n, word) for n, word in moods if WORTH[word] * way > 0]) for way in (sign, -sign))
    return say(
        one_of((4, same), (2, say(one_of("really", "very", "so"), same)), (1.5, say("not", other))),
        maybe(0.5, "with it"),
    )
