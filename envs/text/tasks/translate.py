"""Translate English into German, by a small but complete grammar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from ..task import Prompt, Scores
from .scores import against_references, bleu, exact
from .splits import Draws, SeededTask


class Noun(NamedTuple):
    """A noun in both languages."""

    english: tuple[str, str]  # singular, plural
    german: tuple[str, str, str]  # singular, plural, plural in the dative
    gender: int  # 0 masculine, 1 feminine, 2 neuter


class Verb(NamedTuple):
    """A verb, its possible subjects and objects, and the case of the object in German."""

    english: tuple[str, str]  # sees, see
    german: tuple[str, str]  # sieht, sehen: the plural is the infinitive too
    subjects: tuple[Noun, ...]
    objects: tuple[Noun, ...]
    case: str = "accusative"
    link: tuple[str, str] = ("", "")  # a preposition before the object


class Phrase(NamedTuple):
    """A noun with its article and adjective."""

    article: str  # "the", "a" or "my"
    adjective: str  # English, or ""
    noun: Noun
    plural: bool = False


MAN = Noun(("man", "men"), ("Mann", "Männer", "Männern"), 0)
TEACHER = Noun(("teacher", "teachers"), ("Lehrer", "Lehrer", "Lehrern"), 0)
WOMAN = Noun(("woman", "women"), ("Frau", "Frauen", "Frauen"), 1)
CHILD = Noun(("child", "children"), ("Kind", "Kinder", "Kindern"), 2)
DOG = Noun(("dog", "dogs"), ("Hund", "Hunde", "Hunden"), 0)
CAT = Noun(("cat", "cats"), ("Katze", "Katzen", "Katzen"), 1)
HORSE = Noun(("horse", "horses"), ("Pferd", "Pferde", "Pferden"), 2)
BALL = Noun(("ball", "balls"), ("Ball", "Bälle", "Bällen"), 0)
BAG = Noun(("bag", "bags"), ("Tasche", "Taschen", "Taschen"), 1)
BOOK = Noun(("book", "books"), ("Buch", "Bücher", "Büchern"), 2)

PERSONS = (MAN, TEACHER, WOMAN, CHILD)
ANIMALS = (DOG, CAT, HORSE)
THINGS = (BALL, BAG, BOOK)
ALIVE = PERSONS + ANIMALS

GIVE = Verb(("gives", "give"), ("gibt", "geben"), PERSONS, THINGS)  # and a person in the dative
VERBS = (
    Verb(("sees", "see"), ("sieht", "sehen"), ALIVE, ALIVE + THINGS),
    Verb(("finds", "find"), ("findet", "finden"), ALIVE, ALIVE + THINGS),
    Verb(("loves", "love"), ("liebt", "lieben"), ALIVE, ALIVE),
    Verb(("buys", "buy"), ("kauft", "kaufen"), PERSONS, ANIMALS + THINGS),
    Verb(("helps", "help"), ("hilft", "helfen"), PERSONS, ALIVE, "dative"),
    Verb(("follows", "follow"), ("folgt", "folgen"), ALIVE, ALIVE, "dative"),
    Verb(("plays", "play"), ("spielt", "spielen"), ALIVE, ALIVE, "dative", ("with ", "mit ")),
    GIVE,
)
MODALS = {"can": ("kann", "können"), "must": ("muss", "müssen")}
TIMES = {"Today": "Heute", "Now": "Jetzt", "Often": "Oft"}
ADJECTIVES = {"old": "alt", "small": "klein", "big": "groß", "new": "neu", "beautiful": "schön", "good": "gut"}

# masculine, feminine, neuter, plural
DEFINITE = {
    "nominative": ("der", "die", "das", "die"),
    "accusative": ("den", "die", "das", "die"),
    "dative": ("dem", "der", "dem", "den"),
}
INDEFINITE = {  # the endings of ein and mein
    "nominative": ("", "e", "", "e"),
    "accusative": ("en", "e", "", "e"),
    "dative": ("em", "er", "em", "en"),
}
WEAK = {  # the endings of an adjective after der
    "nominative": ("e", "e", "e", "en"),
    "accusative": ("en", "e", "e", "en"),
    "dative": ("en", "en", "en", "en"),
}
MIXED = {  # and after ein and mein
    "nominative": ("er", "e", "es", "en"),
    "accusative": ("en", "e", "es", "en"),
    "dative": ("en", "en", "en", "en"),
}


class TextTranslate(SeededTask):
    """English sentences, each with its one correct translation into German.

    Three genders, two numbers and three cases; der, ein and mein with the adjective endings after them; objects in the
    accusative, in the dative (help, follow, with) or both (give). After "can" and "must" the German verb comes last;
    after a time ("Today") it comes before the subject.

    `measure`: "gold" is the sentence BLEU of `scores.bleu`, from 0 to 1, where 1 is the reference itself; "exact" is 1
    where both are equal, ignoring case, spaces and a final full stop.
    """

    name = "translate"
    max_new_tokens = 18
    needs: ClassVar[tuple[str, ...]] = ("reference",)

    def make(self, draws: Draws) -> Prompt:
        """Make a sentence and its translation."""
        verb = draws.one(VERBS)
        subject = _phrase(verb.subjects, draws)
        others = tuple(noun for noun in PERSONS if noun is not subject.noun)
        receiver = _phrase(others, draws) if verb is GIVE else None
        things = tuple(noun for noun in verb.objects if noun is not subject.noun)
        modal = draws.one(tuple(MODALS)) if draws.chance(0.3) else ""
        time = draws.one(tuple(TIMES)) if draws.chance(0.3) else ""
        source, target = sentence(subject, verb, _phrase(things, draws), receiver, modal, time)
        return Prompt(f"English: {source}\nGerman:", f" {target}")

    def measure(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Mapping[str, Scores]:
        """Compare each response with its prompt's reference: "gold" and "exact"."""
        return {
            "gold": against_references(bleu, prompts, responses),
            "exact": against_references(exact, prompts, responses),
        }


def sentence(
    subject: Phrase, verb: Verb, thing: Phrase, receiver: Phrase | None = None, modal: str = "", time: str = ""
) -> tuple[str, str]:
    """Return a sentence in English and in German."""
    form = int(subject.plural)
    finite, last = (MODALS[modal][form], verb.german[1]) if modal else (verb.german[form], "")
    to_whom = ("", "") if receiver is None else (english(receiver), german(receiver, "dative"))
    does = f"{modal} {verb.english[1]}" if modal else verb.english[form]
    source = (time, english(subject), does, to_whom[0], verb.link[0] + english(thing))
    who = german(subject, "nominative")
    begun = (TIMES[time], finite, who) if time else (who, finite)
    target = (*begun, to_whom[1], verb.link[1] + german(thing, verb.case), last)
    return _written(source), _written(target)


def english(phrase: Phrase) -> str:
    """ "an old dog"."""
    article = "an" if phrase.article == "a" and phrase.adjective.startswith("o") else phrase.article
    return " ".join(filter(None, (article, phrase.adjective, phrase.noun.english[phrase.plural])))


def german(phrase: Phrase, case: str) -> str:
    """ "einen alten Hund", in the accusative."""
    column = 3 if phrase.plural else phrase.noun.gender
    if phrase.article == "the":
        article, ending = DEFINITE[case][column], WEAK[case][column]
    else:
        stem = {"a": "ein", "my": "mein"}[phrase.article]
        article, ending = stem + INDEFINITE[case][column], MIXED[case][column]
    adjective = phrase.adjective and ADJECTIVES[phrase.adjective] + ending
    noun = phrase.noun.german[phrase.plural + (phrase.plural and case == "dative")]
    return " ".join(filter(None, (article, adjective, noun)))


def _phrase(nouns: Sequence[Noun], draws: Draws) -> Phrase:
    plural = draws.chance(0.3)
    article = draws.one(("the", "my") if plural else ("the", "a", "my"))
    return Phrase(article, draws.one(tuple(ADJECTIVES)) if draws.chance() else "", draws.one(nouns), plural)


def _written(parts: Sequence[str]) -> str:
    text = " ".join(filter(None, parts))
    return text[0].upper() + text[1:] + "."
