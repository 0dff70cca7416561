"""A run's folder belongs to one agent."""

from __future__ import annotations

from typing import Any

import torch

from ...records.run import Run
from .learner import Learner
from .optimizer import own_tensors
from .resume import stored_recipe


def check_run(agent: Learner, run: Run) -> None:
    """Raise FileExistsError if the folder holds anything but this agent: its last checkpoint, if there is one."""
    if not run.steps():
        run.refuse_another(agent.identity())
        return
    checkpoint = run.last_checkpoint()
    run.refuse_another(agent.identity(), {**checkpoint.state, "env": stored_recipe(checkpoint)})
    learning = checkpoint.state["learning"]
    counters = [(learning[name], getattr(agent, name)) for name in ("num_timesteps", "n_updates")]
    if all(there == here for there, here in counters) and _same_weights(agent, checkpoint.tensors):
        return
    path, kind = str(run.path), type(agent).__name__
    raise FileExistsError(
        f"run={path!r} already holds a run at step {learning['num_timesteps']:,}, of another agent than this one (step "
        f"{agent.num_timesteps:,}): continue it with {kind}.resume({path!r}) or {kind}.load({path!r}), choose another "
        "folder, or delete it"
    )


def _same_weights(agent: Learner, tensors: dict[str, Any]) -> bool:
    for name, network in agent.networks.items():
        mine, theirs = own_tensors(network), tensors.get(name, {})
        if mine.keys() != theirs.keys():
            return False
        if not all(torch.equal(tensor.cpu(), theirs[key]) for key, tensor in mine.items()):
            return False
    return True
