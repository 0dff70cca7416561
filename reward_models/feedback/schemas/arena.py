"""Chatbot Arena and MT-Bench: two models' conversations, and the winner."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from ....records.jsonl import DataError, shortened
from ..fields import Row, dialogues, one_of, rater_of
from ..judgements import Judgement
from .schema import Reading, RefusedError, Schema, compared

WINNERS = {
    "model_a": (0, False),
    "model_b": (1, False),
    "tie": (None, False),
    "tie (bothbad)": (None, True),
    "both_bad": (None, True),
}


def arena(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """Arena 33k and 140k, MT-Bench: messages, and the winner's name; only `turn` turns of each side were judged."""
    better, both_bad = WINNERS[one_of(place, row, "winner", tuple(WINNERS))]
    turns = row.get("turn")
    sides = {key: row[key] for key in ("conversation_a", "conversation_b")}
    for key, side in sides.items():
        if any(isinstance(part, Mapping) and part.get("type", "text") != "text" for part in _parts(side)):
            raise RefusedError("a message is not text")
        sides[key] = side[: 2 * turns] if type(turns) is int and turns > 0 else side
    prompt, texts = dialogues(place, None, sides)
    return compared(place, prompt, texts, better, rater=rater_of(row, "judge"), both_bad=both_bad)  # type: ignore[arg-type]


def _parts(messages: Any) -> list[Any]:
    """The parts of contents that are lists."""
    contents = [one.get("content") for one in messages if isinstance(one, Mapping)]
    return [part for content in contents if isinstance(content, list) for part in content]


def arena_55k(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """Arena 55k: lists of the user's turns and of either side's, and three columns of which one is 1."""
    flags = [row[f"winner_{name}"] for name in ("model_a", "model_b", "tie")]
    if sorted(flags) != [0, 0, 1]:
        raise DataError(
            f"{place}: the winners are {flags}: expected one 1 among winner_model_a, winner_model_b, winner_tie"
        )
    asked = _turns(row["prompt"])
    sides = {}
    for key in ("response_a", "response_b"):
        answers = _turns(row[key])
        if not all(isinstance(one, list) for one in (asked, answers)) or len(asked) != len(answers):
            raise DataError(f'{place}: "{key}" is {shortened(answers)}: expected a list as long as that of the prompt')
        if any(not isinstance(one, str) or not one.strip() for one in [*asked, *answers]):
            raise RefusedError("a turn is missing")
        spoken = zip(asked, answers, strict=True)
        sides[key] = [
            {"role": r, "content": c} for two in spoken for r, c in zip(("user", "assistant"), two, strict=True)
        ]
    prompt, texts = dialogues(place, None, sides)
    return compared(place, prompt, texts, (0, 1, None)[flags.index(1)])  # type: ignore[arg-type]


def _turns(value: object) -> Any:
    """A list of turns, which a table has as JSON."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


ARENA = (
    Schema(
        "arena", "Chatbot Arena or MT-Bench", ("winner", "conversation_a", "conversation_b"), arena, values=("turn",)
    ),
    Schema(
        "arena-55k",
        "Chatbot Arena, 55k",
        ("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"),
        arena_55k,
        values=("winner_model_a", "winner_model_b", "winner_tie"),
    ),
)
