"""How to make an environment again, as JSON, and which code that imports.

A registered environment:    {"id": "CartPole-v1", "kwargs": {"sutton_barto_reward": true}}
with wrappers:               and "wrappers": [{"entry_point": "gymnasium.wrappers…:ClipReward", "kwargs": {…}}]
an id that is not registered: and "entry_point": "my_module:MyEnv", or "module": "my_module", which registers it
a factory:                   {"factory": "my_module:make_env", "kwargs": {}}

Functions and classes among the arguments are stored by name, {"import": "my_module:my_reward"}.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gymnasium.envs.registration import registry

Recipe = dict[str, Any]
IMPORT = "import"
WRAPPER = re.compile(r"gymnasium\.wrappers(\.\w+)*:\w+")  # entry points of Gymnasium's own wrappers


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


def load_reference(reference: str) -> Any:
    """The object that `module:name` names; ValueError if there is none."""
    module, _, name = reference.partition(":")
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{reference!r} cannot be imported ({error}): is its module on the path?") from error
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


def imports(recipe: Mapping[str, Any]) -> list[str]:
    """The code that making an environment imports, beyond registered environments and Gymnasium's wrappers."""
    named = list(_references(recipe.get("kwargs", {})))
    if "factory" in recipe:
        named.append(str(recipe["factory"]))
    elif recipe["id"] not in registry:
        named += [str(recipe[key]) for key in ("module", "entry_point") if key in recipe]
    for wrapper in recipe.get("wrappers", ()):
        named += [] if WRAPPER.fullmatch(str(wrapper["entry_point"])) else [str(wrapper["entry_point"])]
        named += _references(wrapper["kwargs"])
    return named


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if value.keys() == {IMPORT}:
            yield str(value[IMPORT])
        else:
            for item in value.values():
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def absolute_paths(kwargs: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Arguments of which those called `names` are made absolute if they are paths of what exists."""

    def absolute(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: absolute(item) for key, item in value.items()}
        return os.path.abspath(value) if isinstance(value, str) and os.path.exists(value) else value

    return {name: absolute(value) if name in names else value for name, value in kwargs.items()}


def moved_paths(kwargs: Mapping[str, Any], before: str, now: str) -> dict[str, Any]:
    """Arguments of which absolute paths that are gone are looked for where their folder has moved, `before` to `now`."""

    def moved(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: moved(item) for key, item in value.items()}
        if not isinstance(value, str) or not os.path.isabs(value) or os.path.exists(value):
            return value
        there = os.path.normpath(os.path.join(now, os.path.relpath(value, before)))
        return there if os.path.exists(there) else value

    return {name: moved(value) for name, value in kwargs.items()}
