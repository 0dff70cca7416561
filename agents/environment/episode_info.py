"""What an environment reports about an episode at its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from .spaces import Flags

EpisodeInfo = dict[int, dict[str, Any]]  # by slot

_RESERVED = {"final_obs", "final_info", "episode", "action_mask"}  # Gymnasium's own


class EpisodeInfoReader:
    """Reads the infos of all slots. A name that also comes during an episode describes a step, not the episode.

    Those in `so_far` are exceptions: they describe an episode as far as it has come, as a wrapper may end it any time.
    """

    def __init__(self, so_far: Collection[str] = ()) -> None:
        self.step_names, self.so_far = set(_RESERVED), set(so_far)

    def read(self, info: dict[str, Any], ended: Flags, running: Flags, *, same_step: bool) -> EpisodeInfo:
        """The infos of the episodes that have `ended`; under SAME_STEP autoreset they are in `final_info`."""
        for name, present in info.items():
            if name[0] == "_" and name[1:] not in self.step_names | self.so_far and np.any(present & running):
                self.step_names.add(name[1:])
        found: EpisodeInfo = {}
        if not ended.any():
            return found
        source = info.get("final_info", {}) if same_step else info
        for name, values in source.items():
            if name[0] == "_" or name in self.step_names:
                continue
            for slot in np.flatnonzero(ended & source.get(f"_{name}", True)).tolist():
                found.setdefault(slot, {})[name] = values[slot]
        return found


def numbers(info: Mapping[str, Any]) -> dict[str, float]:
    """The numbers and booleans (as 0 and 1) of an info."""
    kinds = bool | int | float | np.number | np.bool_
    return {name: float(value) for name, value in info.items() if isinstance(value, kinds)}
