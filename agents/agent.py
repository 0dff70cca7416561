"""The base class of agents."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from ..records.progress import Stopwatch
from ..records.run import Run
from .environment.adapter import EnvAdapter
from .environment.attributes import EnvAttributes
from .environment.play import Act
from .environment.spaces import Array, Flags, Leaves, is_image, leaves_of
from .environment.vectorize import EnvLike, Vectorized, log, vectorize
from .settings.config import LANGUAGE_MODEL, Config, language_model_settings, make_config, tuned_for, tuned_settings
from .settings.seeding import Randomness, Stream, derive_seed, draw_seed
from .settings.signature import show_hyperparameters
from .training.episode_statistics import EpisodeStatistics
from .training.learner import Callback, Metrics
from .training.loop import train
from .training.optimizer import FlatAdam, load_own_tensors, own_tensors
from .training.plan import Plan
from .training.resume import resume
from .training.saving import load, save

A = TypeVar("A", bound="Agent")


class Agent(ABC):
    """An agent for any Gymnasium environment.

    Args:
        env: an environment's id, a `gymnasium.Env`, or a `gymnasium.vector.VectorEnv`
        config: a complete set of hyperparameters; keywords override single ones
        env_kwargs: arguments for `gymnasium.make_vec`, if `env` is an id
    """

    name: ClassVar[str]
    config_class: ClassVar[type[Config]]
    config: Config

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

    def _setup(self, config: Config, made: Vectorized) -> None:
        self.seed = draw_seed() if config.seed is None else config.seed
        self.env = EnvAdapter(made)
        self.config = make_config(self.config_class, config, n_envs=self.env.n_envs, seed=self.seed)
        self.device = pick_device(self.config.device, self.env)
        self.random = Randomness(self.seed, self.device)
        self.episodes = EpisodeStatistics(self.env.n_envs)
        self.num_timesteps = 0
        self.n_updates = 0
        self.plan: Plan | None = None
        self.checkpoint: Path | None = None  # the folder it was loaded from
        self.networks: dict[str, nn.Module] = {}  # saved by name, one file each
        self.optimizers: dict[str, FlatAdam] = {}  # also saved by name
        with torch.random.fork_rng(devices=[]), self.threads():  # initial weights depend on the number of threads
            torch.manual_seed(derive_seed(self.seed, Stream.WEIGHTS))
            self._build()

    @abstractmethod
    def _build(self) -> None:
        """Make networks and optimisers, and add them to `networks` and `optimizers`; torch is seeded."""

    @abstractmethod
    def advance(self, remaining: float, watch: Stopwatch) -> Metrics:
        """Collect experience and update once; `remaining` goes from 1 to 0 over training."""

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

    @abstractmethod
    def player(self, n_envs: int, seed: int = 0, deterministic: bool = False) -> Act:
        """A function that acts in `n_envs` environments, with its own recurrent state and random stream."""

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """The tensors of a checkpoint by file: weights and optimiser states."""
        networks = {name: own_tensors(network) for name, network in self.networks.items()}
        return {**networks, **{name: optimizer.tensors() for name, optimizer in self.optimizers.items()}}

    def load_tensors(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Restore `tensors`."""
        for name, network in self.networks.items():
            load_own_tensors(network, tensors[name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_tensors(tensors[name])

    def export(self, run: Path) -> None:  # noqa: B027
        """Write files that other libraries load, such as a Hugging Face model, to a run's folder."""

    @classmethod
    def tuned(cls: type[A], env: EnvLike, *, env_kwargs: Mapping[str, Any] | None = None, **hyperparameters: Any) -> A:
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
        self: A,
        total_timesteps: int,
        *,
        callbacks: Callback | Sequence[Callback] = (),
        run: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> A:
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

    def prepare(self, run: Run | None) -> None:  # noqa: B027
        """Called by `learn` before training; `run` is its folder, if any."""

    def cut(self, env_state: list[Any] | None) -> None:
        """Start new episodes in every environment, seeded by the number of updates."""
        self.episodes.cut()

    def _batch(self, observation: Any) -> tuple[Leaves, bool]:
        """An observation or a batch as leaves (n, ...), and whether it was a single one."""
        leaves = leaves_of(self.env.observation_space, observation)
        for leaf, space in zip(leaves, self.env.leaf_spaces, strict=True):
            if leaf.shape[leaf.ndim - len(space.shape or ()) :] != space.shape or leaf.ndim > len(space.shape) + 1:
                raise ValueError(f"observation of shape {leaf.shape}: accepted is {space.shape}, or a batch of that")
        single = leaves[0].ndim == len(self.env.leaf_spaces[0].shape or ())
        return (tuple(leaf[None] for leaf in leaves) if single else leaves), single

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save to a folder: weights, optimisers, hyperparameters, counters, random states."""
        save(self, path)

    @classmethod
    def load(cls: type[A], path: str | os.PathLike[str], env: EnvLike | None = None, *, device: str | None = None) -> A:
        """Load an agent saved by `save`; without `env`, its environment is made again by id."""
        agent: A = load(cls, path, env, device)
        return agent

    @classmethod
    def resume(
        cls: type[A],
        run: str | os.PathLike[str],
        env: EnvLike | None = None,
        *,
        callbacks: Callback | Sequence[Callback] = (),
        progress: bool = True,
    ) -> A:
        """Finish an interrupted run from its last checkpoint; the result equals that of an uninterrupted one."""
        agent: A = resume(cls, run, env, callbacks, progress)
        return agent

    def state_dict(self) -> dict[str, Any]:
        """Counters, random states and statistics as plain JSON; subclasses add theirs."""
        return {
            "num_timesteps": self.num_timesteps,
            "n_updates": self.n_updates,
            "random": self.random.state_dict(),
            "episodes": self.episodes.state_dict(),
            "step_info_names": self.env.step_info_names,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        self.num_timesteps, self.n_updates = int(state["num_timesteps"]), int(state["n_updates"])
        self.random.load_state_dict(state["random"])
        self.episodes.load_state_dict(state["episodes"])
        self.env.step_info_names = state["step_info_names"]

    @contextlib.contextmanager
    def threads(self) -> Iterator[None]:
        """Set the number of torch threads while the block runs."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.config.torch_threads or (before if is_heavy(self.env) else 1))
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def close(self) -> None:
        """Close the environment if the agent made it."""
        self.env.close()

    @property
    def title(self) -> str:
        """Agent and environment."""
        where = self.env.recipe["id"] if self.env.recipe else self.env.vector_env
        return f"{type(self).__name__} on {where}"

    def __repr__(self) -> str:
        return f"<{self.title}, {self.num_timesteps:,} steps>"


def pick_device(device: str, env: EnvAdapter) -> torch.device:
    """Resolve "auto": CUDA if available and worthwhile. Devices are named as by their tensors, "cuda:0"."""
    auto = "cuda" if is_heavy(env) and torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=auto if device == "auto" else device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={device!r}: accepted is 'auto', 'cpu', or 'cuda' if available") from error


def is_heavy(env: EnvAdapter) -> bool:
    """Whether the environment asks for a language model or a convolutional network."""
    return env.is_text or any(is_image(leaf) for leaf in env.leaf_spaces)
