"""All schemas, and which of them a row is."""

from __future__ import annotations

from ....records.jsonl import DataError, shortened
from ....records.tables import TEXTS
from ..fields import Row
from .arena import ARENA
from .comparisons import COMPARISONS
from .human_assistant import HUMAN_ASSISTANT
from .label_studio import LABEL_STUDIO
from .own import FORMS, OWN
from .ratings import RATINGS
from .schema import Schema
from .share_gpt import SHARE_GPT
from .trees import TREES

ASKED = ("prompt", "conversations", "system")  # what a row may have to say about the prompt, whatever its schema
SCHEMAS = {
    schema.name: schema
    for schema in (*OWN, *HUMAN_ASSISTANT, *COMPARISONS, *SHARE_GPT, *ARENA, *RATINGS, *TREES, *LABEL_STUDIO)
}
VALUES = frozenset(field for schema in SCHEMAS.values() for field in schema.values)  # not text in a table either


def recognise(place: str, row: Row) -> Schema:
    """The schema of a row by its fields; DataError if there is none or more than one, or it leaves out a prompt."""
    fits = [schema for schema in SCHEMAS.values() if schema.fits(row)]
    fits = [schema for schema in fits if not any(other.hides(schema, row) for other in fits)]
    if len(fits) == 1 and not fits[0].unread(row, ASKED):
        return fits[0]
    keys = shortened([key for key, value in row.items() if value is not None])
    if not fits:
        raise DataError(
            f"{place}: the keys {keys} are those of no judgement; expected one of the forms {FORMS}{_hint(row)}"
        )
    way_out = " or ".join(f'schema="{schema.name}" (--schema {schema.name})' for schema in fits)
    if len(fits) == 1:
        unread = " and ".join(f'"{field}"' for field in fits[0].unread(row, ASKED))
        raise DataError(
            f"{place}: the keys {keys} are those of {fits[0].name}, which does not read {unread}: drop or rename it, "
            f"or pass {way_out} to leave it out"
        )
    names = " and ".join(schema.name for schema in fits)
    raise DataError(
        f"{place}: the keys {keys} are those of {names} at once; pass {way_out}, or rename the other's keys"
    )


def named(name: str) -> Schema:
    """A schema by its name."""
    if name not in SCHEMAS:
        raise DataError(f"schema is {name!r}: expected one of {', '.join(SCHEMAS)}, or None to recognise each row")
    return SCHEMAS[name]


def _hint(row: Row) -> str:
    """What to do about rows that are something else."""
    if row.get("prompt") is not None and set(row) & {"completion", "response"}:
        return "; a prompt and its completion alone are a demonstration: --demonstrations of textrlhf train takes those"
    if row.get("messages") is not None:
        return "; messages alone are a demonstration: --demonstrations of textrlhf train takes those"
    if row and not any(isinstance(key, str) and TEXTS.fullmatch(key) for key in row):
        return "; in a table the first line has to name the columns"
    return ", or one of the data sets that `textrlhf data --schemas` lists"
