"""Making agents from checkpoints."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from ...records.checkpoint import Checkpoint, CheckpointError
from ..environment.spaces import describe
from ..environment.vectorize import EnvLike, Vectorized, remake, vectorize
from ..settings.config import make_config
from ..settings.registry import agent_class
from .learner import Learner
from .plan import Plan

L = TypeVar("L", bound=Learner)


def restore(cls: type[L], checkpoint: Checkpoint, env: EnvLike | None, device: str | None = None) -> L:
    """Make the agent of a checkpoint, of class `cls` or a subclass."""
    path, state = checkpoint.path, checkpoint.state
    try:
        kind = agent_class(state["agent"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: unknown agent {error}: it was written by another version") from None
    if not issubclass(kind, cls):
        raise CheckpointError(f"{path} contains a {kind.__name__}, not a {cls.__name__}: use {kind.__name__}.load()")
    try:
        config = make_config(kind.config_class, **state["config"])
        if device:
            config = dataclasses.replace(config, device=device)
        made = _environment(checkpoint, env, config.n_envs)
        agent: Any = kind.__new__(kind)
        agent._setup(config, made)
    except CheckpointError:
        raise
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: its config does not fit this version ({error})") from None
    for what in ("observation_space", "action_space"):
        seen, expected = describe(getattr(agent.env, what)), state.get(what)
        if seen != expected:
            agent.close()
            raise CheckpointError(
                f"{path} belongs to another environment: its {what} is {expected}, this one's is {seen}"
            )
    try:
        agent.load_tensors(checkpoint.tensors)
        agent.load_state_dict(state["learning"])
        agent.checkpoint = path
        agent.plan = Plan(**state["plan"]) if state["plan"] else None
    except (RuntimeError, KeyError, ValueError, TypeError) as error:
        agent.close()
        raise CheckpointError(f"{path}: its contents do not fit its agent ({error})") from None
    return agent


def _environment(checkpoint: Checkpoint, env: EnvLike | None, n_envs: int) -> Vectorized:
    recipe = checkpoint.state["env"]
    if env is not None:
        same = recipe is not None and isinstance(env, str) and env.rpartition(":")[2] == recipe["id"]
        return vectorize(env, n_envs, recipe["kwargs"] if same else None)
    if recipe is None:
        raise CheckpointError(f"{checkpoint.path}: its environment cannot be made again by id: pass env=…")
    try:
        return remake(recipe, n_envs)
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from None
