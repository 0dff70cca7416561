"""What every agent is: made from an environment, taught, asked, saved and loaded."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..records.progress import Stopwatch
from .callbacks import Callback, Metrics
from .config import LANGUAGE_MODEL, Config, language_model_settings, make_config, tuned_for, tuned_settings
from .episodes import Episodes
from .flat import FlatAdam, load_own_tensors, own_tensors
from .masks import Mask, checked, require_an_action
from .plan import Plan
from .policies import Memory, Policy
from .policies.encoder import is_image
from .reach import Reach
from .seeding import Randomness, derive, draw_seed
from .spaces import Array, Leaves, leaves_of
from .vectorize import EnvLike, Vectorized, log, vectorize
from .world import World

A = TypeVar("A", bound="Agent")
Player = Callable[[Leaves, NDArray[np.bool_], Mask | None, bool], tuple[Array, Array]]


class Agent(ABC):
    """Learns to act in any Gymnasium environment.

    Args:
        env: an environment's id, a `gymnasium.Env`, or a `gymnasium.vector.VectorEnv`
        config: a whole set of hyperparameters; keywords change single ones
        env_kwargs: arguments for `gymnasium.make_vec` where `env` is an id
    """

    name: ClassVar[str]
    config_class: ClassVar[type[Config]]
    config: Config
    policy: Policy
    optimizer: FlatAdam

    def __init__(
        self,
        env: EnvLike,
        config: Config | None = None,
        *,
        env_kwargs: Mapping[str, Any] | None = None,
        **hyperparameters: Any,
    ) -> None:
        settled = make_config(self.config_class, config, **hyperparameters)
        made = vectorize(env, settled.n_envs, env_kwargs)
        as_lm = getattr(settled, "policy", None) in ("auto", "lm")
        if config is None and as_lm and Reach(made.env).has("reference_model"):
            settled = make_config(self.config_class, **{**language_model_settings(self.name), **hyperparameters})
            if made.owned and made.env.num_envs != settled.n_envs:
                made.env.close()
                made = vectorize(env, settled.n_envs, env_kwargs)
        self._setup(settled, made)

    def _setup(self, config: Config, made: Vectorized) -> None:
        seed = draw_seed() if config.seed is None else config.seed
        self.world = World(made)
        self.config = make_config(self.config_class, config, n_envs=self.world.n_envs, seed=seed)
        self.seed = seed
        self.device = pick_device(self.config.device, self.world)
        self.random = Randomness(seed, self.device)
        self.episodes = Episodes(self.world.n_envs)
        self.num_timesteps = 0
        self.n_updates = 0
        self.plan: Plan | None = None
        self.origin: Path | None = None  # the folder it was read from
        self._predictions = torch.Generator(device=self.device)
        self._predictions.manual_seed(derive(seed, 3, 0))
        with torch.random.fork_rng(devices=[]), self.threads():  # the first weights, too, depend on the threads
            torch.manual_seed(derive(seed, 0, 0))
            self._build()
        self.world.borrow(not getattr(self.policy, "keeps_observations", True))

    @abstractmethod
    def _build(self) -> None:
        """Make the policy and its optimiser; torch's global generator is seeded."""

    @abstractmethod
    def advance(self, remaining: float, watch: Stopwatch) -> Metrics:
        """Act and learn once; `remaining` goes from 1 to 0 over the plan."""

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint keeps as tensors, by file and name: weights and the optimiser's moments."""
        return {"model": own_tensors(self.policy.network), "optimizer": self.optimizer.tensors()}

    def load_tensors(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Take back what `tensors` gave."""
        load_own_tensors(self.policy.network, tensors["model"])
        self.optimizer.load_tensors(tensors["optimizer"])

    @classmethod
    def tuned(cls: type[A], env: EnvLike, *, env_kwargs: Mapping[str, Any] | None = None, **hyperparameters: Any) -> A:
        """Make an agent with the hyperparameters kept for an environment; keywords change single ones."""
        spec = None if isinstance(env, str) else env.spec
        env_id = env if isinstance(env, str) else spec.id if spec else repr(env)
        given = {**(spec.kwargs if spec else {}), **(env_kwargs or {})}
        known = tuned_for(cls.name, env_id, given)
        if known is None:
            there = ", ".join(name for name in tuned_settings(cls.name) if name != LANGUAGE_MODEL)
            raise KeyError(
                f"{cls.__name__} has no tuned hyperparameters for {env_id!r}: there are some for {there}; make it with "
                f"{cls.__name__}({env_id!r}) instead"
            )
        if isinstance(env, str):
            env_kwargs = {**known.env_kwargs, **given}
        elif lacks := {name: value for name, value in known.env_kwargs.items() if given.get(name) != value}:
            log.warning("%s was made without %s, which its tuned hyperparameters go with", env_id, lacks)
        return cls(env, env_kwargs=env_kwargs, **{**known.hyperparameters, **hyperparameters})

    def learn(
        self: A,
        total_timesteps: int,
        *,
        callbacks: Callback | Sequence[Callback] = (),
        run: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> A:
        """Learn for that many further steps, all slots counted (also those a vector environment spends on resets).

        With `run`, a folder is filled as it goes: `config.json`, `metrics.jsonl`, TensorBoard events,
        `checkpoints/` and `curves.png`.
        """
        from .training import refuse_to_overwrite, train

        if run:
            refuse_to_overwrite(self, run)
        c, room = self.config, self.world.n_envs * self.world.horizon
        every = c.checkpoint_every or max(-(-total_timesteps // c.checkpoints), min(room, -(-total_timesteps // 2)))
        self.plan = Plan.of(self.num_timesteps, total_timesteps, every)
        self.cut(self.world.get_state() if self.num_timesteps else None)
        train(self, self.plan, callbacks, run, progress)
        return self

    def cut(self, world_state: list[Any] | None) -> None:
        """Begin new episodes in every slot, seeded by how far the agent has come."""
        self.observation = self.world.reset(derive(self.seed, 4, self.n_updates), world_state)
        self.world.promise_to_settle()
        self.starts = np.ones(self.world.n_envs, bool)
        self.memory: Memory = self.policy.initial_memory(self.world.n_envs)
        self.episodes.cut()

    def predict(
        self,
        observation: Any,
        state: Memory = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[Array, Memory]:
        """Choose for one observation or a batch of them.

        Args:
            observation: as the environment (or a vector environment) returns it
            state: the memory returned by the last call; None to begin
            episode_start: which of the batch open an episode, and so forget
            deterministic: the likeliest action instead of a drawn one
            action_masks: True where an action is allowed

        Returns:
            the action or actions, ready for `env.step`, and the memory for the next call
        """
        leaves, single = self._batch(observation)
        n = len(leaves[0])
        if state is None:
            state = self.policy.initial_memory(n)
        starts = np.zeros(n, bool) if episode_start is None else np.asarray(episode_start, bool).reshape(n)
        masks = None
        if action_masks is not None and self.world.codec.choices:
            masks = checked(np.asarray(action_masks, bool), (n, sum(self.world.codec.choices)))
            require_an_action(masks)
        act = self.policy.act(
            leaves, state, starts, deterministic=deterministic, masks=masks, generator=self._predictions
        )
        action = self.world.codec.to_env(act.on_host()[0])
        return (action[0] if single else action), act.memory

    def value(self, observation: Any, state: Memory = None) -> Any:
        """The critic's value of one observation (a float) or of a batch (an array)."""
        leaves, single = self._batch(observation)
        state = self.policy.initial_memory(len(leaves[0])) if state is None else state
        values = self.policy.value(leaves, state).cpu().numpy()
        return float(values[0]) if single else values

    def player(self, n_envs: int, seed: int = 0) -> Player:
        """An actor for `n_envs` slots with a memory and a random stream of its own."""
        memory = self.policy.initial_memory(n_envs)
        generator = torch.Generator(device=self.device)
        generator.manual_seed(derive(seed, 5, 0))

        def play(
            observation: Leaves, starts: NDArray[np.bool_], masks: Mask | None, deterministic: bool
        ) -> tuple[Array, Array]:
            nonlocal memory
            act = self.policy.act(
                observation, memory, starts, deterministic=deterministic, masks=masks, generator=generator
            )
            memory = act.memory
            return act.on_host()

        return play

    def _batch(self, observation: Any) -> tuple[Leaves, bool]:
        leaves = leaves_of(self.world.observation_space, observation)
        for leaf, space in zip(leaves, self.world.leaf_spaces, strict=True):
            if leaf.shape[leaf.ndim - len(space.shape or ()) :] != space.shape or leaf.ndim > len(space.shape) + 1:
                raise ValueError(f"observation of shape {leaf.shape}: accepted is {space.shape}, or a batch of these")
        single = leaves[0].ndim == len(self.world.leaf_spaces[0].shape or ())
        return (tuple(leaf[None] for leaf in leaves) if single else leaves), single

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the agent to a folder: weights, optimiser, hyperparameters, counters, random states."""
        from .saving import save

        save(self, path)

    @classmethod
    def load(cls: type[A], path: str | os.PathLike[str], env: EnvLike | None = None, *, device: str | None = None) -> A:
        """Read an agent from a folder that `save` wrote; without `env`, its environment is made again by id."""
        from .saving import load

        return load(cls, path, env, device)

    @classmethod
    def resume(
        cls: type[A],
        run: str | os.PathLike[str],
        env: EnvLike | None = None,
        *,
        callbacks: Callback | Sequence[Callback] = (),
        progress: bool = True,
    ) -> A:
        """Take up a run where its last checkpoint stands and finish it, as if it had never stopped."""
        from .training import resume

        return resume(cls, run, env, callbacks, progress)

    def state_dict(self) -> dict[str, Any]:
        """Counters, random states and running statistics as plain JSON; subclasses add theirs."""
        return {
            "num_timesteps": self.num_timesteps,
            "n_updates": self.n_updates,
            "random": self.random.state_dict(),
            "episodes": self.episodes.state_dict(),
            "names_of_steps": self.world.names_of_steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self.num_timesteps, self.n_updates = int(state["num_timesteps"]), int(state["n_updates"])
        self.random.load_state_dict(state["random"])
        self.episodes.load_state_dict(state["episodes"])
        self.world.names_of_steps = state.get("names_of_steps", [])

    @contextlib.contextmanager
    def threads(self) -> Iterator[None]:
        """Use as many torch threads as suit the policy while the block runs."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.config.torch_threads or (before if is_heavy(self.world) else 1))
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def close(self) -> None:
        """Close the environments this agent made."""
        self.world.close()

    @property
    def title(self) -> str:
        """Who learns what."""
        where = self.world.recipe["id"] if self.world.recipe else self.world.env
        return f"{type(self).__name__} on {where}"

    def __repr__(self) -> str:
        return f"<{self.title}, {self.num_timesteps:,} steps>"


def pick_device(device: str, world: World) -> torch.device:
    """Resolve "auto": CUDA where it pays and exists. A device is named as its tensors name it, "cuda:0" for "cuda"."""
    auto = "cuda" if is_heavy(world) and torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=auto if device == "auto" else device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r}: accepted is 'auto', 'cpu', or 'cuda' and the like where torch finds one"
        ) from error


def is_heavy(world: World) -> bool:
    """Whether the policy will be a language model or look at pictures."""
    return world.reference_model is not None or any(is_image(leaf) for leaf in world.leaf_spaces)
