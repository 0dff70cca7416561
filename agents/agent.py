"""The base class of agents."""

from __future__ import annotations

import dataclasses
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

from ..records.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from ..records.run import Run
from .environment.spaces import Array, Flags, Leaves, describe, leaves_of
from .environment.vectorize import EnvAttributes, EnvLike, Vectorized, log, remake, vectorize
from .settings.config import LANGUAGE_MODEL, Config, language_model_settings, make_config, tuned_for, tuned_settings
from .settings.registry import agent_class
from .settings.signature import show_hyperparameters
from .training.learner import Callback, Learner
from .training.loop import train
from .training.plan import Plan


class Agent(Learner):
    """An agent for any Gymnasium environment.

    Args:
        env: an environment's id, a `gymnasium.Env`, or a `gymnasium.vector.VectorEnv`
        config: a complete set of hyperparameters; keywords override single ones
        env_kwargs: arguments for `gymnasium.make_vec`, if `env` is an id
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        show_hyperparameters(cls, getattr(cls, "config_class", Config))

    def __init__(
        self,
        env: EnvLike,
        config: Config | None = None,
        *,
        env_kwargs: Mapping[str, Any] | None = None,
        **hyperparameters: Any,
    ) -> None:
        chosen = make_config(self.config_class, config, **hyperparameters)
        made = vectorize(env, chosen.n_envs, env_kwargs)
        as_lm = getattr(chosen, "policy", None) in ("auto", "lm")
        if config is None and as_lm and EnvAttributes(made.env).has("reference_model"):
            chosen = make_config(self.config_class, **{**language_model_settings(self.name), **hyperparameters})
            if made.owned and made.env.num_envs != chosen.n_envs:
                made.env.close()
                made = vectorize(env, chosen.n_envs, env_kwargs)
        self._setup(chosen, made)

    @abstractmethod
    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Flags | None = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[Array, Any]:
        """Choose an action for one observation, or actions for a batch.

        Args:
            observation: as the environment (or a vector environment) returns it
            state: the recurrent state returned by the last call; None at the start
            episode_start: True for observations that start an episode, which resets their state
            deterministic: the most likely action instead of a sampled one
            action_masks: True where an action is allowed

        Returns:
            the action or actions, ready for `env.step`, and the state for the next call
        """

    @classmethod
    def tuned(cls, env: EnvLike, *, env_kwargs: Mapping[str, Any] | None = None, **hyperparameters: Any) -> Self:
        """Make an agent with hyperparameters tuned for the environment; keywords override single ones."""
        spec = None if isinstance(env, str) else env.spec
        env_id = env if isinstance(env, str) else spec.id if spec else repr(env)
        given = {**(spec.kwargs if spec else {}), **(env_kwargs or {})}
        known = tuned_for(cls.name, env_id, given)
        if known is None:
            tuned = ", ".join(name for name in tuned_settings(cls.name) if name != LANGUAGE_MODEL)
            raise KeyError(
                f"{cls.__name__} has no tuned hyperparameters for {env_id!r}, only for {tuned}: use "
                f"{cls.__name__}({env_id!r})"
            )
        if isinstance(env, str):
            env_kwargs = {**known.env_kwargs, **given}
        elif missing := {name: value for name, value in known.env_kwargs.items() if given.get(name) != value}:
            log.warning("%s was made without %s, which its tuned hyperparameters assume", env_id, missing)
        return cls(env, env_kwargs=env_kwargs, **{**known.hyperparameters, **hyperparameters})

    def learn(
        self,
        total_timesteps: int,
        *,
        callbacks: Callback | Sequence[Callback] = (),
        run: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> Self:
        """Train for that many further steps, summed over environments.

        Args:
            total_timesteps: number of steps
            callbacks: called after each update, see `Callback`
            run: a folder for `config.json`, `metrics.jsonl`, TensorBoard events, `checkpoints/` and `curves.png`
            progress: show a progress bar
        """
        folder = Run(run) if run else None
        if folder:
            folder.refuse_beyond(self.num_timesteps)
        self.prepare(folder)
        c, two_episodes = self.config, self.env.n_envs * self.env.horizon
        every = c.checkpoint_every or max(
            -(-total_timesteps // c.checkpoints), min(two_episodes, -(-total_timesteps // 2))
        )
        self.plan = Plan.of(self.num_timesteps, total_timesteps, every)
        self.cut(self.env.get_state() if self.num_timesteps else None)
        train(self, self.plan, callbacks, folder, progress)
        return self

    def prepare(self, run: Run | None) -> None:
        """Called by `learn` before training; `run` is its folder, if any."""

    def _batch(self, observation: Any) -> tuple[Leaves, bool]:
        """An observation or a batch as leaves (n, ...), and whether it was a single one."""
        leaves = leaves_of(self.env.observation_space, observation)
        for leaf, space in zip(leaves, self.env.leaf_spaces, strict=True):
            if leaf.shape[leaf.ndim - len(space.shape or ()) :] != space.shape or leaf.ndim > len(space.shape) + 1:
                raise ValueError(f"observation of shape {leaf.shape}: accepted is {space.shape}, or a batch of that")
        single = leaves[0].ndim == len(self.env.leaf_spaces[0].shape or ())
        return (tuple(leaf[None] for leaf in leaves) if single else leaves), single

    @classmethod
    def load(cls, path: str | os.PathLike[str], env: EnvLike | None = None, *, device: str | None = None) -> Self:
        """Load an agent saved by `save`; without `env`, its environment is made again by id."""
        return cls.restore(load_checkpoint(path), env, device)

    @classmethod
    def restore(cls, checkpoint: Checkpoint, env: EnvLike | None = None, device: str | None = None) -> Self:
        """Make the agent of a checkpoint, of class `cls` or a subclass."""
        path, state = checkpoint.path, checkpoint.state
        try:
            kind = agent_class(state["agent"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path}: unknown agent {error}: it was written by another version") from None
        if not issubclass(kind, cls):
            raise CheckpointError(
                f"{path} contains a {kind.__name__}, not a {cls.__name__}: use {kind.__name__}.load()"
            )
        try:
            config = make_config(kind.config_class, **state["config"])
            if device:
                config = dataclasses.replace(config, device=device)
            made = _environment(checkpoint, env, config.n_envs)
            agent: Self = kind.__new__(kind)
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

    @classmethod
    def resume(
        cls,
        run: str | os.PathLike[str],
        env: EnvLike | None = None,
        *,
        callbacks: Callback | Sequence[Callback] = (),
        progress: bool = True,
    ) -> Self:
        """Finish an interrupted run from its last checkpoint.

        The result equals that of an uninterrupted one: at each scheduled checkpoint the environments are reset with a
        seed derived from the number of updates, whether or not the run is interrupted there.
        """
        folder = Run(run)
        checkpoint = folder.last_checkpoint()
        agent = cls.restore(checkpoint, env)
        if agent.plan is None or "callbacks" not in checkpoint.state:
            raise CheckpointError(
                f"{checkpoint.path} was not written by a run, so it cannot be resumed: load it and call learn()"
            )
        agent.cut(checkpoint.state["env_state"])
        train(agent, agent.plan, callbacks, folder, progress, checkpoint.state["callbacks"])
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
