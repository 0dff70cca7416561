"""Behaviour cloning: go down −log π(a|s) on what somebody else did. On texts this is supervised fine-tuning."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, Unpack

import numpy as np
import torch

from ..records.checkpoint import CheckpointError
from ..records.progress import Stopwatch
from ..records.run import Run
from .demonstrations.dataset import DemonstrationDataset, EpochSampler, hold_out, make_dataset
from .demonstrations.demonstrations import Demonstrations
from .demonstrations.loading import ACCEPTED, DemonstrationsLike, read
from .environment.vectorize import EnvLike
from .policies.factory import PolicyConfig
from .policy_agent import PolicyAgent
from .settings.config import Config, Schedule, scheduled
from .settings.keywords import CloneKeywords
from .settings.seeding import Stream, derive_seed
from .training.diagnostics import DivergedError
from .training.learner import Callback, Metrics
from .training.optimizer import FlatAdam
from .training.plan import ROWS

C = TypeVar("C", bound="Clone")
KEPT = "demonstrations.npz"  # in a run's folder: demonstrations that came from no file


@dataclass(frozen=True)
class CloneConfig(PolicyConfig):
    """Cloning's hyperparameters."""

    demonstrations: str | None = None
    """what is learned from: a .npz that `record(…).save` wrote, or for a environment of texts a .jsonl of prompts and
    responses. From Python also the Demonstrations themselves, which then lie in the run's folder"""
    n_envs: int = 1
    """environments that are held; cloning asks them for their spaces and steps none"""
    batch_size: int = 64
    """steps a minibatch. A policy with memory learns from whole episodes, so there a minibatch has about this size,
    and at least the longest episode's"""
    learning_rate: float = 1e-3
    """Adam's step size at its highest"""
    lr_schedule: Schedule = "cosine"
    """how the learning rate goes down; ending with small steps averages over the minibatches"""
    warmup: int = 0
    """minibatches over which the learning rate first rises: Adam's first steps go by few gradients, which a pretrained
    model would remember"""
    max_grad_norm: float = 1.0
    """gradients longer than this are shortened to it"""
    heldout: float = 0.1
    """share of the episodes that is never learned from, by which overfitting shows; of the prompts, where several texts
    answer one. Demonstrations that name what they hold out keep to that; fewer than it takes hold none out"""
    heldout_checks: int = 10
    """how many times over a run the held-out episodes are looked at"""

    def check(self) -> None:
        """See `Config.check`."""
        super().check()
        self.require(["batch_size"], lambda value: value >= 1, "at least 1")
        self.require(["learning_rate", "max_grad_norm"], lambda value: value > 0, "above 0")
        self.require(["warmup"], lambda value: value >= 0, "0 or above")
        self.require(["heldout"], lambda value: 0 <= value < 1, "0 or above, and below 1")
        self.require(["heldout_checks"], lambda value: 1 <= value <= ROWS, f"between 1 and {ROWS}")


@dataclass(frozen=True)
class _TrainingData:
    """Demonstrations as they are learned from."""

    demonstrations: Demonstrations
    fingerprint: str
    passes: EpochSampler
    heldout: DemonstrationDataset | None


class Clone(PolicyAgent):
    """Imitates demonstrations; of texts it is supervised fine-tuning.

    Its steps are those it has learned from. The critic learns nothing.

    Args:
        env: the environment the demonstrations are of, as any agent takes it
        config: a whole set of hyperparameters; keywords change single ones
        demonstrations: a .npz or .jsonl file, rows of one, or `Demonstrations`
        env_kwargs: arguments for `gymnasium.make_vec` where `env` is an id
    """

    name: ClassVar[str] = "clone"
    config_class: ClassVar[type[Config]] = CloneConfig
    config: CloneConfig

    def __init__(  # type: ignore[misc]  # `demonstrations` is a hyperparameter, too: a path
        self,
        env: EnvLike,
        config: CloneConfig | None = None,
        *,
        demonstrations: DemonstrationsLike | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        **hyperparameters: Unpack[CloneKeywords],
    ) -> None:
        if demonstrations is None and getattr(config, "demonstrations", None) is None:
            raise ValueError(f"demonstrations is missing: pass {ACCEPTED}")
        if isinstance(demonstrations, str | os.PathLike):
            hyperparameters["demonstrations"] = os.fspath(demonstrations)
        super().__init__(env, config, env_kwargs=env_kwargs, **hyperparameters)
        try:
            given = self.config.demonstrations if demonstrations is None else demonstrations
            assert given is not None
            self.demonstrations = given
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        super()._build()
        self.optimizer = self.optimizers["optimizer"] = FlatAdam(self.policy.network)
        self._data: _TrainingData | None = None
        self._begun: dict[str, Any] | None = None  # what a checkpoint tells of the demonstrations and the place in them

    @property
    def demonstrations(self) -> Demonstrations:
        """What is learned from; set it to learn from something else from now on."""
        return self._training_data().demonstrations

    @demonstrations.setter
    def demonstrations(self, given: DemonstrationsLike) -> None:
        self._data = self._open_data(read(given, self.env), None)
        self._begun = None
        path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
        self.config = dataclasses.replace(self.config, demonstrations=path)

    @property
    def epoch_steps(self) -> int:
        """How many steps it takes to learn once from every demonstration that is not held out."""
        return self._training_data().passes.material.n_steps

    def _training_data(self) -> _TrainingData:
        if self._data is None:  # the agent was loaded, and nobody has asked so far
            given = self.config.demonstrations
            if given is None:
                raise ValueError(f"demonstrations is missing: set agent.demonstrations to {ACCEPTED}")
            kept = self.checkpoint and self.checkpoint.parent.parent / KEPT  # the run's folder may have been moved
            if kept and kept.is_file() and not Path(given).exists():
                given = str(kept)
            self._data = self._open_data(read(given, self.env), self._begun)
        return self._data

    def _open_data(self, demonstrations: Demonstrations, begun: Mapping[str, Any] | None) -> _TrainingData:
        """Begin with these demonstrations, or go on with them where a checkpoint stands."""
        fingerprint = demonstrations.fingerprint()
        begun = begun or {"demonstrations": fingerprint, "epoch": 0, "place": 0}
        if begun["demonstrations"] != fingerprint:
            raise CheckpointError(
                f"{demonstrations.source} is not what this agent has learned from so far: put that back to resume, or "
                "set agent.demonstrations to go on with something else"
            )
        held = hold_out(
            demonstrations, self.config.heldout, np.random.default_rng(derive_seed(self.seed, Stream.HELD_OUT))
        )
        learned, heldout = (make_dataset(self.policy, part, self.env, self.device) if part else None for part in held)
        assert learned
        passes = EpochSampler(learned, self.config.batch_size, self.seed, int(begun["epoch"]), int(begun["place"]))
        return _TrainingData(demonstrations, fingerprint, passes, heldout)

    def learn(
        self: C,
        total_timesteps: int,
        *,
        callbacks: Callback | Sequence[Callback] = (),
        run: str | os.PathLike[str] | None = None,
        progress: bool = True,
    ) -> C:
        """Learn from that many further steps of the demonstrations, `epoch_steps` of them a pass.

        With `run`, a folder is filled as it goes: see `Agent.learn`. Demonstrations that came from no file are kept
        there too, as `demonstrations.npz`, for a resumed run to find.
        """
        demonstrations = self.demonstrations
        if run:
            Run(run).refuse_beyond(self.num_timesteps)
            given = self.config.demonstrations
            if given is None or Path(given).name == KEPT:
                demonstrations.save(Path(run) / KEPT)
                self.config = dataclasses.replace(self.config, demonstrations=str(Path(run) / KEPT))
        return super().learn(total_timesteps, callbacks=callbacks, run=run, progress=progress)

    def advance(self, remaining: float, watch: Stopwatch) -> Metrics:
        """Learn from the next minibatch."""
        c = self.config
        passes = self._training_data().passes
        if not self.n_updates:
            passes.material.update_statistics()  # once: statistics must not move under what has been learned
        rate = scheduled(c.learning_rate, c.lr_schedule, remaining) * min(1.0, (self.n_updates + 1) / max(c.warmup, 1))
        batch = passes.next()
        self.optimizer.zero()
        mean_loss, mean_entropy = 0.0, 0.0
        for part, share in self.policy.microbatches(batch):
            with self.precision():
                new = self.policy.evaluate(part)
            loss = -new.log_prob.mean()
            self.optimizer.add(loss, share)
            mean_loss += share * float(loss.detach())
            mean_entropy += share * float(new.entropy.detach().mean())
        metrics = {
            "train/loss": mean_loss,
            "train/entropy": mean_entropy,
            "train/learning_rate": rate,
            "train/epoch": passes.done,
        }
        if not math.isfinite(metrics["train/loss"]):
            raise DivergedError(f"the loss of minibatch {self.n_updates} is not a finite number")
        self.optimizer.step(rate, c.max_grad_norm)
        if not self.optimizer.flat.isfinite().all():
            raise DivergedError(f"a weight after minibatch {self.n_updates} is not a finite number")
        before = self.num_timesteps
        self.n_updates += 1
        self.num_timesteps += len(batch.actions)
        watch.lap("update")
        if self._due(before):
            metrics |= self.heldout_metrics()
            watch.lap("held out")
        return metrics

    def heldout_metrics(self) -> Metrics:
        """The loss on what is held out, a step; how often the likeliest action is the demonstrated one, or how far off.

        Empty where nothing is held out.
        """
        heldout = self._training_data().heldout
        if heldout is None:
            return {}
        loss, off = 0.0, 0.0
        with torch.no_grad(), self.precision():
            for units in heldout.batches(heldout.at_once(self.config.batch_size)):
                batch = heldout.take(units)
                for part, _ in self.policy.microbatches(batch):
                    loss -= float(self.policy.evaluate(part).log_prob.double().sum())
                done, wanted = (t.reshape(len(t), -1) for t in (heldout.likeliest(units), batch.actions))
                if self.env.codec.choices:
                    off += float((done != wanted).any(1).sum())
                else:
                    off += float((done - wanted).double().square().mean(1).sum())
        n = heldout.n_steps
        discrete = self.env.codec.choices is not None
        worth = {"heldout/accuracy": 1 - off / n} if discrete else {"heldout/error": math.sqrt(off / n)}
        return {"heldout/loss": loss / n, **worth}

    def _due(self, before: int) -> bool:
        """Whether to look at what is held out: so many times over the plan, at steps that a row of metrics is about."""
        if self.plan is None:
            return True
        row = max(1, self.plan.length // ROWS)
        every = row * -(-self.plan.length // (row * self.config.heldout_checks))
        return self.num_timesteps >= self.plan.end or self.plan.crosses(every, before, self.num_timesteps)

    def state_dict(self) -> dict[str, Any]:
        """See `Agent.state_dict`."""
        begun = self._begun
        if (now := self._data) is not None:
            place = {"epoch": now.passes.epoch, "place": now.passes.place}
            begun = {"demonstrations": now.fingerprint, **place}
        return {**super().state_dict(), "begun": begun}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Agent.load_state_dict`."""
        super().load_state_dict(state)
        self._begun = state["begun"]
