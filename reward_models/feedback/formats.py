"""Reading and writing judgements: JSONL files or lists of rows, in five forms that may be mixed.

    {"prompt", "chosen", "rejected"}      a pair, with an optional "margin"
    {"chosen", "rejected"}                a pair of whole dialogues: their common beginning is the prompt
    {"prompt", "completion", "label"}     good or bad: true or false, 1 or 0
    {"prompt", "completion", "rating"}    a rating, with an optional "scale": [low, high]
    {"prompt", "responses", "ranking"}    the indices of the responses, best first, from 0

"response" is accepted for "completion". A key whose value is null counts as missing, other keys are ignored.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ...records.checks import SPLITS
from ...records.jsonl import DataError, read_jsonl, row_split, shortened, write_jsonl
from ..reward_function import is_number
from .judgements import Judgement, Labelled, Ranked, Rated, checked_scale

Rows = str | os.PathLike[str] | Iterable[Mapping[str, Any]]
Row = Mapping[str, Any]

HELD_OUT_EVERY = 10  # where no row names a split, every tenth prompt is held out
KINDS = {"pair": ("chosen", "rejected"), "ranking": ("ranking",), "label": ("label",), "rating": ("rating",)}
FORMS = (
    '{"prompt", "chosen", "rejected"}, {"chosen", "rejected"}, {"prompt", "completion", "label"}, '
    '{"prompt", "completion", "rating"} or {"prompt", "responses", "ranking"}'
)

# The beginning of a dialogue turn, most reliable patterns first: a line of an answer may match the last one.
TURNS = (
    re.compile(
        r"<\|im_start\|>\w+\n|<\|start_header_id\|>\w+<\|end_header_id\|>\n\n|<start_of_turn>\w+\n"
        r"|<\|(?:system|user|assistant)\|>\n?|\[/INST\]"
    ),
    re.compile(r"\n+ *(?:Human|User|Assistant|AI|Bot|System|Model):"),
    re.compile(r"\n+ *[A-Z][\w ]{0,20}:"),
)


def read_judgements(
    rows: Rows, split: str | None = "train", *, scale: tuple[float, float] | None = None
) -> list[Judgement]:
    """Read the judgements of a split, "train" or "heldout", or with None all of them; no row is ever skipped.

    If any row names its "split", rows without one are for training. Otherwise every tenth prompt, in order of first
    appearance, is held out with all its rows (each row without a prompt counts as a prompt); fewer than ten prompts
    hold nothing out.

    A rating is on its row's own scale, else on `scale`, else on the range of all ratings without a scale, in both
    splits: pass `scale` where its ends may not have been used.
    """
    if split is not None and split not in SPLITS:
        raise ValueError(f"split is {split!r}: expected one of {list(SPLITS)}, or None for all")
    if scale is not None:
        scale = checked_scale(scale)
    if isinstance(rows, str | os.PathLike):
        named, numbered = str(rows), read_jsonl(rows, "judgements", f"one object a line, {FORMS}")
    else:
        named, numbered = "judgements", [(f"judgements[{i}]", row) for i, row in enumerate(rows)]
    if not numbered:
        raise DataError(f"{named} holds no judgements: expected at least one row {FORMS}")
    known = [_recognised(place, row) for place, row in numbered]
    scale = scale or _found_scale(known)
    judgements = [_parsed(place, row, kind, scale) for place, row, kind in known]
    if split is None:
        return judgements
    splits = _splits(judgements, [row_split(place, row) for place, row, _ in known])
    chosen = [judgement for judgement, own in zip(judgements, splits, strict=True) if own == split]
    if not chosen and split == "train":
        raise DataError(f'{named} holds out every row: expected some with "split": "train", or without a split')
    return chosen


def write_judgements(path: str | os.PathLike[str], judgements: Iterable[Judgement]) -> None:
    """Write judgements to a JSONL file that `read_judgements` reads; their split is not kept."""
    write_jsonl(path, [_row(judgement) for judgement in judgements])


def described(judgements: Iterable[Judgement]) -> str:
    """How many judgements there are of each kind, such as "3,000 pairs and 1 label"."""
    counts = Counter(_kind(judgement) for judgement in judgements)
    parts = [f"{counts[kind]:,} {kind}{'s' * (counts[kind] > 1)}" for kind in KINDS if counts[kind]]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts) or "nothing"


def _kind(judgement: Judgement) -> str:
    if isinstance(judgement, Ranked):
        return "pair" if len(judgement.responses) == 2 else "ranking"
    return "label" if isinstance(judgement, Labelled) else "rating"


def shared_prompt(chosen: str, rejected: str) -> str:
    """The prompt of two dialogues: their common beginning up to the last turn that is non-empty in both.

    Answers that begin alike keep their common words. Without turns, the prompt is the whole words that both begin
    with, and each response keeps its leading space.
    """
    pairs = enumerate(zip(chosen, rejected, strict=False))
    shared = chosen[: next((i for i, (a, b) in pairs if a != b), min(len(chosen), len(rejected)))]
    words = (match.start() for match in re.finditer(r"(?<=\S)(?=\s)", chosen[: len(shared) + 1]))
    candidates = [[match.end() for match in turn.finditer(shared)] for turn in TURNS]
    candidates.append([end for end in words if rejected[end : end + 1].isspace()])
    for ends in candidates:
        for end in reversed(ends):
            if chosen[end:].strip() and rejected[end:].strip():
                return shared[:end]
    return ""


def _recognised(place: str, row: object) -> tuple[str, Row, str]:
    if not isinstance(row, Mapping):
        raise DataError(f"{place}: expected an object {FORMS}, saw {shortened(row)}")
    kinds = [kind for kind, keys in KINDS.items() if any(row.get(key) is not None for key in keys)]
    if len(kinds) != 1:
        what = f"are those of a {' and a '.join(kinds)}" if kinds else "are those of no judgement"
        keys = [key for key, value in row.items() if value is not None]
        raise DataError(f"{place}: the keys {shortened(keys)} {what}; expected one of the forms {FORMS}")
    return place, row, kinds[0]


def _parsed(place: str, row: Row, kind: str, scale: tuple[float, float]) -> Judgement:
    if kind == "pair":
        margin = 0.0 if row.get("margin") is None else row["margin"]
        chosen, rejected = _text(place, row, "chosen"), _text(place, row, "rejected")
        if row.get("prompt") is not None:
            return Ranked(_text(place, row, "prompt"), (chosen, rejected), margin, place)
        prompt = shared_prompt(chosen, rejected)
        return Ranked(prompt, (chosen[len(prompt) :], rejected[len(prompt) :]), margin, place)
    prompt = _text(place, row, "prompt")
    if kind == "ranking":
        return Ranked(prompt, _in_order(place, row), place=place)
    if row.get("completion") is not None and row.get("response") is not None:
        raise DataError(f'{place}: has a "completion" and a "response": expected one of them')
    response = _text(place, row, "completion" if row.get("response") is None else "response")
    if kind == "rating":
        if row.get("scale") is not None:
            scale = checked_scale(row["scale"], f'{place}: "scale"')
        return Rated(prompt, response, row["rating"], scale, place)
    label = row["label"]
    if not isinstance(label, bool | int | float) or label not in (0, 1):
        raise DataError(f"{place}: label is {shortened(label)}: expected true or 1 for good, false or 0 for bad")
    return Labelled(prompt, response, bool(label), place)


def _text(place: str, row: Row, key: str) -> str:
    value = row.get(key)
    if value is None:
        raise DataError(f'{place}: "{key}" is missing; expected the form {FORMS}')
    if not isinstance(value, str):
        chat = "; turn chat messages into one with tokenizer.apply_chat_template(messages, tokenize=False)"
        remedy = chat if isinstance(value, list | Mapping) else ""
        raise DataError(f'{place}: "{key}" is {shortened(value)}: expected a string{remedy}')
    return value


def _in_order(place: str, row: Row) -> tuple[str, ...]:
    """The responses of a ranking, best first."""
    ranking, responses = row["ranking"], row.get("responses")
    if not isinstance(responses, Sequence) or isinstance(responses, str):
        raise DataError(f'{place}: "responses" is {shortened(responses)}: expected a list of strings')
    texts = [_text(place, {f"responses[{i}]": text}, f"responses[{i}]") for i, text in enumerate(responses)]
    if not isinstance(ranking, Sequence) or any(type(i) is not int for i in ranking):
        raise DataError(f'{place}: "ranking" is {shortened(ranking)}: expected a list of indices')
    if sorted(ranking) != list(range(len(texts))):
        from_one = sorted(ranking) == list(range(1, len(texts) + 1))
        raise DataError(
            f'{place}: "ranking" is {shortened(ranking)} for {len(texts)} responses: expected the index of each once, '
            + ("counted from 0, not from 1" if from_one else f"0 to {len(texts) - 1}, the best first")
        )
    return tuple(texts[i] for i in ranking)


def _found_scale(known: Sequence[tuple[str, Row, str]]) -> tuple[float, float]:
    """The range of the ratings that have no scale; where there are none, any scale."""
    ratings = []
    for place, row, kind in known:
        if kind == "rating" and row.get("scale") is None:
            if not is_number(row["rating"]):
                raise DataError(f"{place}: rating is {shortened(row['rating'])}: expected a finite number")
            ratings.append((row["rating"], place))
    if not ratings:
        return 0.0, 1.0
    (low, place), (high, _) = min(ratings), max(ratings)
    if low == high:
        raise DataError(f"{place}: every rating is {low}, so the scale is unknown: pass scale=(low, high)")
    return low, high


def _splits(judgements: Sequence[Judgement], declared: Sequence[str | None]) -> list[str]:
    if any(declared):
        return [split or "train" for split in declared]
    seen: dict[tuple[str, str], int] = {}
    keys = [(judgement.prompt, "" if judgement.prompt else judgement.place) for judgement in judgements]
    numbers = [seen.setdefault(key, len(seen)) for key in keys]
    return ["heldout" if number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else "train" for number in numbers]


def _row(judgement: Judgement) -> dict[str, object]:
    row: dict[str, object] = {"prompt": judgement.prompt}
    if isinstance(judgement, Labelled):
        return row | {"completion": judgement.response, "label": judgement.good}
    if isinstance(judgement, Rated):
        scale = [float(end) for end in judgement.scale]
        return row | {"completion": judgement.response, "rating": float(judgement.rating), "scale": scale}
    if len(judgement.responses) > 2:
        return row | {"responses": list(judgement.responses), "ranking": list(range(len(judgement.responses)))}
    row |= dict(zip(("chosen", "rejected"), judgement.responses, strict=True))
    return row | {"margin": float(judgement.margin)} if judgement.margin else row
