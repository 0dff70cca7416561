"""Label Studio's JSON export of pairwise comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ....records.jsonl import DataError, shortened
from ..fields import Row, one_of, rater_of, text, user
from ..judgements import Judgement
from .schema import LeftOut, Reading, RefusedError, Schema, compared

PROMPTS = ("prompt", "question", "instruction")
SIDES = {"left": 0, "right": 1}


def pairwise(place: str, row: Row, reading: Reading) -> list[Judgement | LeftOut]:
    """One judgement for each annotation; the texts are those of the task that the Pairwise tag compares, left first."""
    found: list[Judgement | LeftOut] = []
    for annotation in row["annotations"]:
        results = [one for one in annotation.get("result", ()) if one.get("type") == "pairwise"]
        if annotation.get("was_cancelled") or not results:
            found.append(LeftOut("an annotation that was skipped"))
            continue
        rater = annotation.get("completed_by")
        rater = rater.get("email", rater.get("id")) if isinstance(rater, Mapping) else rater
        for one in results:
            prompt, texts = _texts(place, row["data"], one)
            better = SIDES[one_of(f"{place}: value", one["value"], "selected", tuple(SIDES))]
            found += compared(place, prompt, texts, better, rater=rater_of({"rater": rater}))
    if all(isinstance(one, LeftOut) for one in found):
        raise RefusedError("skipped by its annotators" if found else "not annotated")
    return found


def _texts(place: str, data: Row, result: Row) -> tuple[str, tuple[str, str]]:
    """The prompt, and the texts on the left and on the right."""
    prompt = next((key for key in PROMPTS if isinstance(data.get(key), str)), None)
    to_name: Any = result.get("to_name", "")
    names = [name.strip() for name in to_name.split(",")] if isinstance(to_name, str) else list(to_name)
    if len(names) != 2 or any(name not in data for name in names):  # tags named otherwise than the columns
        names = [key for key, value in data.items() if isinstance(value, str) and key != prompt]
    if len(names) != 2:
        raise DataError(
            f"{place}: the task has the texts {shortened(list(data))}, and its Pairwise tag compares "
            f"{shortened(to_name)}: give it two texts beside the prompt, or name the Text tags like its columns"
        )
    left, right = (text(f"{place}: data", data, name) for name in names)
    return "" if prompt is None else user(data[prompt]), (left, right)


LABEL_STUDIO = (
    Schema(
        "label-studio",
        "Label Studio, pairwise",
        ("data", "annotations"),
        pairwise,
        values=("data", "annotations"),
        where=lambda row: isinstance(row["data"], Mapping) and isinstance(row["annotations"], list),
    ),
)
