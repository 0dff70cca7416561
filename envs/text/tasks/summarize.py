"""Summarize a short report in one sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from ..task import Prompt
from .scores import overlap_f1, rouge_l, to_reference
from .splits import Draws, SeededTask, data_file

_DATA = data_file("summarize")
WOMEN, MEN = _DATA["women"], _DATA["men"]
WORDS = {**_DATA["words"], "age": [str(age) for age in range(10, 90)]}  # what may fill a gap of a report


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
    measures: ClassVar = {"gold": to_reference(overlap_f1), "rouge_l": to_reference(rouge_l)}

    def make(self, draws: Draws) -> Prompt:
        """Make a report and its summary."""
        report = draws.one(_DATA["reports"])
        name, she, her = _someone(draws)
        known = {"name": name, "she": she, "She": she.capitalize(), "Her": her}
        for table, names in report["about"].items():
            known.update(zip(names, draws.some(WORDS[table], len(names)), strict=True))
        known |= {deed: _deed(draws) for deed in report["deeds"]}
        parts = [report["opening"], report["main"], *report["details"]]
        opening, main, *details = (_filled(part, known, draws) for part in parts)
        n_details = draws.one((4, 5, 6)) - opening.count(".") - 1
        rest = [main, *draws.some(details, n_details)]  # in any order
        text = " ".join([opening, *draws.some(rest, len(rest))])
        return Prompt(f"Text: {text}\nSummary:", f" {_filled(report['summary'], known, draws)}")


def _someone(draws: Draws) -> tuple[str, str, str]:
    if draws.chance():
        return draws.one(WOMEN), "she", "Her"
    return draws.one(MEN), "he", "His"


def _deed(draws: Draws) -> str:
    return _filled("{feat}" if draws.chance(0.4) else "{act} a {object}", {}, draws)


def _filled(forms: str | list[str], known: Mapping[str, str], draws: Draws) -> str:
    """One of the forms of a sentence, its gaps filled with what is known or with a random word of their own table."""
    form = forms if isinstance(forms, str) else draws.one(forms)
    return re.sub(r"\{([\w ]+)\}", lambda gap: known.get(gap[1]) or draws.one(WORDS[gap[1]]), form)
