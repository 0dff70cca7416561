"""Functions and classes in JSON: by name, as {"import": "my_module:my_reward"}.

Reading them back imports code, which nothing may do for a file from elsewhere unless its user trusts it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

IMPORT = "import"


class NotRecordableError(ValueError):
    """A value that JSON cannot store, so that another process cannot make it again."""


def reference_to(thing: Any) -> str:
    """`module:name` of a function or class; NotRecordableError if importing it would not find this object."""
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        raise NotRecordableError(f"{thing!r} has no name to import it by")
    if module == "__main__":
        raise NotRecordableError(f"{name} is defined in the script that is run: move it to a module of its own")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not thing:
        raise NotRecordableError(f"{name} of {module} is local or a lambda: define it with def at the top of a module")
    return f"{module}:{name}"


def load_module(name: str, reference: str = "") -> ModuleType:
    """Import a module, the one that a `reference` begins with; ValueError if that fails."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"{reference or name!r} cannot be imported ({error}): is it on the path? PYTHONPATH=. adds the current "
            "directory"
        ) from error


def load_reference(reference: str) -> Any:
    """The object that `module:name` names; ValueError if there is none."""
    module, _, name = reference.partition(":")
    found: Any = load_module(module, reference)
    try:
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        raise ValueError(f"{reference!r} cannot be imported ({error})") from error
    return found


def encode(value: Any, where: str = "") -> Any:
    """A value as JSON, with functions and classes by name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value) and IMPORT not in value:
        return {key: encode(item, f"{where}[{key!r}]") for key, item in value.items()}
    try:
        return {IMPORT: reference_to(value)}
    except NotRecordableError as error:
        raise NotRecordableError(f"{where}: {error}" if where else str(error)) from None


def decode(value: Any) -> Any:
    """The inverse of `encode`; imports what it names."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if isinstance(value, Mapping):
        return load_reference(value[IMPORT]) if value.keys() == {IMPORT} else {k: decode(v) for k, v in value.items()}
    return value


def references(value: Any) -> Iterator[str]:
    """What `decode` would import."""
    if isinstance(value, Mapping):
        if value.keys() == {IMPORT}:
            yield str(value[IMPORT])
        else:
            for item in value.values():
                yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
