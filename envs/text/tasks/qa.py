"""Answer a question about a few facts."""

from __future__ import annotations

from typing import ClassVar

from ..task import Prompt
from .scores import exact, overlap_f1
from .splits import Draws, ReferenceTask
from .summarize import MEN, WOMEN

PEOPLE = WOMEN + MEN
ROOMS = ("kitchen", "garden", "school", "park", "shop", "station")
THINGS = ("ball", "book", "bag", "hat", "car", "bike")
COLOURS = ("red", "blue", "green", "black", "white", "yellow")
FOODS = ("apples", "bread", "cheese", "fish", "milk", "soup")


class TextQA(ReferenceTask):
    """Three or four facts about three people, and a question that they answer.

    Where someone is, what they have and in which colour, what they like; asked from either side (what does Anna have,
    who has the ball). Where a thing is takes two facts: who has it, and where that person is.

    `measure`: "gold" is 1 where response and reference are equal, ignoring case, spaces and a final full stop, else 0;
    "f1" is the F1 of the words they share, from 0 to 1.
    """

    name = "qa"
    max_new_tokens = 8
    compare: ClassVar = {"gold": exact, "f1": overlap_f1}

    def make(self, draws: Draws) -> Prompt:
        """Make facts, a question and its answer."""
        people = draws.some(PEOPLE, 3)
        rooms, things, foods = draws.some(ROOMS, 3), draws.some(THINGS, 3), draws.some(FOODS, 3)
        facts, asked = [], []
        known = draws.some([(i, kind) for i in range(3) for kind in ("room", "thing", "food")], draws.one((3, 4)))
        for i, kind in known:
            who, room, thing = people[i], rooms[i], things[i]
            if kind == "room":
                facts.append(f"{who} is in the {room}.")
                asked += [(f"Where is {who}?", f"in the {room}"), (f"Who is in the {room}?", who)]
            elif kind == "food":
                facts.append(f"{who} likes {foods[i]}.")
                asked += [(f"What does {who} like?", foods[i]), (f"Who likes {foods[i]}?", who)]
            else:
                colour = draws.one(COLOURS)
                facts.append(f"{who} has a {colour} {thing}.")
                asked += [(f"What does {who} have?", f"a {colour} {thing}"), (f"Who has the {thing}?", who)]
                asked += [(f"What colour is the {thing}?", colour)]
                if (i, "room") in known:
                    asked += [(f"Where is the {thing}?", f"in the {room}")] * 2
        question, answer = draws.one(asked)
        return Prompt(f"Facts: {' '.join(facts)}\nQuestion: {question}\nAnswer:", f" {answer}")
