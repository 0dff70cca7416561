"""The base class of agents."""

from __future__ import annotations

import contextlib
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import gymnasium as gym
from gymnasium.vector import VectorEnv

from ..language import CausalLM
from ..language.learning_rate import fine_tuning_rate
from ..records.run import Run
from .environment.adapter import EnvAdapter
from .environment.attributes import EnvAttributes
from .environment.spaces import Array, Flags, Leaves, describe, observed
from .environment.vectorize import EnvLike, log, vectorize
from .settings import habits
from .settings.config import LANGUAGE_MODEL, Config, language_model_settings, make_config, tuned_for, tuned_settings
from .settings.signature import show_hyperparameters
from .training.learner import CallbackLike, Learner, as_callbacks
from .training.loop import train
from .training.plan import Plan
from .training.resume import load, resume
from .training.run_check import check_run


class Agent(Learner):
    """An agent for any Gymnasium environment.

    Args:
        env: an environment's id, a `gymnasium.Env`, a `gymnasium.vector.VectorEnv`, or a function that makes an Env
        config: a complete set of hyperparameters; keywords override single ones
        env_kwargs: arguments for `gymnasium.make_vec`, if `env` is an id
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        show_hyperparameters(cls, getattr(cls, "config_class", Config))

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Answer what Python would call two values for `env`."""
        if args and "env" in kwargs and args[0] in list(habits.POLICIES):
            raise TypeError(f"write {cls.__name__}(env, policy={args[0]!r}): the environment is the first argument")
        return super().__new__(cls)

    def __init__(
        self,
        env: EnvLike,
        config: Config | None = None,
        *,
        env_kwargs: Mapping[str, Any] | None = None,
        **hyperparameters: Any,
    ) -> None:
        env, config, hyperparameters = habits.arguments(env, config, hyperparameters)
        chosen = make_config(self.config_class, config, **hyperparameters)
        exactly = "n_envs" in chosen.given
        made = vectorize(env, chosen.n_envs, env_kwargs, exactly=exactly)
        as_lm = getattr(chosen, "policy", None) in ("auto", "lm")
        attributes = EnvAttributes(made.env)
        if as_lm and attributes.has("reference_model"):
            chosen = chosen.with_defaults(self._text_defaults(chosen, attributes.get("reference_model")))
            if made.owned and made.env.num_envs != chosen.n_envs:
                made.env.close()
                made = vectorize(env, chosen.n_envs, env_kwargs)
        elif isinstance(env, gym.Env) and made.env.num_envs < chosen.n_envs:
            log.warning("n_envs=1: no more of %s can be made (%s)", env, made.why)
            chosen = chosen.with_envs(made.env.num_envs)
        self._setup(chosen, made)

    def _text_defaults(self, config: Config, reference: Any) -> dict[str, Any]:
        """The default hyperparameters in environments with this reference model; the learning rate is by its size."""
        defaults = language_model_settings(self.name)
        if hasattr(config, "learning_rate") and isinstance(reference, CausalLM):
            adapters = bool(getattr(config, "lora_rank", 0))
            defaults["learning_rate"] = fine_tuning_rate(reference.model, adapters=adapters)
        return defaults

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
        spec = getattr(env, "spec", None)
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
        callbacks: CallbackLike | Sequence[CallbackLike] = (),
        *,
        run: str | os.PathLike[str] | None = None,
        progress: bool = True,
        **others: Any,
    ) -> Self:
        """Train for that many further steps, summed over environments.

        Ctrl-C (or SIGTERM) ends the running update, saves a checkpoint in the run and raises KeyboardInterrupt; a
        second one stops at once.

        Args:
            total_timesteps: number of steps
            callbacks: called during training: `Callback` objects, or functions of the agent and the metrics, which are
                called after each update; one or a list
            run: a folder for `config.json`, `metrics.jsonl`, TensorBoard events, `checkpoints/` and `curves.png`. One
                that holds a run is accepted only if its last checkpoint is this agent, whose run then goes on; only its
                last two checkpoints are kept
            progress: show a progress bar
            others: `callback` and `progress_bar`, as Stable-Baselines3 calls these
        """
        total_timesteps = Plan.whole(total_timesteps)
        callbacks, progress = habits.learn_arguments(callbacks, progress, others)
        callbacks = as_callbacks(callbacks)
        c, two_episodes = self.config, self.env.n_envs * self.env.horizon
        every = c.checkpoint_every or max(
            -(-total_timesteps // c.checkpoints), min(two_episodes, -(-total_timesteps // 2))
        )
        plan = Plan.of(self.num_timesteps, total_timesteps, every)
        folder = Run.of(run) if run else None
        with folder.writing() if folder else contextlib.nullcontext():
            if folder:
                check_run(self, folder)
            if folder and self.env.recipe is None:
                log.warning(
                    "%s cannot be made again from what the run stores (%s): loading and resuming will need env=…",
                    self.env.name,
                    self.env.why_no_recipe,
                )
            self.prepare(folder)
            self.plan = plan
            self.cut(self.env.get_state() if self.num_timesteps else None)
            train(self, plan, callbacks, folder, progress)
        return self

    def get_env(self) -> VectorEnv[Any, Any, Any]:
        """The vector environment that the agent trains in."""
        return self.env.vector_env

    def set_env(self, env: EnvLike, *, env_kwargs: Mapping[str, Any] | None = None) -> None:
        """Train in another environment from the next `learn` on; spaces and number of environments stay the same."""
        new = EnvAdapter(vectorize(env, self.env.n_envs, env_kwargs, exactly=False))
        for what, seen, accepted in self._compared(new):
            if seen != accepted:
                new.close()
                raise ValueError(f"env has {what} {seen}: accepted is {accepted}, as this agent was made for")
        if not new.steps(self.env.vector_env):
            self.env.close()
        self.env = new

    def _compared(self, new: EnvAdapter) -> Iterator[tuple[str, Any, Any]]:
        """What another environment must have in common with this agent's, with both values."""
        yield "num_envs", new.n_envs, self.env.n_envs
        for space in ("observation_space", "action_space"):
            yield space, describe(getattr(new, space)), describe(getattr(self.env, space))
        seen, accepted = new.reference_model, self.env.reference_model
        fingerprints = [model and model.fingerprint() for model in (seen, accepted)]
        same = seen is accepted or fingerprints[0] == fingerprints[1]
        yield "the reference model", accepted if same else seen, accepted

    def prepare(self, run: Run | None) -> None:
        """Called by `learn` before training; `run` is its folder, if any."""

    def _batch(self, observation: Any) -> tuple[Leaves, bool]:
        """An observation or a batch as leaves (n, ...), and whether it was a single one."""
        return observed(self.env.observation_space, observation)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        env: EnvLike | None = None,
        *,
        env_kwargs: Mapping[str, Any] | None = None,
        device: str | None = None,
        trust: bool = False,
        **hyperparameters: Any,
    ) -> Self:
        """Load an agent saved by `save`, or that of a run's last checkpoint.

        Args:
            path: the folder of a checkpoint or of a run
            env: the environment to train in; by default it is made again
            env_kwargs: changed arguments of the environment, such as `kl_coef`
            device: where the networks are; by default as saved
            trust: import the code that the checkpoint names: environments, wrappers and reward functions of your own,
                subclasses and policies. Only for checkpoints whose author you trust
            hyperparameters: other values than those saved, for example `learning_rate`
        """
        return load(cls, path, env, trust, hyperparameters | ({"device": device} if device else {}), env_kwargs)

    @classmethod
    def resume(
        cls,
        run: str | os.PathLike[str],
        env: EnvLike | None = None,
        *,
        env_kwargs: Mapping[str, Any] | None = None,
        callbacks: CallbackLike | Sequence[CallbackLike] = (),
        progress: bool = True,
        trust: bool = False,
        more_timesteps: int = 0,
        **hyperparameters: Any,
    ) -> Self:
        """Finish an interrupted run from its last checkpoint; the result equals that of an uninterrupted one.

        Args:
            run: the run's folder
            env: the environment to train in; by default it is made again
            env_kwargs: changed arguments of the environment, such as `kl_coef`; stored with the next checkpoint
            callbacks: as given to `learn`; their states are restored
            progress: show a progress bar
            trust: see `load`
            more_timesteps: steps to train for beyond the planned end, also of a finished run; negative: so many fewer
            hyperparameters: other values than before; the result then differs from that of an uninterrupted run
        """
        return resume(cls, run, env, callbacks, progress, trust, more_timesteps, hyperparameters, env_kwargs)
