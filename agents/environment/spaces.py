"""Gymnasium spaces as plain arrays: observations flattened into a tuple of leaves, actions as numbers from 0."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

Array = NDArray[Any]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Leaves = tuple[Array, ...]  # a batch of observations: one array a leaf, each (N, *leaf shape)
LEAF_SPACES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
SMALLEST_GREY = 8  # fewer rows or columns of bytes are numbers, not a grey image


class UnsupportedSpaceError(TypeError):
    """A space that no policy here supports."""


def leaf_spaces(space: spaces.Space[Any], path: str = "observation_space") -> tuple[spaces.Space[Any], ...]:
    """The array-valued spaces inside `space`, depth first (a Dict's in its own order)."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        items = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        return tuple(leaf for key, sub in items for leaf in leaf_spaces(sub, f"{path}[{key!r}]"))
    if isinstance(space, LEAF_SPACES):
        return (space,)
    raise UnsupportedSpaceError(
        f"{path} is {space}: accepted are Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of these. "
        "Turn it into one of them with gymnasium.wrappers.TransformObservation"
    )


def describe(space: spaces.Space[Any]) -> str:
    """A space as text: equal for equal spaces, independent of NumPy's print options."""
    with np.printoptions(precision=8, threshold=sys.maxsize, floatmode="unique", suppress=False, linewidth=120):
        return repr(space)


def leaves_of(space: spaces.Space[Any], observation: Any) -> Leaves:
    """Flatten an observation, or a batch of them as a vector environment returns it, into its leaves."""
    if isinstance(space, spaces.Dict):
        parts = [leaves_of(sub, observation[key]) for key, sub in space.spaces.items()]
    elif isinstance(space, spaces.Tuple):
        parts = [leaves_of(sub, part) for sub, part in zip(space.spaces, observation, strict=True)]
    else:
        return (np.asarray(observation),)
    return tuple(leaf for leaves in parts for leaf in leaves)


def stack_leaves(rows: Sequence[Leaves]) -> Leaves:
    """Stack the leaves of single observations into those of a batch."""
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def observed(space: spaces.Space[Any], observation: Any) -> tuple[Leaves, bool]:
    """An observation or a batch as leaves (n, ...), and whether it was a single one; ValueError if it is neither."""
    if not isinstance(space, spaces.Tuple) and isinstance(observation, tuple) and isinstance(observation[-1], dict):
        raise ValueError("observation is a tuple with a dict, as reset() returns it: observation, info = env.reset()")
    try:
        leaves, kinds = leaves_of(space, observation), leaf_spaces(space)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(
            f"observation is {type(observation).__name__} {observation!r:.80}: accepted is {space}"
        ) from error
    checked = []
    for leaf, kind in zip(leaves, kinds, strict=True):
        if not np.can_cast(leaf.dtype, kind.dtype or leaf.dtype, "same_kind"):
            raise ValueError(f"observation of dtype {leaf.dtype}: accepted is {kind.dtype}, for {kind}")
        shape = kind.shape or ()
        if leaf.shape[leaf.ndim - len(shape) :] != shape or leaf.ndim > len(shape) + 1:
            raise ValueError(f"observation of shape {leaf.shape}: accepted is {shape}, or a batch of that")
        batch = leaf if leaf.ndim > len(shape) else leaf[None]
        if (broken := broken_rows(kind, batch)) is not None:
            row = batch[np.flatnonzero(broken)[0]]
            raise ValueError(f"observation {row.tolist()!r:.80}: accepted are finite numbers of {kind}")
        checked.append(batch)
    return tuple(checked), leaves[0].ndim == len(kinds[0].shape or ())


def broken_rows(space: spaces.Space[Any], leaf: Array) -> Flags | None:
    """(n,) rows of a batch that no policy can read: numbers that are not finite, choices that do not exist."""
    fine: Any
    if isinstance(space, spaces.Box):
        fine = np.isfinite(leaf) if leaf.dtype.kind == "f" else None
    elif isinstance(space, spaces.MultiBinary):
        fine = (leaf == 0) | (leaf == 1)
    else:
        assert isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
        size = space.n if isinstance(space, spaces.Discrete) else space.nvec
        fine = (leaf >= space.start) & (leaf < space.start + size)
    if fine is None or fine.all():
        return None
    broken: Flags = ~fine.reshape(len(leaf), -1).all(1)
    return broken


class ActionCodec:
    """Converts between the numbers a policy works with and the environment's actions.

    Discrete choices are int64 from 0, (N,) for one and (N, K) for several. A Box is float32 (N, D), unclipped; where a
    dimension has two finite bounds, they are −1 and 1 for the policy.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space = space
        self.choices: list[int] | None = None  # how many options each discrete choice has; None for a Box
        self._start: Any = 0
        if isinstance(space, spaces.Discrete):
            self.choices = [int(space.n)]
            self._start = int(space.start)
        elif isinstance(space, spaces.MultiDiscrete):
            self.choices = [int(n) for n in space.nvec.flat]
            self._start = np.asarray(space.start)
        elif isinstance(space, spaces.MultiBinary):
            self.choices = [2] * int(np.prod(space.shape))
        elif isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
            self._bounded = bool(np.isfinite(space.low).any() or np.isfinite(space.high).any())
            low, high = space.low.astype(np.float64), space.high.astype(np.float64)
            finite = np.maximum(np.abs(low), np.abs(high)) < np.finfo(space.dtype).max  # that is no bound either
            low, high = np.where(finite, low, -1.0), np.where(finite, high, 1.0)
            self._centre, self._half = (low + high) / 2, (high - low) / 2
            self._scaled = bool((low != -1).any() or (high != 1).any())
        else:
            raise UnsupportedSpaceError(
                f"action_space is {space}: accepted are Discrete, MultiDiscrete, MultiBinary and a Box of floats. "
                "Turn it into one of them with gymnasium.wrappers.TransformAction"
            )
        self.shape: tuple[int, ...] = space.shape or ()

    @property
    def size(self) -> int:
        """The width of a Box action, or the number of discrete choices."""
        return len(self.choices) if self.choices else int(np.prod(self.shape))

    def to_env(self, actions: Array) -> Array:
        """Reshape and shift, or scale and clip, a batch of the policy's actions (N, ...) to the environment's."""
        actions = actions.reshape(len(actions), *self.shape)
        if self.choices is None:
            assert isinstance(self.space, spaces.Box)
            if self._scaled:
                actions = self._centre + self._half * actions
            if self._bounded:
                actions = np.clip(actions, self.space.low, self.space.high)
            return actions.astype(self.space.dtype, copy=False)
        if isinstance(self.space, spaces.Discrete):
            return actions + self._start if self._start else actions
        shifted: Array = actions + self._start
        return shifted.astype(self.space.dtype, copy=False)

    def from_env(self, actions: Array) -> Array:
        """The inverse of `to_env` for a batch (N, *shape); ValueError if one lies outside the action space."""
        if actions.shape[1:] != self.shape:
            raise ValueError(f"actions of shape {actions.shape[1:]}: the action space is {self.space}")
        flat, remedy = actions.reshape(len(actions), -1), ""
        if self.choices is None:
            assert isinstance(self.space, spaces.Box)
            rounded = flat.astype(self.space.dtype)  # a bound of .7 is stored as float32
            outside = ~((rounded >= self.space.low.reshape(-1)) & (rounded <= self.space.high.reshape(-1))).all(1)
            remedy = "; np.clip them to its bounds"
            if self._scaled:
                centre, half = self._centre.reshape(-1), self._half.reshape(-1)
                flat = (flat - centre) / np.where(half > 0, half, 1.0)
            numbers = flat.astype(np.float32)
        else:
            first = np.reshape(self._start, -1)
            numbers = flat.astype(np.int64) - first
            outside = ((numbers < 0) | (numbers >= self.choices) | (numbers + first != flat)).any(1)
            numbers = numbers[:, 0] if self.size == 1 else numbers
        if outside.any():
            i = int(np.flatnonzero(outside)[0])
            raise ValueError(f"action {actions[i].tolist()} at step {i}: the action space is {self.space}{remedy}")
        return numbers


def is_image(space: spaces.Space[Any]) -> bool:
    """Whether a leaf is an image or a stack of them.

    That is bytes from 0 to 255 of shape (H, W), (H, W, C), (C, H, W), (K, H, W, C) or (K, C, H, W).
    """
    if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or not 2 <= len(space.shape) <= 4:
        return False
    if len(space.shape) == 2 and min(space.shape) < SMALLEST_GREY:
        return False
    return bool((space.low == 0).all() and (space.high == 255).all())
