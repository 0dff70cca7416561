"""How to make an environment again, as JSON, and which code that imports.

A registered environment:     {"id": "CartPole-v1", "kwargs": {"sutton_barto_reward": true}}
with wrappers:                and "wrappers": [{"entry_point": "gymnasium.wrappers…:ClipReward", "kwargs": {…}}]
an id that is not registered: and "entry_point": "my_module:MyEnv", or "module": "my_module", which registers it
a factory:                    {"factory": "my_module:make_env", "kwargs": {}}
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from gymnasium.envs.registration import registry

from ...records.references import references

Recipe = dict[str, Any]
WRAPPER = re.compile(r"gymnasium\.wrappers(\.\w+)*:\w+")  # entry points of Gymnasium's own wrappers


def imports(recipe: Mapping[str, Any]) -> list[str]:
    """The code that making an environment imports, beyond registered environments and Gymnasium's wrappers."""
    named = list(references(recipe.get("kwargs", {})))
    if "factory" in recipe:
        named.append(str(recipe["factory"]))
    elif recipe["id"] not in registry:
        named += [str(recipe[key]) for key in ("module", "entry_point") if key in recipe]
    for wrapper in recipe.get("wrappers", ()):
        named += [] if WRAPPER.fullmatch(str(wrapper["entry_point"])) else [str(wrapper["entry_point"])]
        named += references(wrapper["kwargs"])
    return named


def absolute_paths(kwargs: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Arguments of which those called `names` are made absolute if they are paths of what exists."""

    def absolute(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: absolute(item) for key, item in value.items()}
        return os.path.abspath(value) if isinstance(value, str) and os.path.exists(value) else value

    return {name: absolute(value) if name in names else value for name, value in kwargs.items()}


def moved_paths(kwargs: Mapping[str, Any], before: str, now: str) -> dict[str, Any]:
    """Arguments with absolute paths that are gone looked for beside a folder that has moved from `before` to `now`."""

    def moved(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: moved(item) for key, item in value.items()}
        if not isinstance(value, str) or not os.path.isabs(value) or os.path.exists(value):
            return value
        there = os.path.normpath(os.path.join(now, os.path.relpath(value, before)))
        return there if os.path.exists(there) else value

    return {name: moved(value) for name, value in kwargs.items()}
