"""`textrlhf data`: describe a data set, or convert it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ...records.jsonl import DataError, write_jsonl
from ..console.arguments import parse
from ..console.errors import UserError, as_user_error
from ..console.printing import key_values, line
from ..runs.reward_run import existing_data

if TYPE_CHECKING:
    from ...reward_models.evaluation.data_set import Lengths
    from ...reward_models.feedback import ImportedJudgements
    from ...reward_models.feedback.unjudged import Unjudged


@dataclass
class Options:
    """Describe a data set: what it was recognised as, its lengths, duplicates, leaks, biases and agreement.

    Example:
      textrlhf data prefs.jsonl --model reviews

    FILE is .jsonl, .json, .csv, .tsv or .parquet, a folder of Hugging Face's `datasets`, or a hub id (owner/name). Its
    rows may be our own or those of a known data set; convert it with
      textrlhf data FILE --write judgements.jsonl
    """

    file: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = None
    """judgements, demonstrations or prompts"""
    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """count lengths in tokens of this model, a folder, hub id or a shipped one; without it in words"""
    schema: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """the data set that FILE is, where its rows are not recognised"""
    scale: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LOW HIGH")] = None
    """scale of ratings, for rows without one; by default the lowest and the highest rating"""
    tokenizer: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """whose tokenizer reads token ids, where FILE has such"""
    write: Annotated[str | None, tyro.conf.arg(metavar="OUT")] = None
    """write the rows in our own form (and TRL's), as JSONL"""
    write_as: Literal["judgements", "demonstrations", "prompts"] = "judgements"
    """what to write: the judgements, the best responses as demonstrations, or the prompts"""
    raters: Literal["mean", "all", "spread"] | None = None
    """how to write several ratings of a text; see reward train"""
    schemas: bool = False
    """list the data sets that are recognised"""
    json: bool = False
    """print one line of JSON"""


def data(argv: Sequence[str]) -> None:
    """Run `textrlhf data`."""
    options = parse(Options, argv, "data")
    if options.schemas:
        _list_schemas()
        return
    if options.file is None:
        raise UserError("data needs a FILE, a folder or a hub id; `textrlhf data --schemas` lists what is recognised")
    existing_data(options.file)
    if options.write is not None and Path(options.write).is_dir():
        raise UserError(f"--write {options.write} is a folder: name a file")
    with as_user_error(ValueError):
        count, unit = _counter(options.model)
        unjudged = _unjudged(options)
        if unjudged is None:
            found = _imported(options, "all")
            from ...reward_models.evaluation.data_set import describe

            described = describe(found, count)
        else:
            described = _describe_unjudged(unjudged, count)
        described = {"source": options.file, "unit": unit, **described}
        if options.write is not None:
            described["written"] = {"file": options.write, "rows": _write(options, unjudged)}
    if options.json:
        print(json.dumps(described))
    else:
        from ..console.data_tables import print_description

        print_description(described)


def _list_schemas() -> None:
    from ...reward_models.feedback.schemas.table import SCHEMAS

    for schema in SCHEMAS.values():
        fields = (" or " if schema.any_field else ", ").join(schema.fields)
        named = "; has to be named with --schema" if schema.by_name else ""
        key_values([(f"{schema.name:<28}", f"{schema.about} ({fields}){named}")])
    line()
    line("Besides: prompts (prompt) and demonstrations (messages; text; prompt, completion).")


def _counter(model: str | None) -> tuple[Lengths, str]:
    """What counts the length of texts, and its unit."""
    if model is None:
        from ...reward_models.evaluation.data_set import words

        return words, "words"
    from ...language.conversation import Conversation
    from ...language.tokenization import Codec
    from ...language.tokenizer_loading import load_tokenizer

    tokenizer = load_tokenizer(model, "--model")
    codec, templated = Codec(tokenizer, ()), tokenizer.chat_template is not None

    def as_read(text: str) -> str:
        """Chat messages as the model's template writes them; those of a response only their text."""
        if templated and isinstance(text, Conversation) and text.messages[0]["role"] != "assistant":
            return str(tokenizer.apply_chat_template(text.messages, tokenize=False, add_generation_prompt=True))
        return str(text)

    return lambda texts: [len(ids) for ids in codec.encode_all(list(map(as_read, texts)))], f"tokens of {model}"


def _imported(options: Options, raters: str | None) -> ImportedJudgements:
    from ...reward_models import import_judgements

    how: dict[str, Any] = {name: getattr(options, name) for name in ("schema", "scale", "tokenizer")}
    return import_judgements(str(options.file), raters=raters, **how)


def _unjudged(options: Options) -> list[Unjudged] | None:
    """The prompts and demonstrations of the file, or None if it has judgements."""
    from ...records.rows import read_rows
    from ...reward_models.feedback.schemas.table import VALUES
    from ...reward_models.feedback.unjudged import read_unjudged
    from ...reward_models.feedback.vader import is_vader

    if options.schema is not None or is_vader(str(options.file)):
        return None
    numbered = read_rows(str(options.file), "FILE", "judgements, demonstrations or prompts", VALUES)
    return read_unjudged(numbered) if numbered else None


def _describe_unjudged(rows: Sequence[Unjudged], count: Lengths) -> dict[str, Any]:
    from ...reward_models.evaluation.data_set import conversations, quantiles

    shown = [row for row in rows if row.response is not None]
    kinds = {"demonstration": len(shown), "prompt": len(rows) - len(shown)}
    texts = {"prompts": [row.prompt for row in rows if row.prompt], "responses": [str(row.response) for row in shown]}
    parts = {split: [row for row in rows if row.split == split] for split in ("train", "heldout")}
    prompts = [{row.prompt for row in part if row.prompt} for part in parts.values()]
    whole = [{(row.prompt, row.response) for row in part} for part in parts.values()]
    found: dict[str, Any] = {
        "rows": {
            "read": len(rows),
            "kept": len(rows),
            "tied": 0,
            "context": 0,
            "refused": 0,
            "reasons": {},
            "left_out": {},
        },
        "kinds": {kind: number for kind, number in kinds.items() if number},
        "lengths": {name: {"count": len(set(some)), **quantiles(count(some))} for name, some in texts.items() if some},
        "duplicates": {"repeated": len(rows) - len({(row.prompt, row.response) for row in rows})},
    }
    if chats := [messages for row in rows if (messages := row.messages)]:
        found["conversations"] = conversations("conversations", chats)
    if all(parts.values()):
        found["splits_declared"] = True
        found["splits"] = {name: len(part) for name, part in parts.items()}
        found["leaks"] = {"prompts": len(prompts[0] & prompts[1]), "texts": len(whole[0] & whole[1])}
    return found


def _write(options: Options, unjudged: Sequence[Unjudged] | None) -> int:
    """Write the rows that were asked for, and return their number."""
    from ...reward_models.feedback.unjudged import Unjudged, demonstrations_of
    from ...reward_models.feedback.writing import as_completion, as_prompt, as_row

    rows: list[dict[str, Any]]
    if unjudged is None:
        found = _imported(options, options.raters)
        splits = found.splits if found.declares_splits else [None] * len(found.judgements)
        if options.write_as == "judgements":
            rows = [
                as_row(one) | ({"split": split} if split else {})
                for one, split in zip(found.judgements, splits, strict=True)
            ]
            write_jsonl(str(options.write), rows)
            return len(rows)
        unjudged = demonstrations_of(found.judgements, splits)
        if options.write_as == "prompts":
            unjudged = [Unjudged(one.prompt, None, split) for one, split in zip(found.judgements, splits, strict=True)]
    elif options.write_as == "judgements":
        raise DataError(f"{options.file} has no judgements: pass --write-as demonstrations or --write-as prompts")
    rows = []
    for one in dict.fromkeys(unjudged):
        row: dict[str, Any] = {"prompt": as_prompt(one.prompt)}
        if options.write_as == "demonstrations":
            if one.response is None:
                continue
            row["completion"] = as_completion(one.prompt, one.response)
        elif not one.prompt.strip():
            continue
        row |= {"split": one.split} if one.split else {}
        if row not in rows[-1:]:
            rows.append(row)
    if not rows:
        raise DataError(f"{options.file} has no {options.write_as} to write")
    write_jsonl(str(options.write), rows)
    return len(rows)
