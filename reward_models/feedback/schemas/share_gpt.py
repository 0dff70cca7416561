"""LLaMA-Factory's rows in ShareGPT form: a pair, or a label."""

from __future__ import annotations

from ....records.jsonl import DataError
from ..fields import Row, dialogues, is_chat, number
from ..judgements import Judgement, Labelled, Ranked
from .own import good
from .schema import Reading, Schema


def pair(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """The conversation so far, and two next messages."""
    named = {key: row[key] for key in ("chosen", "rejected")}
    margin = 0.0 if row.get("margin") is None else number(place, row, "margin")
    return [Ranked(*dialogues(place, _conversation(place, row), named), margin, place)]


def label(place: str, row: Row, reading: Reading) -> list[Judgement]:
    """A conversation that ends with the assistant's turn, good or bad."""
    prompt, (response,) = dialogues(place, None, {"conversations": _conversation(place, row)})
    return [Labelled(prompt, response, good(place, "kto_tag", row["kto_tag"]), place)]


def _conversation(place: str, row: Row) -> list[object]:
    turns = row["conversations"]
    if not is_chat(turns):
        raise DataError(f'{place}: "conversations" has to be messages, [{{"from": "human", "value": "…"}}, …]')
    system = row.get("system")
    return [*([{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []), *turns]


_PAIR = ("conversations", "chosen", "rejected")
SHARE_GPT = (
    Schema(
        "sharegpt-pair", "ShareGPT form, a pair", _PAIR, pair, reads=("system",), values=("margin",), before=("pair",)
    ),
    Schema(
        "sharegpt-label",
        "ShareGPT form, a label",
        ("conversations", "kto_tag"),
        label,
        reads=("system",),
        values=("kto_tag",),
    ),
)
