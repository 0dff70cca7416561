"""What an environment reports about an episode at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .spaces import Flags

EpisodeInfo = dict[int, dict[str, Any]]  # by slot

_RESERVED = {"final_obs", "final_info", "episode", "action_mask"}  # Gymnasium's own
_SO_FAR = {"credit"}  # says of a running episode what it says of one that ends, which a wrapper may do at any step


class EpisodeInfoReader:
    """Reads the infos of all slots. A name that also comes during an episode describes a step, not the episode."""

    def __init__(self) -> None:
        self.step_names = set(_RESERVED)

    def read(self, info: dict[str, Any], ended: Flags, running: Flags, *, same_step: bool) -> EpisodeInfo:
        """The infos of the episodes that have `ended`; under SAME_STEP autoreset they are in `final_info`."""
        for name, present in info.items():
            if name[0] == "_" and name[1:] not in self.step_names | _SO_FAR and np.any(present & running):
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
