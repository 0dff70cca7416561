"""Summarize a short report in one sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from ..task import Prompt, Scores
from .scores import against_references, overlap_f1, rouge_l
from .splits import Draws, SeededTask

WOMEN = ("Anna", "Clara", "Emma", "Lena", "Nora", "Sara")
MEN = ("Ben", "David", "Felix", "Max", "Paul", "Tom")
PLACES = ("Berlin", "Dublin", "Lisbon", "Madrid", "Oslo", "Paris", "Prague", "Rome", "Vienna", "Zurich")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
RELATIVES = ("brother", "sister", "mother", "father", "friend")
PETS = ("dog", "cat", "horse")
LOOKS = ("small", "big", "black", "white")
ACTS = ("bought", "sold", "found", "painted")
OBJECTS = ("house", "boat", "shop", "car", "bike")
FEATS = ("won a race", "lost a race", "wrote a book", "saved a child")
BUILDINGS = ("school", "bridge", "park", "market", "station")
DISASTERS = ("storm", "fire", "flood")
VICTIMS = ("houses", "boats", "trees", "shops", "cars")
NUMBERS = ("two", "three", "four", "five", "six")
WEATHER = ("cold", "warm", "bad", "good")
MOODS = ("happy", "tired", "proud")


class Report(NamedTuple):
    """The sentences of a report."""

    opening: str  # comes first
    main: str
    details: tuple[str, ...]  # two to four of them, in any order with the main one
    summary: str


class TextSummarize(SeededTask):
    """A report of four to six sentences about a person, a place or an event, to be summarized in one.

    Two of the sentences matter, among details that look alike (what the person did last year, where a brother works);
    a summary names who, where, what and when.

    `measure`: "gold" is ROUGE-1, the F1 of the words that response and reference share; "rouge_l" is the F1 of their
    longest common subsequence of words. Both are from 0 to 1 and ignore case and punctuation.
    """

    name = "summarize"
    max_new_tokens = 16
    needs: ClassVar[tuple[str, ...]] = ("reference",)

    def make(self, draws: Draws) -> Prompt:
        """Make a report and its summary."""
        report = draws.one((_person, _place, _event))(draws)
        opened = report.opening.count(".")
        n_details = draws.one((4, 5, 6)) - opened - 1
        rest = [report.main, *draws.some(report.details, n_details)]
        text = " ".join([report.opening, *draws.some(rest, len(rest))])
        return Prompt(f"Text: {text}\nSummary:", f" {report.summary}")

    def measure(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Mapping[str, Scores]:
        """Compare each response with its prompt's reference: "gold" and "rouge_l"."""
        return {
            "gold": against_references(overlap_f1, prompts, responses),
            "rouge_l": against_references(rouge_l, prompts, responses),
        }


def _person(draws: Draws) -> Report:
    name, she, her = _someone(draws)
    place, elsewhere = draws.some(PLACES, 2)
    day = draws.one(DAYS)
    did, once = _deed(draws), _deed(draws)
    return Report(
        f"{name} {draws.one(('lives in', 'comes from'))} {place}.",
        _on(day, f"{she} {did}", draws),
        (
            f"{she.capitalize()} has a {draws.one(LOOKS)} {draws.one(PETS)}.",
            f"{her} {draws.one(RELATIVES)} works in {elsewhere}.",
            f"Last year {she} {once}.",
            f"{she.capitalize()} is {10 + int(draws.random() * 80)} years old.",
            f"{she.capitalize()} was very {draws.one(MOODS)}.",
            f"The weather was {draws.one(WEATHER)}.",
        ),
        f"{name} from {place} {did} on {day}.",
    )


def _place(draws: Draws) -> Report:
    name, she, _ = _someone(draws)
    place, day = draws.one(PLACES), draws.one(DAYS)
    new, other = draws.some(BUILDINGS, 2)
    return Report(
        f"{place} is {draws.one(('a small', 'an old', 'a big'))} town. {name} is the mayor.",
        _on(day, f"{she} opened a new {new}", draws),
        (
            f"The {other} is very {draws.one(('small', 'old', 'big'))}.",
            f"Last year {she} closed the {other}.",
            f"{she.capitalize()} was very {draws.one(MOODS)}.",
            f"The weather was {draws.one(WEATHER)}.",
            "Many people came.",
        ),
        f"Mayor {name} opened a new {new} in {place} on {day}.",
    )


def _event(draws: Draws) -> Report:
    name, _, _ = _someone(draws)
    place, elsewhere = draws.some(PLACES, 2)
    day, disaster = draws.one(DAYS), draws.one(DISASTERS)
    lost, victims = draws.one(NUMBERS), draws.one(VICTIMS)
    return Report(
        _on(day, f"there was a {disaster} in {place}", draws),
        f"The {disaster} destroyed {lost} {victims}.",
        (
            f"The {disaster} did not come to {elsewhere}.",
            f"The {disaster} lasted {draws.one(NUMBERS)} hours.",
            f"{name} lost a {draws.one(PETS)}.",
            f"The {draws.one(BUILDINGS)} was closed.",
            f"The weather is {draws.one(WEATHER)} now.",
            "Many people helped.",
        ),
        f"A {disaster} in {place} destroyed {lost} {victims} on {day}.",
    )


def _someone(draws: Draws) -> tuple[str, str, str]:
    if draws.chance():
        return draws.one(WOMEN), "she", "Her"
    return draws.one(MEN), "he", "His"


def _deed(draws: Draws) -> str:
    return draws.one(FEATS) if draws.chance(0.4) else f"{draws.one(ACTS)} a {draws.one(OBJECTS)}"


def _on(day: str, what: str, draws: Draws) -> str:
    """The day first or last."""
    return f"On {day} {what}." if draws.chance() else f"{what[0].upper()}{what[1:]} on {day}."
