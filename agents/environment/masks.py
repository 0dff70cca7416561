"""Action masks: read from an environment, stored as bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .vectorize import EnvAttributes

Mask = NDArray[np.bool_]  # (N, A), True where the action is allowed; A = Σn over the discrete choices


class MaskSource:
    """Reads masks from an `action_masks()` method, or else from `info["action_mask"]`."""

    def __init__(self, attributes: EnvAttributes, n_envs: int, width: int) -> None:
        self._attributes, self._shape = attributes, (n_envs, width)
        self._has_method = attributes.has("action_masks")
        self._last: Mask | None = None

    def read(self, info: dict[str, Any], rows: Mask | None = None) -> Mask | None:
        """The masks for the observations that came with `info`, of which only `rows` are new (default: all)."""
        if self._has_method:
            return checked(np.asarray(self._attributes.call("action_masks")), self._shape)
        found = info.get("action_mask")
        if found is None and self._last is None:
            return None
        masks = np.ones(self._shape, bool)  # rows without a mask allow everything
        if found is not None:
            present = np.broadcast_to(info.get("_action_mask", True), len(masks))
            given = np.stack(list(np.asarray(found)[present]))  # masks given as lists arrive as objects
            masks[present] = checked(given, (int(present.sum()), self._shape[1]))
        if rows is not None and self._last is not None:
            masks[~rows] = self._last[~rows]
        self._last = masks
        return masks


def checked(masks: NDArray[Any], shape: tuple[int, int]) -> Mask:
    """Masks as bool (N, A); ValueError if their shape is wrong."""
    flat = masks.reshape(shape[0], -1).astype(bool) if masks.size == shape[0] * shape[1] else masks
    if flat.shape != shape:
        raise ValueError(
            f"action mask of shape {masks.shape}: expected {shape}, one entry per environment and action (several "
            "discrete choices side by side, two entries for a binary one)"
        )
    return flat


def pack(masks: Mask) -> NDArray[np.uint8]:
    """(…, A) bools to (…, ⌈A/8⌉) bytes: for 50,000 actions 6 KiB per step instead of 49."""
    return np.packbits(masks, axis=-1)


def unpack(packed: NDArray[np.uint8], width: int, device: torch.device) -> Tensor:
    """The inverse of `pack`, as a bool tensor (…, A)."""
    return torch.from_numpy(np.unpackbits(packed, axis=-1, count=width).view(bool)).to(device)


def require_an_action(masks: Mask) -> None:
    """Raise ValueError if some row allows no action."""
    stuck = ~masks.any(-1)
    if stuck.any():
        row = int(np.flatnonzero(stuck)[0])
        raise ValueError(
            f"action mask of environment {row} allows no action: at least one entry must be True; else end the episode"
        )
