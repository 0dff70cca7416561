"""Resuming an interrupted run: the agent of its last intact checkpoint, and the rest of its plan.

Why the result is that of a run never interrupted: at each scheduled checkpoint the environments are reset with a seed
derived from the number of updates, whether or not the run is interrupted there (`Agent.cut`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ...records.checkpoint import CheckpointError
from ...records.run import Run
from ..environment.vectorize import EnvLike
from .learner import Callback, Learner
from .loop import train
from .saving import restore


def resume(
    cls: Any,
    run: str | os.PathLike[str],
    env: EnvLike | None,
    callbacks: Callback | Sequence[Callback],
    progress: bool,
) -> Any:
    """Load a run's last checkpoint into an agent of class `cls`, and finish the run's plan."""
    callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
    folder = Run(run)
    checkpoint = folder.last_checkpoint()
    agent: Learner = restore(cls, checkpoint, env)
    if agent.plan is None or "callbacks" not in checkpoint.state:
        raise CheckpointError(
            f"{checkpoint.path} was not written by a run, so it cannot be resumed: load it and call learn()"
        )
    saved = list(checkpoint.state["callbacks"])
    for callback in callbacks:  # each takes the first state saved by its class; new ones start from scratch
        mine = next((entry for entry in saved if entry[0] == type(callback).__name__), None)
        if mine:
            saved.remove(mine)
            callback.load_state_dict(mine[1])
    agent.cut(checkpoint.state["env_state"])
    train(agent, agent.plan, callbacks, folder, progress)
    return agent
