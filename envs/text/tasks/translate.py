"""Translate English into German, by a small but complete grammar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from ..task import Prompt
from .scores import bleu, exact, to_reference
from .splits import Draws, SeededTask, data_file


class Noun(NamedTuple):
    """A noun in both languages."""

    english: Sequence[str]  # singular, plural
    german: Sequence[str]  # singular, plural, plural in the dative
    gender: int  # 0 masculine, 1 feminine, 2 neuter


class Verb(NamedTuple):
    """A verb, its possible subjects and objects (kinds of nouns), and the case of the object in German."""

    english: Sequence[str]  # sees, see
    german: Sequence[str]  # sieht, sehen: the plural is the infinitive too
    subjects: Sequence[str]
    objects: Sequence[str]
    case: str = "accusative"
    link: Sequence[str] = ("", "")  # a preposition before the object
    to_whom: bool = False  # a person in the dative comes before the object


class Phrase(NamedTuple):
    """A noun with its article and adjective."""

    article: str  # "the", "a" or "my"
    adjective: str  # English, or ""
    noun: Noun
    plural: bool = False


_DATA = data_file("translate")
NOUNS = {kind: [Noun(**noun) for noun in nouns] for kind, nouns in _DATA["nouns"].items()}
VERBS = [Verb(**verb) for verb in _DATA["verbs"]]
MODALS, TIMES, ADJECTIVES = _DATA["modals"], _DATA["times"], _DATA["adjectives"]
# by case, each for masculine, feminine, neuter, plural
DEFINITE = _DATA["definite articles"]
INDEFINITE = _DATA["indefinite endings"]  # of ein and mein
WEAK, MIXED = _DATA["weak endings"], _DATA["mixed endings"]  # of an adjective after der; after ein and mein


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
    measures: ClassVar = {"gold": to_reference(bleu), "exact": to_reference(exact)}

    def make(self, draws: Draws) -> Prompt:
        """Make a sentence and its translation."""
        verb = draws.one(VERBS)
        subject = _phrase(verb.subjects, draws)
        receiver = _phrase(["persons"], draws, subject.noun) if verb.to_whom else None
        modal = draws.one(tuple(MODALS)) if draws.chance(0.3) else ""
        time = draws.one(tuple(TIMES)) if draws.chance(0.3) else ""
        source, target = sentence(subject, verb, _phrase(verb.objects, draws, subject.noun), receiver, modal, time)
        return Prompt(f"English: {source}\nGerman:", f" {target}")


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


def _phrase(kinds: Sequence[str], draws: Draws, other_than: Noun | None = None) -> Phrase:
    nouns = [noun for kind in kinds for noun in NOUNS[kind] if noun is not other_than]
    plural = draws.chance(0.3)
    article = draws.one(("the", "my") if plural else ("the", "a", "my"))
    return Phrase(article, draws.one(tuple(ADJECTIVES)) if draws.chance() else "", draws.one(nouns), plural)


def _written(parts: Sequence[str]) -> str:
    text = " ".join(filter(None, parts))
    return text[0].upper() + text[1:] + "."
