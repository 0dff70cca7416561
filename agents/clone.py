"""Behaviour cloning: minimise −log π(a|s) on demonstrations. For text this is supervised fine-tuning."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Unpack

import numpy as np
import torch

from ..records.progress import Stopwatch
from ..records.run import DivergedError, Run
from .demonstrations.dataset import TrainingData
from .demonstrations.demonstrations import Demonstrations
from .demonstrations.loading import ACCEPTED, DemonstrationsLike, load_demonstrations
from .environment.vectorize import EnvLike
from .policy_agent import PolicyAgent, PolicyConfig
from .settings.config import Config, Schedule, scheduled
from .settings.keywords import CloneKeywords
from .training.learner import Metrics
from .training.optimizer import FlatAdam
from .training.plan import ROWS

KEPT = "demonstrations.npz"  # in a run's folder, for demonstrations that came from no file


@dataclass(frozen=True)
class CloneConfig(PolicyConfig):
    """Cloning's hyperparameters."""

    demonstrations: str | None = None
    """path of the training data: a .npz written by `record(…).save`, or for text environments a .jsonl of prompts and
    responses. From Python also `Demonstrations`, which are then saved in the run's folder"""
    n_envs: int = 1
    """number of environments; they only provide the spaces, and are never stepped"""
    batch_size: int = 64
    """steps per minibatch. With a recurrent policy, which needs whole episodes, a minibatch has about this size, and at
    least that of the longest episode. If it is not given, few texts are read in smaller ones, sixteen in an epoch,
    though of four texts at least; what is chosen is recorded"""
    learning_rate: float = 1e-3
    """learning rate of Adam after the warmup; where it is not given, a language model's is chosen by its size"""
    lr_schedule: Schedule = "cosine"
    """schedule of the learning rate; small steps at the end average over the noise of minibatches"""
    warmup: int = 0
    """minibatches with a linear warmup of the learning rate: Adam's first steps rest on few gradients, which can harm a
    pretrained model"""
    max_grad_norm: float = 1.0
    """clip the global gradient norm to this"""
    heldout: float = 0.1
    """fraction of episodes that is not trained on, to detect overfitting; for text, of prompts, with all their
    responses. Ignored if the demonstrations name a held-out split"""
    heldout_checks: int = 10
    """number of evaluations on the held-out episodes over a run"""

    def check(self) -> None:
        """See `Config.check`."""
        super().check()
        self.bounds("batch_size", at_least=1)
        self.bounds("learning_rate", "max_grad_norm", above=0)
        self.bounds("warmup", at_least=0)
        self.bounds("heldout", at_least=0, below=1)
        self.bounds("heldout_checks", at_least=1, at_most=ROWS)


class Clone(PolicyAgent):
    """Behaviour cloning; for text, supervised fine-tuning.

    Its timesteps are demonstrated steps: `learn(agent.epoch_steps)` is one epoch. The critic is not trained.

    Args:
        env: the environment of the demonstrations, as for any agent
        config: a complete set of hyperparameters; keywords override single ones
        demonstrations: a .npz or .jsonl file, rows of one, or `Demonstrations`
        env_kwargs: arguments for `gymnasium.make_vec`, if `env` is an id
    """

    name: ClassVar[str] = "clone"
    config_class: ClassVar[type[Config]] = CloneConfig
    config: CloneConfig

    def __init__(  # type: ignore[misc]  # `demonstrations` is also a hyperparameter: a path
        self,
        env: EnvLike,
        config: CloneConfig | None = None,
        *,
        demonstrations: DemonstrationsLike | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        **hyperparameters: Unpack[CloneKeywords],
    ) -> None:
        given = getattr(config, "demonstrations", None) if demonstrations is None else demonstrations
        if given is None:
            raise ValueError(f"demonstrations is missing: expected {ACCEPTED}")
        super().__init__(env, config, env_kwargs=env_kwargs, **hyperparameters)
        try:
            self.demonstrations = given
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        super()._build()
        self.optimizer = self.optimizers["optimizer"] = FlatAdam(self.policy.network)
        self._batch_size = self.config.batch_size  # at most, where none is given
        self._data: TrainingData | None = None  # opened on first use: loading an agent does not need it
        self._saved_position: dict[str, Any] | None = None  # in the demonstrations, from a checkpoint

    @property
    def demonstrations(self) -> Demonstrations:
        """The training data; set it to train on other data from now on."""
        return self._training_data().demonstrations

    @demonstrations.setter
    def demonstrations(self, given: DemonstrationsLike) -> None:
        self._data, self._saved_position = self._open_data(given, None), None
        path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
        self.config = self.config.replace(demonstrations=path)

    @property
    def epoch_steps(self) -> int:
        """Number of steps per epoch: those of all episodes that are not held out."""
        return self._training_data().dataset.n_steps

    def _training_data(self) -> TrainingData:
        if self._data is None:
            given = self.config.demonstrations
            if given is None:
                raise ValueError(f"demonstrations is missing: set agent.demonstrations to {ACCEPTED}")
            kept = self.checkpoint and self.checkpoint.parent.parent / KEPT  # the run's folder may have been moved
            if kept and kept.is_file() and not Path(given).exists():
                given = str(kept)
            self._data = self._open_data(given, self._saved_position)
        return self._data

    def _open_data(self, given: DemonstrationsLike, position: Mapping[str, Any] | None) -> TrainingData:
        """Load and split demonstrations; continue at a saved position, if any."""
        c, found = self.config, load_demonstrations(given, self.env)
        fit = "batch_size" not in c.given
        how: dict[str, Any] = {"batch_size": self._batch_size if fit else c.batch_size, "fit": fit}
        data = TrainingData(found, self.policy, self.env, position, heldout=c.heldout, seed=self.seed, **how)
        self.config = c.replace(given=False, batch_size=data.batch_size)
        return data

    def prepare(self, run: Run | None) -> None:
        """Save demonstrations that came from no file in the run's folder, for a resumed run to find."""
        demonstrations, path = self.demonstrations, self.config.demonstrations
        if run and (path is None or Path(path).name == KEPT):
            demonstrations.save(run.path / KEPT)
            self.config = self.config.replace(demonstrations=str(run.path / KEPT))

    def advance(self, remaining: float, watch: Stopwatch) -> Metrics:
        """Train on the next minibatch."""
        c, data = self.config, self._training_data()
        if not self.n_updates:
            data.dataset.update_statistics()  # once: the policy was trained with these statistics
        rate = scheduled(c.learning_rate, c.lr_schedule, remaining) * min(1.0, (self.n_updates + 1) / max(c.warmup, 1))
        batch = data.next()
        self.optimizer.zero()
        mean_loss, mean_entropy = 0.0, 0.0
        for part, share in self.policy.microbatches(batch):
            with self.precision():
                new = self.policy.evaluate(part)
            loss = -new.log_prob.mean()
            self.optimizer.add(loss, share)
            mean_loss += share * float(loss.detach())
            mean_entropy += share * float(new.entropy.detach().mean())
        if not math.isfinite(mean_loss):
            raise DivergedError(f"the loss of minibatch {self.n_updates} is not finite")
        self.optimizer.step(rate, c.max_grad_norm)
        self.optimizer.check_finite(f"after minibatch {self.n_updates}")
        metrics = {
            "train/loss": mean_loss,
            "train/entropy": mean_entropy,
            "train/learning_rate": rate,
            "train/epoch": data.n_epochs,
        }
        before = self.num_timesteps
        self.n_updates += 1
        self.num_timesteps += len(batch.actions)
        watch.lap("update")
        if self._heldout_due(before):
            metrics |= self.heldout_metrics()
            watch.lap("held out")
        return metrics

    def heldout_metrics(self) -> Metrics:
        """The mean loss per step on the held-out episodes, and how well the most likely actions match.

        That is accuracy for discrete actions, else root mean squared error. Empty if no episodes are held out.
        """
        heldout = self._training_data().heldout
        if heldout is None:
            return {}
        loss, error, discrete = 0.0, 0.0, self.env.codec.choices is not None
        with torch.no_grad(), self.precision():
            for items in heldout.batches(max(self.config.batch_size, heldout.evaluation_steps)):
                batch = heldout.take(items)
                for part, _ in self.policy.microbatches(batch):
                    loss -= float(self.policy.evaluate(part).log_prob.double().sum())
                actions, expert = (
                    self.env.codec.to_env(chosen.cpu().numpy()).reshape(len(chosen), -1)
                    for chosen in (heldout.most_likely_actions(items), batch.actions)
                )
                wrong = (
                    (actions != expert).any(1) if discrete else np.square(actions - expert, dtype=np.float64).mean(1)
                )
                error += float(wrong.sum())
        error /= heldout.n_steps
        match = {"heldout/accuracy": 1 - error} if discrete else {"heldout/error": math.sqrt(error)}
        return {"heldout/loss": loss / heldout.n_steps, **match}

    def _heldout_due(self, before: int) -> bool:
        """Whether to evaluate the held-out episodes: `heldout_checks` times over the plan, in steps that get a row."""
        if self.plan is None:
            return True
        rows = -(-self.plan.length // (self.plan.row_every * self.config.heldout_checks))
        every = self.plan.row_every * rows
        return self.num_timesteps >= self.plan.end or self.plan.crosses(every, before, self.num_timesteps)

    def state_dict(self) -> dict[str, Any]:
        """See `Agent.state_dict`."""
        position = self._data.position if self._data else self._saved_position
        return {**super().state_dict(), "position": position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Agent.load_state_dict`."""
        super().load_state_dict(state)
        self._saved_position = state["position"]
