"""The grammar of reviews: an opening about the subject, up to two sentences more, and a verdict."""

from __future__ import annotations

from functools import cache

from .automaton import Choice, Node, State, Word, accepts
from .clauses import evaluative, feels, felt_like, is_one, sort_of, verb_phrase
from .domains import DOMAINS, Domain
from .phrases import LEAN, in_mood, maybe, mostly, one_of, say

END = say(".")


@cache
def person(domain: Domain, opens: bool) -> Node:
    """ "I", or where several come together "we"."""
    return one_of(*(who if opens or who == "I" else who.lower() for who in domain.who))


@cache
def aspect(domain: Domain, sign: int, opens: bool) -> Node:
    """ "the acting was superb"."""
    the = "The" if opens else "the"
    return say(the, one_of(*(say(thing.noun, verb_phrase(thing, sign, domain.moves)) for thing in domain.aspects)))


@cache
def whole(domain: Domain, sign: int, opens: bool) -> Node:
    """ "it was a delight"."""
    return say("It" if opens else "it", is_one(domain, sign))


@cache
def dear(domain: Domain) -> tuple[str, ...]:
    """Return the aspects that one can love or hate."""
    return tuple(thing.noun for thing in domain.aspects if thing.general and "polite" not in thing.own)


@cache
def feeling(domain: Domain, sign: int, opens: bool) -> Node:
    """ "I loved the ending"."""
    return say(person(domain, opens), feels(sign, False), "the", one_of(*dear(domain)))


@cache
def there(domain: Domain, sign: int) -> Node:
    """ "There was nothing wrong with the soup"."""
    about = one_of(*dear(domain))
    if sign > 0:
        return one_of(
            say("There was nothing wrong with the", about),
            say("There was plenty to", evaluative([(1, "like"), (1, "enjoy"), (1, "love")])),
        )
    return one_of(
        (
            2,
            say("There was", one_of("little", "nothing"), "to", evaluative([(1, "like"), (1, "enjoy"), (1, "admire")])),
        ),
        say("Something was wrong with the", about),
    )


@cache
def first(domain: Domain, sign: int) -> Node:
    """A clause that may open a sentence."""
    return one_of((6, aspect(domain, sign, True)), (2, feeling(domain, sign, True)), (1, whole(domain, sign, True)))


@cache
def second(domain: Domain, sign: int) -> Node:
    """A clause that may follow another; after "but" it rarely has the wrong sign, which is grammatical too."""
    praise, blame = (one_of((3, aspect(domain, way, False)), (1, feeling(domain, way, False))) for way in (1, -1))
    return mostly(praise, blame) if sign > 0 else mostly(blame, praise)


@cache
def continuation(domain: Domain, sign: int) -> Node:
    """What may follow a first clause, up to the full stop; in a good mood criticism is rather followed by "but"."""
    same, other = second(domain, sign), second(domain, -sign)
    return Choice(
        (0.6, 0.0, END),
        (0.22, -sign * LEAN, say(", but", other, END)),
        (0.1, 0.0, say(", and", same, END)),
        (0.05, 0.0, say(", although", other, END)),
        (0.03, -sign * LEAN, say(". However,", other, END)),
    )


@cache
def sentence(domain: Domain) -> Node:
    """A sentence of the middle."""

    def kinds(sign: int) -> Node:
        return one_of(
            (0.87, say(first(domain, sign), continuation(domain, sign))),
            (0.05, say(there(domain, sign), END)),
            (0.08, say("Although", aspect(domain, -sign, False), ",", second(domain, sign), END)),
        )

    return in_mood(kinds(1), kinds(-1))


@cache
def opening(domain: Domain) -> Node:
    """The first sentence, which names what is reviewed."""
    name, who = one_of(*domain.names), person(domain, True)
    been = one_of(*(say(who, *(name if word == "{}" else word for word in phrase.split())) for phrase in domain.been))

    def kinds(sign: int) -> Node:
        subject = verb_phrase(domain.subject, sign, domain.moves)
        return one_of(
            (0.67, say(one_of((3, "The"), domain.this), name, subject, continuation(domain, sign))),
            (0.07, say("Although the", name, subject, ",", second(domain, -sign), END)),
            (0.15, say("This was", sort_of(domain, sign, domain.names), continuation(domain, sign))),
        )

    def loved(sign: int) -> Node:
        part = say(feels(sign, False), "the", one_of(*dear(domain)))
        return say(person(domain, False), one_of(say(feels(sign, True), "it"), part))

    later = one_of((0.6, END), (0.4, say(one_of((2, ", and"), ", but"), in_mood(loved(1), loved(-1)), END)))
    return one_of((0.78, in_mood(kinds(1), kinds(-1))), (0.22, say(been, maybe(0.7, one_of(*domain.when)), later)))


@cache
def verdict(domain: Domain, sign: int, opens: bool) -> Node:
    """A conclusion: would one come again, was it worth the money?"""
    who, it = person(domain, opens), "It" if opens else "it"
    bargain, to_whom = one_of(*domain.bargains), maybe(0.6, one_of("to anyone", "to a friend", "to my family"))
    if sign > 0:
        kinds = [
            (3, say(who, "would", maybe(0.4, one_of("gladly", "happily")), domain.again)),
            (3, say(who, "would", maybe(0.3, one_of("gladly", "really")), "recommend it", to_whom)),
            (2, say(it, "was", maybe(0.3, "really"), "worth", bargain)),
            (1, say(who, "had no", evaluative([(1, "complaints"), (1, "regrets")]))),
            (1.5 * domain.returns, say(who, "will be back")),
            (1.0 * domain.returns, say(who, "did not want to leave")),
            (0.8 if domain.stop else 0, say(who, "could not stop", domain.stop or "")),
            (1.0 if domain.grips else 0, say(who, domain.grips or "")),
        ]
    else:
        never = one_of((3, "would not"), (2, "would never"), "wouldn't")
        kinds = [
            (3, say(who, never, domain.again)),
            (3, say(who, never, "recommend it", to_whom)),
            (2, say(it, "was", one_of("not", "hardly", "never"), "worth", bargain)),
            (1, say(it, "was a", maybe(0.3, "complete"), "waste of", one_of("time", "money"))),
            (1, say(who, "would", maybe(0.2, "rather"), "avoid it")),
            (1.5 * domain.returns, say(who, "will", one_of("not", "never"), "be back")),
            (0.7 * domain.returns, say(who, "asked for a refund")),
            (0.7 * domain.returns, say(who, "wanted to leave")),
            (0.8 if domain.stop else 0, say(who, "soon stopped", domain.stop or "")),
            (1.0 if domain.loses else 0, say(who, maybe(0.4, "nearly"), domain.loses or "")),
        ]
    return one_of(*kinds)


@cache
def ending(domain: Domain, contrast: bool) -> Node:
    """The last sentence, or the last two, which with `contrast` may contradict each other."""

    def kinds(sign: int) -> Node:
        because = maybe(0.3, "because", mostly(aspect(domain, sign, False), aspect(domain, -sign, False)))
        still = mostly(verdict(domain, sign, False), verdict(domain, -sign, False))
        am = one_of(*("I was" if name == "I" else "We were" for name in domain.who))
        return one_of(
            (4, verdict(domain, sign, True)),
            (1.5, say(person(domain, True), feels(sign, True), "it", because)),
            (0.6, say(am, felt_like(sign))),
            (0.8, say(one_of("Overall,", "In the end,"), whole(domain, sign, False))),
            (0.7 if contrast else 0.0, say(aspect(domain, -sign, True), ". Still,", still)),
        )

    return say(in_mood(kinds(1), kinds(-1)), END)


@cache
def review(domain: Domain) -> Node:
    """A whole review, mostly of two to four sentences."""
    middle = sentence(domain)
    longer = say(middle, one_of((0.77, ending(domain, True)), (0.23, say(middle, ending(domain, False)))))
    return say(opening(domain), one_of((0.35, ending(domain, True)), (0.65, longer)))


@cache
def start() -> State:
    """Where every review begins."""
    return State(one_of(*(review(domain) for domain in DOMAINS.values())), State())


def grammatical(text: str) -> bool:
    """Whether the grammar can write exactly this review."""
    return accepts(start(), text)


@cache
def words() -> tuple[str, ...]:
    """Every word form and mark that the grammar can write, sorted."""
    seen: set[Node] = set()
    ahead: list[Node] = [review(domain) for domain in DOMAINS.values()]
    while ahead:
        node = ahead.pop()
        if node not in seen:
            seen.add(node)
            ahead += node.parts
    return tuple(sorted({node.text.strip() for node in seen if isinstance(node, Word)}))
