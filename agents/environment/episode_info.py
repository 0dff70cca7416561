"""What an environment tells of an episode at its end, and only then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
EpisodeInfo = dict[int, dict[str, Any]]  # by slot

_GYMNASIUMS = {"final_obs", "final_info", "episode", "action_mask"}


class EpisodeInfoReader:
    """Reads the infos of all slots. A name that also comes while an episode runs is about a step, not the episode."""

    def __init__(self) -> None:
        self.of_steps = set(_GYMNASIUMS)

    def read(self, info: dict[str, Any], ended: Flags, going: Flags, *, same_step: bool) -> EpisodeInfo:
        """What was told of the episodes that have `ended`; a slot that goes on at once has it in `final_info`."""
        for name, told in info.items():
            if name[0] == "_" and name[1:] not in self.of_steps and np.any(told & going):
                self.of_steps.add(name[1:])
        found: EpisodeInfo = {}
        if not ended.any():
            return found
        source = info.get("final_info", {}) if same_step else info
        for name, values in source.items():
            if name[0] == "_" or name in self.of_steps:
                continue
            for slot in np.flatnonzero(ended & source.get(f"_{name}", True)).tolist():
                found.setdefault(slot, {})[name] = values[slot]
        return found


def numbers(told: Mapping[str, Any]) -> dict[str, float]:
    """The single numbers among what was told; a yes is 1."""
    return {
        name: float(value)
        for name, value in told.items()
        if isinstance(value, bool | int | float | np.number | np.bool_)
    }
