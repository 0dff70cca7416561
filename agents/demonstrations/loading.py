"""Demonstrations as they are given: read, and checked against the environment they are to be learned in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from ...records.jsonl import DataError, shortened
from ..environment.adapter import EnvAdapter
from ..environment.spaces import Array, Leaves
from .demonstrations import Demonstrations, Episode, Prefixes

DemonstrationsLike = str | os.PathLike[str] | Demonstrations | Sequence[Mapping[str, Any]]
ACCEPTED = (
    "a .npz that record(…).save wrote, for a environment of texts a .jsonl (or a list) of prompts and responses, or a "
    "Demonstrations"
)


def read(given: DemonstrationsLike, adapter: EnvAdapter) -> Demonstrations:
    """Read what is given, whatever its form, for this environment."""
    file = Path(given) if isinstance(given, str | os.PathLike) else None
    rows = not isinstance(given, str | os.PathLike | Demonstrations) and isinstance(given, Sequence)
    if isinstance(given, Demonstrations):
        found = given
    elif file is not None and file.suffix == ".npz":
        found = Demonstrations.load(file)
    elif not rows and (file is None or file.suffix != ".jsonl"):
        raise DataError(f"demonstrations is {shortened(given)}: expected {ACCEPTED}")
    elif adapter.reference_model is None:
        raise DataError(
            f"demonstrations is {file or 'a list of rows'}, texts, but {adapter.vector_env} has no language model to "
            "read them: expected a .npz that record(…).save wrote, or a Demonstrations"
        )
    else:
        context = adapter.leaf_spaces[0].shape
        assert context
        found = Demonstrations.from_texts(given, adapter.reference_model, context[0])
    check(found, adapter)
    return found


def check(demonstrations: Demonstrations, adapter: EnvAdapter) -> None:
    """Refuse demonstrations of another environment, and actions that their own masks forbid."""
    for i, episode in enumerate(demonstrations.episodes):
        try:
            _check_text(episode.seen, adapter) if isinstance(episode.seen, Prefixes) else _check_leaves(
                episode.seen, adapter
            )
            _check_masks(episode, adapter.codec.from_env(episode.actions), adapter)
        except ValueError as error:
            raise DataError(f"{demonstrations.source}, episode {i}: {error}") from None


def _check_text(text: Prefixes, adapter: EnvAdapter) -> None:
    space = adapter.leaf_spaces[0]
    whole = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer) and len(space.shape) == 1
    if len(adapter.leaf_spaces) > 1 or not whole:
        raise ValueError(f"it is a text, but the environment's observations are {adapter.observation_space}")
    assert isinstance(space, spaces.Box)
    width, last = space.shape[0], int(space.high.max())
    if len(text.tokens) > width or text.tokens.max() > last:
        raise ValueError(
            f"it is a text of {len(text.tokens)} tokens up to number {text.tokens.max()}: the environment's have at "
            f"most {width}, up to number {last}; was it made with another model's tokenizer?"
        )


def _check_leaves(seen: Leaves, adapter: EnvAdapter) -> None:
    if [leaf.shape[1:] for leaf in seen] != [space.shape for space in adapter.leaf_spaces]:
        shapes = " and ".join(str(leaf.shape[1:]) for leaf in seen)
        raise ValueError(f"observations of shape {shapes}: the environment's are {adapter.observation_space}")
    for leaf, space in zip(seen, adapter.leaf_spaces, strict=True):
        if isinstance(space, spaces.Box):
            continue  # some leave their bounds, and no policy minds
        for t, value in enumerate(leaf):
            if not np.array_equal(kept := np.asarray(value, space.dtype), value) or not space.contains(kept):
                raise ValueError(f"observation {np.asarray(value).tolist()} at step {t}: the environment's are {space}")


def _check_masks(episode: Episode, actions: Array, adapter: EnvAdapter) -> None:
    if episode.masks is None:
        return
    choices = adapter.codec.choices
    if choices is None:
        raise ValueError(f"it has action masks, which {adapter.action_space} has not")
    width = sum(choices)
    if episode.masks.dtype != np.uint8 or episode.masks.shape[1:] != (-(-width // 8),):
        raise ValueError(
            f"masks of shape {episode.masks.shape[1:]} and type {episode.masks.dtype}: expected the "
            f"{-(-width // 8)} bytes a step into which textrlhf.agents.environment.masks.pack puts {width} options"
        )
    masks = np.unpackbits(episode.masks, axis=-1, count=width).astype(bool)
    options = actions.reshape(len(actions), -1) + np.cumsum([0, *choices[:-1]])
    forbidden = ~np.take_along_axis(masks, options, 1).all(1)
    if forbidden.any():
        t = int(np.flatnonzero(forbidden)[0])
        raise ValueError(f"action {episode.actions[t].tolist()} at step {t} is one that its mask forbids")
