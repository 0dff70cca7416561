"""Loaded reward models by place and settings, so that a process loads each only once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_loaded: dict[tuple[str, ...], object] = {}


def cached(place: str, settings: tuple[str, ...], load: Callable[[], T]) -> T:
    """Return what was loaded from a place with these settings, or load it."""
    key = (place, *settings)
    if key not in _loaded:
        _loaded[key] = load()
    return _loaded[key]  # type: ignore[return-value]


def forget(place: str) -> None:
    """Forget what was loaded from a place or a folder in it: something else was saved there."""
    for key in [key for key in _loaded if key[0] == place or key[0].startswith(f"{place}/")]:
        del _loaded[key]
