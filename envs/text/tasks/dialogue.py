"""Take an order in a shop: ask for what the customer left open, then confirm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from ....language.conversation import Conversation
from ..task import Prompt
from .scores import words
from .splits import Draws, SeededTask, data_file
from .summarize import MEN, WOMEN

_DATA = data_file("dialogue")
SLOTS: dict[str, list[str]] = _DATA["slots"]  # with their values
OPENINGS: list[str] = _DATA["openings"]
QUESTIONS: list[str] = _DATA["questions"]
CONFIRMATIONS: list[str] = _DATA["confirmations"]
ANSWERS: list[str] = _DATA["answers"]
VALUES = frozenset(value for values in SLOTS.values() for value in values)
FEEDBACK = {"asks": 1.0, "repeats": -0.5, "confirms": 1.0, "errs": -1.0, "idles": -0.5}
USER, ASSISTANT = "\nUser:", "\nAssistant:"
Wanted = Mapping[str, str]  # slot -> value


class Turn(NamedTuple):
    """A turn of the agent, classified."""

    act: str  # a key of FEEDBACK
    asked: frozenset[str]  # slots that a question is about
    named: float  # the share of the slots that a confirmation has right


def _gold(prompt: Prompt, response: str) -> float:
    acts = [turn.act for turn in read_turns(prompt, agent_turns(response))]
    if "confirms" not in acts:
        return 0.0
    before = acts[: acts.index("confirms")]
    more = len(before) - (len(SLOTS) - len(_known(prompt, ())))
    return max(0.0, 1 - 0.25 * max(0, more) - 0.25 * before.count("errs"))


def _n_turns(_: Prompt, response: str) -> float:
    return float(len(agent_turns(response)))


def _slots(prompt: Prompt, response: str) -> float:
    read = read_turns(prompt, agent_turns(response))
    return next((turn.named for turn in reversed(read) if turn.act in ("confirms", "errs")), 0.0)


class TextDialogue(SeededTask):
    """A customer wants an item in a colour and a size, but names only some of it; the agent asks, then confirms.

    `prompt.facts` has what the customer wants: "item", "colour", "size". The values in the prompt's text are known
    from the start, and the customer answers every question. A turn of the agent

    - with a question mark is a question about those of item, colour and size that it names: it "asks" if it names
      some, and none that is known already; if one is known, it "repeats";
    - with the word order, orders or ordered and no question mark is a confirmation: it "confirms" if everything is
      known by then and it names all that is wanted and none of the shop's other values, else it "errs";
    - otherwise, or where it speaks for the user too ("User:"), it "idles".

    A turn that confirms ends the dialogue. `feedback` is the reward of a turn: asks +1, confirms +1, repeats -0.5,
    idles -0.5, errs -1.

    `measure` scores a whole dialogue: a response is all that follows the prompt, with the user's turns and the
    markers. "gold", from 0 to 1, is 0 if no turn confirms. Otherwise it is 1, less 1/4 for each turn before that
    beyond one question per missing slot, and less 1/4 for each that errs. "slots", from 0 to 1, is the share of the
    slots that the last confirmation has right, 0 without one. "turns" counts the agent's turns, at least 1.
    """

    name = "dialogue"
    max_new_tokens = 24  # of all turns together, each with its end
    turns = 3
    measures: ClassVar = {"gold": _gold, "slots": _slots, "turns": _n_turns}
    needs: ClassVar[tuple[str, ...]] = tuple(SLOTS)

    def make(self, draws: Draws) -> Prompt:
        """Make an order and the part of it that the customer names first."""
        wanted = {slot: draws.one(values) for slot, values in SLOTS.items()}
        said = draws.some(tuple(SLOTS), draws.one((1, 1, 2, 2, 2, 3)))
        what = _something({slot: wanted[slot] for slot in said})
        if draws.chance(0.9):
            what += f" for {draws.one(WOMEN + MEN)}"
        opening = draws.one(OPENINGS).format(what)
        text = Conversation([{"role": "user", "content": opening}], f"User: {opening}{ASSISTANT}")
        missing = [slot for slot in SLOTS if slot not in said]
        asked = [f"{QUESTIONS[0].format(slot)}{_says(_answer({slot: wanted[slot]}, 0))}" for slot in missing]
        return Prompt(text, "".join(asked) + CONFIRMATIONS[0].format(_thing(wanted)), wanted)

    def demonstrate(self, prompt: Prompt, rng: np.random.Generator) -> str:
        """Return the rest of a good dialogue, with the user's turns and the markers."""
        return "".join(self.demonstrate_dialogue(prompt, rng))

    def demonstrate_turn(self, prompt: Prompt, turns: Sequence[str], rng: np.random.Generator) -> str:
        """Return a good turn after `turns`: a question for a missing slot, or the confirmation."""
        wanted = _wanted(prompt)
        known = _known(prompt, read_turns(prompt, turns))
        missing = [slot for slot in SLOTS if slot not in known]
        if missing:
            return _any(QUESTIONS, rng).format(missing[0])
        return _any(CONFIRMATIONS, rng).format(_thing(wanted))

    def reply(self, prompt: Prompt, turns: Sequence[str], rng: np.random.Generator) -> str:
        """Return the customer's answer to the latest turn, between the markers."""
        act, asked, _ = read_turns(prompt, turns)[-1]
        if asked:
            wanted = _wanted(prompt)
            answer = _answer({slot: wanted[slot] for slot in SLOTS if slot in asked}, int(rng.integers(len(ANSWERS))))
            return _says(answer)
        return _says({"confirms": "Thank you.", "errs": "No, that is wrong."}.get(act, "Sorry?"))

    def feedback(self, prompt: Prompt, turns: Sequence[str]) -> float:
        """Return the customer's reward for the agent's latest turn, from -1 to 1."""
        return FEEDBACK[read_turns(prompt, turns)[-1].act]

    def is_over(self, prompt: Prompt, turns: Sequence[str]) -> bool:
        """Whether the latest turn has confirmed the order."""
        return bool(turns) and read_turns(prompt, turns)[-1].act == "confirms"

    def words(self) -> list[str]:
        """Texts that together have every word of prompts, demonstrations and the customer's answers."""
        things = [{slot: value} for slot, values in SLOTS.items() for value in values]
        answers = [_answer(thing, i) for thing in things for i in range(len(ANSWERS))]
        said = [_says(answer) for answer in (*answers, "Thank you.", "No, that is wrong.", "Sorry?")]
        asked = [question.format(slot) for question in QUESTIONS for slot in SLOTS]
        return [*super().words(), *said, *asked, *(form.format("a") for form in CONFIRMATIONS)]


def agent_turns(response: str) -> list[str]:
    """Return the agent's turns in the rest of a dialogue."""
    if isinstance(response, Conversation):
        return [message["content"] for message in response.messages if message["role"] == "assistant"]
    return [part.split(USER)[0] for part in response.split(ASSISTANT)]


def read_turns(prompt: Prompt, turns: Sequence[str]) -> list[Turn]:
    """Classify each of the agent's turns."""
    wanted, read = _wanted(prompt), list[Turn]()
    for turn in turns:
        read.append(_read(turn, wanted, _known(prompt, read)))
    return read


def _read(turn: str, wanted: Wanted, known: set[str]) -> Turn:
    heard = set(words(turn))
    if {"user", "assistant"} & heard:
        return Turn("idles", frozenset(), 0.0)
    if "?" in turn:
        asked = frozenset(heard & set(SLOTS))
        return Turn("idles" if not asked else "repeats" if asked & known else "asks", asked, 0.0)
    if not heard & {"order", "orders", "ordered"}:
        return Turn("idles", frozenset(), 0.0)
    named = [slot for slot, value in wanted.items() if heard.issuperset(words(value))]
    others = VALUES.difference(*(words(value) for value in wanted.values()))
    right = len(named) == len(known) == len(SLOTS) and not heard & others
    return Turn("confirms" if right else "errs", frozenset(), len(named) / len(SLOTS))


def _known(prompt: Prompt, read: Sequence[Turn]) -> set[str]:
    """The slots whose values the customer has named."""
    heard = set(words(prompt.asked))
    named = {slot for slot, value in _wanted(prompt).items() if heard.issuperset(words(value))}
    return named.union(*(turn.asked for turn in read))


def _wanted(prompt: Prompt) -> dict[str, str]:
    wanted = {slot: str(prompt.facts.get(slot) or "") for slot in SLOTS}
    if not all(map(words, wanted.values())):
        raise ValueError(f"facts is {dict(prompt.facts)!r}: a dialogue needs a value for each of {list(SLOTS)}")
    return wanted


def _thing(values: Wanted) -> str:
    """ "a small red shirt", or "a small one" where the item is not among the values."""
    parts = [values[slot] for slot in ("size", "colour") if slot in values] + [values.get("item", "one")]
    return " ".join(("an" if parts[0][0].lower() in "aeiou" else "a", *parts))


def _something(values: Wanted) -> str:
    if "item" in values:
        return _thing(values)
    return "something " + " and ".join(values[slot] for slot in ("size", "colour") if slot in values)


def _answer(values: Wanted, form: int) -> str:
    thing = _thing(values)
    return ANSWERS[form].format(thing[0].upper() + thing[1:])


def _says(text: str) -> Conversation:
    return Conversation([{"role": "user", "content": text}], f"{USER} {text}{ASSISTANT}")


def _any(forms: Sequence[str], rng: np.random.Generator) -> str:
    return forms[int(rng.integers(len(forms)))]
