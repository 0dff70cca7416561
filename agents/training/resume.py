"""Making agents from checkpoints, and resuming interrupted runs.

Why a resumed run ends like one that was never interrupted: at each cut, saved or not, the environments are reset with
a seed derived from the number of updates, whether or not the run is interrupted there (`Agent.cut`).
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import gymnasium as gym
from gymnasium.vector import VectorEnv

from ...language.free_memory import TooLittleMemoryError
from ...records.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from ...records.references import IMPORT, decode, load_reference, references
from ...records.run import Run
from ..environment.recipe import moved_paths
from ..environment.spaces import describe
from ..environment.vectorize import EnvLike, Vectorized, remake, vectorize
from ..settings.config import Config, make_config
from ..settings.registry import agent_class
from .learner import CallbackLike, Learner
from .loop import train
from .plan import Plan

log = logging.getLogger("textrlhf")
L = TypeVar("L", bound=Learner)
FIXED = {"n_envs", "seed", "net_arch", "activation", "memory_size", "separate_critic", "normalize_observation"}
FIXED |= {
    "normalize_reward",
    "lora_rank",
    "lora_alpha",
    "lora_target_modules",
}  # what the weights and states of a checkpoint depend on


def load(
    cls: type[L],
    path: str | os.PathLike[str],
    env: EnvLike | None = None,
    trust: bool = False,
    changes: Mapping[str, Any] | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> L:
    """Make the agent of a checkpoint, or of a run's last one, with some hyperparameters or `env_kwargs` changed."""
    folder = Path(path)
    run = Run(folder)
    is_run = not (folder / "state.json").exists() and ((folder / "checkpoints").is_dir() or run.why_empty())
    checkpoint = run.last_checkpoint() if is_run else load_checkpoint(folder)
    return restore(cls, checkpoint, env, trust, changes, env_kwargs)


def resume(
    cls: type[L],
    path: str | os.PathLike[str],
    env: EnvLike | None,
    callbacks: CallbackLike | Sequence[CallbackLike],
    progress: bool,
    trust: bool = False,
    more_timesteps: int = 0,
    changes: Mapping[str, Any] | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> L:
    """Finish a run from its last checkpoint, for `more_timesteps` than planned and with other hyperparameters."""
    with Run.of(path).writing(existing=True) as run:
        return _resume(cls, run, env, callbacks, progress, trust, more_timesteps, changes or {}, env_kwargs or {})


def _resume(
    cls: type[L],
    run: Run,
    env: EnvLike | None,
    callbacks: CallbackLike | Sequence[CallbackLike],
    progress: bool,
    trust: bool,
    more_timesteps: int,
    changes: Mapping[str, Any],
    env_kwargs: Mapping[str, Any],
) -> L:
    checkpoint = run.last_checkpoint()
    agent = restore(cls, checkpoint, env, trust, changes, env_kwargs)
    if agent.plan is None or "callbacks" not in checkpoint.state:
        raise CheckpointError(
            f"{checkpoint.path} was not written by a run, so it cannot be resumed: load it and call learn()"
        )
    if more_timesteps:
        agent.plan = dataclasses.replace(agent.plan, end=_other_end(agent, agent.plan, more_timesteps))
    differs = [f"{name}={value!r}" for name, value in {**changes, **env_kwargs}.items()]
    differs += [f"trained to step {agent.plan.end:,}"] if more_timesteps else []
    differs += ["it was interrupted between scheduled checkpoints"] if checkpoint.state.get("interrupted") else []
    if differs:
        log.warning("%s resumes at step %s, not bit-identical to an uninterrupted run: %s", run.path,
                    f"{agent.num_timesteps:,}", ", ".join(differs))  # fmt: skip
    agent.cut(checkpoint.state["env_state"])
    train(agent, agent.plan, callbacks, run, progress, checkpoint.state["callbacks"])
    return agent


def _other_end(agent: Learner, plan: Plan, more_timesteps: int) -> int:
    """The step to train to, with more steps than planned or fewer."""
    end = max(plan.end, agent.num_timesteps) + more_timesteps  # an update may have ended beyond the plan
    if end <= agent.num_timesteps:
        raise ValueError(
            f"more_timesteps={more_timesteps} of the planned {plan.end:,}: the run has done {agent.num_timesteps:,} "
            "steps; accepted is a number that lets it end after those"
        )
    return end


def restore(
    cls: type[L],
    checkpoint: Checkpoint,
    env: EnvLike | None = None,
    trust: bool = False,
    changes: Mapping[str, Any] | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> L:
    """Make the agent of a checkpoint, of class `cls` or a subclass, with some hyperparameters or `env_kwargs` changed.

    Code that the checkpoint names is imported only with `trust`.
    """
    path, state = checkpoint.path, checkpoint.state
    kind = _agent_class(cls, checkpoint, trust)
    config = _config(kind, checkpoint, trust, changes or {})
    try:
        agent: Any = kind.__new__(kind)
        agent._setup(config, _environment(checkpoint, env, config.n_envs, trust, env_kwargs or {}))
    except (CheckpointError, TooLittleMemoryError):
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
    restored: L = agent
    return restored


def _agent_class(cls: type[L], checkpoint: Checkpoint, trust: bool) -> Any:
    path, stored = checkpoint.path, checkpoint.state.get("class")
    if "agent" not in checkpoint.state:
        raise CheckpointError(f"{path} holds no agent, but what another training saved, of a reward model for example")
    if stored is None:
        try:
            kind = agent_class(checkpoint.state["agent"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path}: unknown agent {error}: it was written by another version") from None
    elif str(stored).rpartition(":")[2] == cls.__qualname__:
        kind = cls
    elif not trust:
        own = str(stored).rpartition(":")[2].rpartition(".")[2]
        raise CheckpointError(
            f"{path} contains a {stored}: load it by {own}.load(), or import that code with trust=True (--trust)"
        )
    else:
        try:
            kind = load_reference(stored)
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}") from None
    if not (isinstance(kind, type) and issubclass(kind, cls)):
        raise CheckpointError(f"{path} contains a {kind.__name__}, not a {cls.__name__}: use {kind.__name__}.load()")
    return kind


def _config(kind: Any, checkpoint: Checkpoint, trust: bool, changes: Mapping[str, Any]) -> Config:
    """The stored hyperparameters, some of them changed."""
    path = checkpoint.path
    if fixed := FIXED & changes.keys():
        raise ValueError(f"{min(fixed)} is part of what {path} holds and cannot be changed: make a new agent")
    try:
        stored = {name: value for name, value in checkpoint.state["config"].items() if name not in changes}
        if stored.get("policy", "") is None:
            raise CheckpointError(f"{path}: its policy is a function that has no name to import it by: pass policy=…")
        if not trust and (named := list(references(stored))):
            raise CheckpointError(
                f"{path} imports {', '.join(named)}: if you trust that code, pass trust=True (--trust), else "
                f"{next(name for name, value in stored.items() if isinstance(value, Mapping) and IMPORT in value)}=…"
            )
        config: Config = make_config(kind.config_class, **decode(stored))
    except CheckpointError:
        raise
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its config does not fit this version ({error})") from None
    return make_config(kind.config_class, config, **changes) if changes else config


def _environment(
    checkpoint: Checkpoint, env: EnvLike | None, n_envs: int, trust: bool, changes: Mapping[str, Any]
) -> Vectorized:
    recipe = checkpoint.state["env"]
    if env is not None:
        if changes and isinstance(env, gym.Env | VectorEnv):
            raise CheckpointError(
                f"env_kwargs has {', '.join(changes)}, and env is an environment: make it with these arguments"
            )
        same = recipe is not None and isinstance(env, str) and env.rpartition(":")[2] == recipe.get("id")
        return vectorize(env, n_envs, {**(recipe["kwargs"] if same else {}), **changes})
    if recipe is None:
        raise CheckpointError(
            f"{checkpoint.path}: its environment is not stored, as it could not be made again from an id or a "
            "function of a module: pass env=…"
        )
    try:
        return remake(stored_recipe(checkpoint), n_envs, changes, trust=trust)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from None


def stored_recipe(checkpoint: Checkpoint) -> Any:
    """A checkpoint's environment, with the paths as they are if the checkpoint has moved."""
    recipe = checkpoint.state.get("env")
    if not (checkpoint.before and recipe):
        return recipe
    return {**recipe, "kwargs": moved_paths(recipe["kwargs"], checkpoint.before, os.path.abspath(checkpoint.path))}
