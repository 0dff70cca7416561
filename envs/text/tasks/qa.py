"""Answer a question about a few facts."""

from __future__ import annotations

from typing import ClassVar

from ..task import Prompt
from .scores import exact, overlap_f1, to_reference
from .splits import Draws, SeededTask, data_file
from .summarize import MEN, WOMEN

_DATA = data_file("qa")
ROOMS, THINGS, COLOURS, FOODS = (_DATA[name] for name in ("rooms", "things", "colours", "foods"))
FACTS = _DATA["facts"]  # by kind: the sentence, and what may be asked about it with the answers


class TextQA(SeededTask):
    """Three or four facts about three people, and a question that they answer.

    Where someone is, what they have and in which colour, what they like; asked from either side (what does Anna have,
    who has the ball). Where a thing is takes two facts: who has it, and where that person is.

    `measure`: "gold" is 1 where response and reference are equal, ignoring case, spaces and a final full stop, else 0;
    "f1" is the F1 of the words they share, from 0 to 1.
    """

    name = "qa"
    max_new_tokens = 8
    needs: ClassVar[tuple[str, ...]] = ("reference",)
    measures: ClassVar = {"gold": to_reference(exact), "f1": to_reference(overlap_f1)}

    def make(self, draws: Draws) -> Prompt:
        """Make facts, a question and its answer."""
        people = draws.some(WOMEN + MEN, 3)
        rooms, things, foods = draws.some(ROOMS, 3), draws.some(THINGS, 3), draws.some(FOODS, 3)
        facts, asked = [], []
        known = draws.some([(i, kind) for i in range(3) for kind in ("room", "thing", "food")], draws.one((3, 4)))
        for i, kind in known:
            words = {"who": people[i], "room": rooms[i], "thing": things[i], "food": foods[i]}
            if kind == "thing":
                words["colour"] = draws.one(COLOURS)
            facts.append(FACTS[kind]["fact"].format_map(words))
            asked += [[text.format_map(words) for text in pair] for pair in FACTS[kind]["asked"]]
            if kind == "thing" and (i, "room") in known:
                asked += [[f"Where is the {things[i]}?", f"in the {rooms[i]}"]] * 2
        question, answer = draws.one(asked)
        return Prompt(f"Facts: {' '.join(facts)}\nQuestion: {question}\nAnswer:", f" {answer}")
