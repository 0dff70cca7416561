"""Dialogues written as text, "\\n\\nHuman: …\\n\\nAssistant: …": HH-RLHF and Nectar."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

from ....language.conversation import Conversation, Message
from ....records.jsonl import shortened
from ..fields import Row, dialogues, number, shared_prompt, text
from ..judgements import Judgement, Ranked, UnusableError
from .schema import LeftOut, Reading, RefusedError, Schema, by_rank, different

TURN = re.compile(r"\n\n(Human|Assistant): ?")
BEGINNING = "\n\nHuman:"
ROLES = {"Human": "user", "Assistant": "assistant"}


def messages(place: str, dialogue: str) -> list[Message]:
    """A dialogue as chat messages; turns of one side in a row are one, and an empty last turn is none."""
    _, *parts = TURN.split(dialogue)
    turns = [{"role": ROLES[who], "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]
    if turns and not turns[-1]["content"]:
        del turns[-1]
    grouped = [
        (role, [turn["content"] for turn in some]) for role, some in itertools.groupby(turns, lambda turn: turn["role"])
    ]
    if not turns or any(not content for _, contents in grouped for content in contents):
        raise UnusableError(f"{place}: a turn is empty in {shortened(dialogue)}")
    return [{"role": role, "content": "\n\n".join(contents)} for role, contents in grouped]


def _is_dialogue(row: Row) -> bool:
    both = row.get("chosen"), row.get("rejected")
    return row.get("prompt") is None and all(isinstance(one, str) and one.startswith(BEGINNING) for one in both)


def _answered(place: str, row: Row, key: str) -> str:
    """A dialogue whose last turn says something."""
    dialogue = text(place, row, key)
    if not TURN.split(dialogue)[-1].strip():
        raise UnusableError(f"{place}: the last turn is empty in {shortened(dialogue[-60:])}")
    return dialogue


def hh(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """HH-RLHF: two whole dialogues, as text."""
    chosen, rejected = _answered(place, row, "chosen"), _answered(place, row, "rejected")
    prompt = shared_prompt(chosen, rejected)
    return [Ranked(prompt, (chosen[len(prompt) :], rejected[len(prompt) :]), place=place)]


def hh_chat(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """HH-RLHF, as chat messages."""
    named = {key: messages(place, _answered(place, row, key)) for key in ("chosen", "rejected")}
    return [Ranked(*dialogues(place, None, named), place=place)]


def nectar(place: str, row: Row, reading: Reading) -> list[Judgement | LeftOut]:
    """Nectar: answers with ranks, 1 the best."""
    return _nectar(place, row, text(place, row, "prompt"))


def nectar_chat(place: str, row: Row, reading: Reading) -> list[Judgement | LeftOut]:
    """Nectar, as chat messages."""
    return _nectar(place, row, Conversation(messages(place, text(place, row, "prompt"))))


def _nectar(place: str, row: Row, prompt: str) -> list[Judgement | LeftOut]:
    answers = [
        (number(f"{place}: answers[{i}]", one, "rank"), i, text(f"{place}: answers[{i}]", one, "answer"))
        for i, one in enumerate(row["answers"])
    ]
    usable = different(answers)
    if len(usable) < 2:
        raise RefusedError("fewer than two answers")
    left_out = [LeftOut("an answer that is empty or like another")] * (len(answers) - len(usable))
    return [*by_rank(place, prompt, usable), *left_out]


def _has_ranks(row: Row) -> bool:
    answers = row["answers"]
    return isinstance(answers, list) and all(isinstance(one, Mapping) and "rank" in one for one in answers)


_HH, _NECTAR = ("chosen", "rejected"), ("prompt", "answers")
HUMAN_ASSISTANT = (
    Schema("hh-rlhf", "HH-RLHF, as text", _HH, hh, where=_is_dialogue, before=("pair",)),
    Schema("hh-rlhf-chat", "HH-RLHF, as chat messages", _HH, hh_chat, by_name=True),
    Schema("nectar", "Nectar, as text", _NECTAR, nectar, where=_has_ranks, values=("answers",)),
    Schema("nectar-chat", "Nectar, as chat messages", _NECTAR, nectar_chat, by_name=True),
)
