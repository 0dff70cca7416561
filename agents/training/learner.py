"""What training loop, callbacks, evaluation and checkpoints need of an agent; the base of callbacks."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ...records.checkpoint import save_checkpoint
from ...records.progress import Stopwatch
from ...records.references import NotRecordableError, reference_to
from ..environment.adapter import EnvAdapter, StepResult
from ..environment.play import Act
from ..environment.spaces import describe
from ..environment.vectorize import Vectorized
from ..settings.config import Config, make_config
from ..settings.registry import AGENTS, agent_class
from ..settings.seeding import Randomness, Stream, derive_seed, draw_seed
from .episode_statistics import EpisodeStatistics
from .optimizer import FlatAdam, load_own_tensors, own_tensors
from .plan import Plan

Metrics = dict[str, float]
OnStep = Callable[[StepResult], None]


class Learner(ABC):
    """The part of `Agent` that is trained, played and saved."""

    name: ClassVar[str]
    config_class: ClassVar[type[Config]]
    config: Config

    def _setup(self, config: Config, made: Vectorized) -> None:
        self.seed = draw_seed() if config.seed is None else config.seed
        self.env = EnvAdapter(made)
        self.config = make_config(self.config_class, config, n_envs=self.env.n_envs, seed=self.seed)
        self.device = pick_device(self.config.device, self.env)
        self.random = Randomness(self.seed, self.device)
        self.episodes = EpisodeStatistics(self.env.n_envs)
        self.num_timesteps, self.n_updates = 0, 0
        self.plan: Plan | None = None
        self.checkpoint: Path | None = None  # the folder it was loaded from
        self.on_step: OnStep | None = None  # set while callbacks want every step
        self.networks: dict[str, nn.Module] = {}  # saved by name, one file each
        self.optimizers: dict[str, FlatAdam] = {}  # also saved by name
        self.parts: dict[str, Any] = {"random": self.random, "episodes": self.episodes}  # whose states are saved
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
    def player(self, n_envs: int, seed: int = 0, deterministic: bool = False) -> Act:
        """A function that acts in `n_envs` environments, with its own recurrent state and random stream."""

    def cut(self, env_state: list[Any] | None) -> None:
        """Start new episodes in every environment, seeded by the number of updates."""
        self.episodes.cut()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save to a folder: weights, optimisers, hyperparameters, counters, random states."""
        save_checkpoint(path, self.checkpoint_state(), self.tensors())

    def export(self, run: Path) -> None:  # noqa: B027
        """Write files that other libraries load, such as a Hugging Face model, to a run's folder."""

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

    def checkpoint_state(self) -> dict[str, Any]:
        """The JSON part of a checkpoint."""
        return {
            **self.identity(),
            "config": self.config.to_json(),
            "observation_space": describe(self.env.observation_space),
            "action_space": describe(self.env.action_space),
            "plan": dataclasses.asdict(self.plan) if self.plan else None,
            "learning": self.state_dict(),
        }

    def identity(self) -> dict[str, Any]:
        """What stays the same over a run: agent and environment."""
        return {"agent": self.name, **self._own_class(), "env": self.env.recipe}

    def _own_class(self) -> dict[str, str]:
        """What a checkpoint says about the class, if it is not one of this package's."""
        if self.name in AGENTS and agent_class(self.name) is type(self):
            return {}
        try:
            return {"class": reference_to(type(self))}
        except NotRecordableError:  # its own load() finds it by its name
            return {"class": f"{type(self).__module__}:{type(self).__qualname__}"}

    def state_dict(self) -> dict[str, Any]:
        """Counters, random states and statistics as plain JSON; subclasses add theirs."""
        return {
            "num_timesteps": self.num_timesteps,
            "n_updates": self.n_updates,
            **{name: part.state_dict() for name, part in self.parts.items()},
            "step_info_names": sorted(self.env.episode_info.step_names),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        self.num_timesteps, self.n_updates = int(state["num_timesteps"]), int(state["n_updates"])
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        self.env.episode_info.step_names.update(state["step_info_names"])

    @contextlib.contextmanager
    def threads(self) -> Iterator[None]:
        """Set the number of torch threads while the block runs."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.config.torch_threads or (before if self.env.is_heavy else 1))
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
        return f"{type(self).__name__} on {self.env.name}"

    def __repr__(self) -> str:
        return f"<{self.title}, {self.num_timesteps:,} steps>"


def pick_device(device: str, env: EnvAdapter) -> torch.device:
    """Resolve "auto": CUDA if available and worthwhile. Devices are named as by their tensors, "cuda:0"."""
    auto = "cuda" if env.is_heavy and torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=auto if device == "auto" else device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={device!r}: accepted is 'auto', 'cpu', or 'cuda' if available") from error


class Callback:
    """Called by `learn`; override what you need. What `state_dict` returns is saved in the run's checkpoints.

    Training stops after the running update once `on_update` or `on_step` returns False; None goes on.
    """

    saved: ClassVar[tuple[str, ...]] = ()
    """The attributes that a resumed run needs."""

    metrics_every_update: ClassVar[bool] = False
    """Whether it adds the same metrics in every update. If not, metrics.jsonl gets a row whenever it adds any."""

    def on_start(self, agent: Any, run: Path | None) -> None:
        """Training starts or resumes; `run` is its folder, if any."""

    def on_update(self, agent: Any, metrics: Metrics) -> bool | None:
        """After each update, before its `metrics` are logged: it may add to them."""

    def on_step(self, agent: Any, result: StepResult) -> bool | None:
        """After each step of all environments.

        `agent.num_timesteps` counts whole rollouts only. On text, `result.observation` is valid until the next step.
        """

    def on_end(self, agent: Any) -> None:
        """Training has ended."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, as plain JSON: by default the attributes named by `saved`."""
        return {name: getattr(self, name) for name in self.saved}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state_dict`."""
        for name in self.saved:
            setattr(self, name, state[name])


class FunctionCallback(Callback):
    """A function of the agent and the metrics, called after each update."""

    def __init__(self, function: Callable[[Any, Metrics], bool | None]) -> None:
        self.function = function

    def on_update(self, agent: Any, metrics: Metrics) -> bool | None:
        """Call the function."""
        return self.function(agent, metrics)


CallbackLike = Callback | Callable[[Any, Metrics], bool | None]


def as_callbacks(given: CallbackLike | Iterable[CallbackLike] | None) -> list[Callback]:
    """Callbacks from one or several of them, or functions."""
    every = [] if given is None else list(given) if isinstance(given, Iterable) else [given]
    found: list[Callback] = []
    for one in every:
        if isinstance(one, type) or not (isinstance(one, Callback) or callable(one)):
            raise TypeError(
                f"callbacks has {one!r}: accepted are textrlhf.agents.Callback objects and functions of (agent, "
                "metrics), or a list of these (docs/agents/callbacks.md)"
            )
        found.append(one if isinstance(one, Callback) else FunctionCallback(one))
    return found


def stops(result: Any) -> bool:
    """Whether a callback's result ends training: False does, None does not."""
    return isinstance(result, bool | np.bool_) and not result
