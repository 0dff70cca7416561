"""Functions and classes in JSON, by name."""

from __future__ import annotations

import json
import math

import pytest

from textrlhf.records.references import NotRecordableError, decode, encode, load_reference, references


def test_functions_and_classes_survive_json() -> None:
    value = {"f": math.sqrt, "nested": [json.JSONDecoder, 1.5, None, "text", (True,)]}
    stored = json.loads(json.dumps(encode(value)))
    assert list(references(stored)) == ["math:sqrt", "json.decoder:JSONDecoder"]
    assert decode(stored) == {"f": math.sqrt, "nested": [json.JSONDecoder, 1.5, None, "text", [True]]}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"a": [lambda x: x]}, r"\['a'\]\[0\]: .* is local or a lambda"),
        (object(), "has no name to import it by"),
        ({"import": "os:system"}, "has no name"),  # data cannot pose as a reference
    ],
)
def test_what_has_no_name_is_refused(value: object, why: str) -> None:
    with pytest.raises(NotRecordableError, match=why):
        encode(value)


def test_script_functions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def mine() -> None: ...

    mine.__module__, mine.__qualname__ = "__main__", "mine"
    with pytest.raises(NotRecordableError, match="defined in the script that is run: move it to a module"):
        encode(mine)


@pytest.mark.parametrize("name", ["no_such_module:f", "math:no_such_function", "math"])
def test_missing_code_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' cannot be imported"):
        load_reference(name)
