"""Loading demonstrations in any accepted form, and checking them against an environment."""

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
ACCEPTED = "Demonstrations, a .npz written by record(…).save, or prompts and responses for text (a data file or a list)"


def load_demonstrations(given: DemonstrationsLike, adapter: EnvAdapter) -> Demonstrations:
    """Load demonstrations in any accepted form, and check them against the environment."""
    file = Path(given) if isinstance(given, str | os.PathLike) else None
    if isinstance(given, Demonstrations):
        found = given
    elif file and file.suffix == ".npz":
        found = Demonstrations.load(file)
    elif not isinstance(given, str | os.PathLike | Sequence):
        raise DataError(f"demonstrations is {shortened(given)}: expected {ACCEPTED}")
    elif adapter.reference_model is None:
        raise DataError(
            f"demonstrations is {file or 'a list of rows'}, that is text, but {adapter.vector_env} has no language "
            "model to tokenize it: expected Demonstrations, or a .npz written by record(…).save"
        )
    else:
        context = adapter.leaf_spaces[0].shape
        assert context
        found = Demonstrations.from_texts(given, adapter.reference_model, context[0])
    check_demonstrations(found, adapter)
    return found


def check_demonstrations(demonstrations: Demonstrations, adapter: EnvAdapter) -> None:
    """Raise DataError for demonstrations of another environment, and for actions that their own masks forbid."""
    for i, episode in enumerate(demonstrations.episodes):
        try:
            if isinstance(episode.observations, Prefixes):
                _check_text(episode.observations, adapter)
            else:
                _check_leaves(episode.observations, adapter)
            _check_masks(episode, adapter.codec.from_env(episode.actions), adapter)
        except ValueError as error:
            raise DataError(f"{demonstrations.source}, episode {i}: {error}") from None


def _check_text(text: Prefixes, adapter: EnvAdapter) -> None:
    space = adapter.leaf_spaces[0]
    tokens = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer) and len(space.shape) == 1
    if len(adapter.leaf_spaces) > 1 or not tokens:
        raise ValueError(f"it is a text, but the observation space is {adapter.observation_space}")
    assert isinstance(space, spaces.Box)
    width, last = space.shape[0], int(space.high.max())
    if len(text.tokens) > width or text.tokens.max() > last:
        raise ValueError(
            f"it is a text of {len(text.tokens)} tokens with ids up to {text.tokens.max()}: the environment accepts "
            f"{width} tokens with ids up to {last}; was it made with another tokenizer?"
        )


def _check_leaves(leaves: Leaves, adapter: EnvAdapter) -> None:
    if [leaf.shape[1:] for leaf in leaves] != [space.shape for space in adapter.leaf_spaces]:
        shapes = " and ".join(str(leaf.shape[1:]) for leaf in leaves)
        raise ValueError(f"observations of shape {shapes}: the observation space is {adapter.observation_space}")
    for leaf, space in zip(leaves, adapter.leaf_spaces, strict=True):
        if isinstance(space, spaces.Box):
            continue  # many environments leave their bounds, and policies accept that
        for t, value in enumerate(leaf):
            if not np.array_equal(kept := np.asarray(value, space.dtype), value) or not space.contains(kept):
                raise ValueError(f"observation {np.asarray(value).tolist()} at step {t}: the space is {space}")


def _check_masks(episode: Episode, actions: Array, adapter: EnvAdapter) -> None:
    if episode.masks is None:
        return
    choices = adapter.codec.choices
    if choices is None:
        raise ValueError(f"it has action masks, but the action space is {adapter.action_space}")
    width = sum(choices)
    if episode.masks.dtype != np.uint8 or episode.masks.shape[1:] != (-(-width // 8),):
        raise ValueError(
            f"masks of shape {episode.masks.shape[1:]} and type {episode.masks.dtype}: expected the "
            f"{-(-width // 8)} bytes per step that textrlhf.agents.environment.masks.pack makes of {width} options"
        )
    masks = np.unpackbits(episode.masks, axis=-1, count=width).astype(bool)
    options = actions.reshape(len(actions), -1) + np.cumsum([0, *choices[:-1]])
    forbidden = ~np.take_along_axis(masks, options, 1).all(1)
    if forbidden.any():
        t = int(np.flatnonzero(forbidden)[0])
        raise ValueError(f"action {episode.actions[t].tolist()} at step {t} is forbidden by its mask")
