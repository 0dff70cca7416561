"""Supervised training: one loop for next-token prediction and for reward models.

    FitConfig   hyperparameters
    Examples    the training data: sizes of the examples, and the loss of a batch of them
    fit         the training loop, with AdamW, a progress bar, metrics, and checkpoints to resume from

Dropout is off, so a batch's loss depends on its examples only, and a resumed run ends with the same bits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..records.checkpoint import Checkpoint, CheckpointError
from ..records.checks import count
from ..records.interruption import interruptible
from ..records.progress import ProgressBar
from ..records.run import MODEL, DivergedError, Run
from ..records.saving_budget import SavingBudget, size_of
from .causal_lm import CausalLM
from .fingerprint import fingerprint
from .logprobs import by_length, read_whole, token_logprobs
from .memory import Ints, padded

POOL = 50  # number of batches within which examples are sorted by length
ROWS = 200  # approximate number of rows in metrics.jsonl


@dataclass(frozen=True)
class FitConfig:
    """Hyperparameters of `fit`."""

    steps: int = 1000  # number of batches
    batch_size: int = 32
    learning_rate: float = 2e-3  # after the warmup; use about 100 times less for a pretrained model
    warmup: float = 0.05  # fraction of steps with a linear warmup; then cosine decay
    final: float = 0.02  # learning rate at the end, as a fraction of `learning_rate`
    weight_decay: float = 0.01  # on matrices only
    betas: tuple[float, float] = (0.9, 0.95)
    max_grad_norm: float = 1.0
    seed: int = 0
    checkpoints: int = 10  # at most, over the run: fewer are written where that takes long
    bf16: bool = False  # bfloat16 autocast
    tokens_at_once: int | None = None  # most tokens in one forward: larger batches add up gradients; None: no limit

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            count(name, getattr(self, name))
        if self.tokens_at_once is not None:
            count("tokens_at_once", self.tokens_at_once)
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate is {self.learning_rate}: expected a positive number")

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = max(round(self.warmup * self.steps), 1)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        way = (step - rising) / max(self.steps - rising, 1)
        return self.learning_rate * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * way)))


class Examples(Protocol):
    """Training data."""

    sizes: NDArray[np.int64]  # of the examples; those of similar size share a batch

    def loss(self, which: Sequence[int]) -> tuple[Tensor, int]:
        """The summed loss of some examples, and its number of terms."""


class NextTokens:
    """Next-token prediction on texts, for the tokens from `starts` on."""

    def __init__(self, lm: CausalLM, texts: Sequence[Ints], starts: Sequence[int] | None = None) -> None:
        self.lm, self.texts = lm, texts
        self.starts = [1] * len(texts) if starts is None else [max(start, 1) for start in starts]
        self.sizes = np.array([len(text) for text in texts], np.int64)
        if not len(texts):
            raise ValueError("texts is empty: expected at least one text")
        for i, (text, start) in enumerate(zip(texts, self.starts, strict=True)):
            if len(text) <= start:
                raise ValueError(f"text {i} has {len(text)} tokens and starts at {start}: no token is left to predict")
            if lm.context is not None and len(text) > lm.context:
                raise ValueError(f"text {i} has {len(text)} tokens: {lm} has {lm.context} positions")

    def loss(self, which: Sequence[int]) -> tuple[Tensor, int]:
        """The summed negative log-probability of the tokens."""
        texts, device = [self.texts[i] for i in which], self.lm.device
        grid = torch.from_numpy(padded(texts)).to(device)  # (B, longest)
        ends = torch.tensor([len(text) for text in texts], device=device)
        starts = torch.tensor([self.starts[i] for i in which], device=device)
        column = torch.arange(1, grid.shape[1], device=device)
        learned = (column >= starts[:, None]) & (column < ends[:, None])  # (B, longest − 1)
        hidden = read_whole(self.lm, grid)[:, :-1][learned]
        return -token_logprobs(self.lm, hidden, grid[:, 1:][learned]).sum(), len(hidden)


def fit(
    module: nn.Module,
    examples: Examples,
    config: FitConfig,
    *,
    heldout: Examples | None = None,
    run: str | os.PathLike[str] | None = None,
    resume: bool = False,
    title: str = "fit",
    rates: Mapping[str, float] | None = None,
    about: Mapping[str, Any] | None = None,
    show: bool = True,
) -> dict[str, float]:
    """Train `module` on `examples` in place; return the final losses.

    Ctrl-C and SIGTERM end the running step, and save a checkpoint in the run. A run resumed from it ends with the
    same bits, too.

    Args:
        module: what is trained
        examples: the training data
        config: hyperparameters
        heldout: examples whose loss is reported at each checkpoint and at the end
        run: a folder for metrics and checkpoints, which has no run yet
        resume: continue from the last checkpoint in `run`
        title: title of the progress bar
        rates: learning-rate multipliers by parameter-name prefix (the longest applies); 0 freezes parameters
        about: further entries of the run's config.json; a run resumes only with the same ones
        show: show a progress bar
    """
    folder = None if run is None else Run.of(run)
    with _flags_kept(module), contextlib.ExitStack() as open_files:
        trainer = _Trainer(module, examples, config, rates or {}, about or {})
        if resume and folder is None:
            raise ValueError("resume=True needs run=…, the folder of the run to resume")
        log = None
        if folder is not None:
            open_files.enter_context(folder.writing(existing=resume))
            if resume:
                trainer.load(folder.last_checkpoint())
            else:
                folder.refuse_another(MODEL)
                folder.refuse_checkpoints()
            folder.write_config({**MODEL, **trainer.settings})
            log = open_files.enter_context(contextlib.closing(folder.metrics(trainer.step)))
        bar = open_files.enter_context(ProgressBar(config.steps, title, show=show))
        stopped = open_files.enter_context(interruptible("finishing this step" + (", then saving" if folder else "")))
        began, budget, metrics = time.perf_counter(), SavingBudget(), {"loss": math.nan}
        every = max(config.steps // max(config.checkpoints, 1), 1)
        for batch in trainer.batches():
            metrics["loss"] = trainer.learn(batch)
            step, row = trainer.step, {}
            if step % max(config.steps // ROWS, 1) == 0 or step == config.steps:
                speed = trainer.tokens / (time.perf_counter() - began)
                row = {"loss": metrics["loss"], "learning_rate": config.rate(step - 1), "tokens_per_second": speed}
                bar.update(step, f"loss {metrics['loss']:.3f}  {speed:,.0f} tokens/s")
            if heldout is not None and (step % every == 0 or step == config.steps):
                row["heldout_loss"] = metrics["heldout_loss"] = mean_loss(heldout, config.batch_size)
            if log and row:
                log.write(step, row)
            interrupted = bool(stopped) and step < config.steps
            if folder is not None:
                due = budget.overdue() or (step % every == 0 and budget.affords(size_of(trainer.tensors())))
                if due or step == config.steps or interrupted:
                    with budget.saving():
                        trainer.save(folder, interrupted=interrupted and not due)
            if interrupted:
                saved = f", saved in {folder.checkpoint_path(step)}, from where it can be resumed" if folder else ""
                stopped.end(f"interrupted at step {step:,} of {config.steps:,}{saved}")
        if heldout is not None and "heldout_loss" not in metrics:  # resumed at the last step
            metrics["heldout_loss"] = mean_loss(heldout, config.batch_size)
    return metrics


@contextlib.contextmanager
def _flags_kept(module: nn.Module) -> Iterator[None]:
    """Restore the parameters' requires_grad flags after training."""
    before = [parameter.requires_grad for parameter in module.eval().parameters()]
    try:
        yield
    finally:
        for parameter, wanted in zip(module.parameters(), before, strict=True):
            parameter.requires_grad_(wanted)
            parameter.grad = None


@torch.no_grad()
def mean_loss(examples: Examples, batch_size: int = 64) -> float:
    """The mean loss over all terms of all examples."""
    order = np.argsort(examples.sizes, kind="stable")
    sums = [examples.loss(order[at : at + batch_size].tolist()) for at in range(0, len(order), batch_size)]
    return float(sum(total.double() for total, _ in sums)) / sum(count for _, count in sums)


class _Trainer:
    """A module, its optimiser and its progress."""

    def __init__(
        self, module: nn.Module, examples: Examples, config: FitConfig, rates: Mapping[str, float], about: Any
    ) -> None:
        self.module, self.examples, self.config = module, examples, config
        self.settings = json.loads(json.dumps({**about, **dataclasses.asdict(config)}))
        self.step = 0
        self.tokens = 0  # since this process started
        self.names: dict[str, nn.Parameter] = {}
        longest_first = sorted(rates.items(), key=lambda item: len(item[0]), reverse=True)
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in module.named_parameters():
            rate = next((times for prefix, times in longest_first if name.startswith(prefix)), 1.0)
            parameter.requires_grad_(rate > 0)
            if rate > 0:
                self.names[name] = parameter
                groups.setdefault((rate, parameter.ndim >= 2), []).append(parameter)
        frozen = {name: weights for name, weights in module.named_parameters() if name not in self.names}
        if frozen:  # not in a checkpoint, which is of no use beside others
            self.settings["frozen_weights"] = fingerprint(frozen)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": group, "times": rate, "weight_decay": config.weight_decay if matrix else 0.0}
                for (rate, matrix), group in groups.items()
            ],
            lr=config.learning_rate,
            betas=config.betas,
            fused=True,
        )

    def batches(self) -> Iterator[list[int]]:
        """The remaining batches: each epoch shuffles all examples, and groups those of similar size."""
        size, sizes = self.config.batch_size, self.examples.sizes
        in_epoch = -(-len(sizes) // size)
        while self.step < self.config.steps:
            rng = np.random.default_rng([self.config.seed, self.step // in_epoch])
            order = rng.permutation(len(sizes))
            pools = [order[at : at + POOL * size] for at in range(0, len(order), POOL * size)]
            pools = [pool[np.argsort(sizes[pool], kind="stable")] for pool in pools]
            batches = [pool[at : at + size] for pool in pools for at in range(0, len(pool), size)]
            for i in rng.permutation(len(batches))[self.step % in_epoch :]:
                if self.step < self.config.steps:
                    yield batches[i].tolist()

    def learn(self, batch: list[int]) -> float:
        """Take one step on the batch's mean loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["times"] * self.config.rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        value = self._backward(batch)
        norm = float(nn.utils.clip_grad_norm_(self.names.values(), self.config.max_grad_norm))
        self._check(norm, "gradient", batch)
        self.optimizer.step()
        self.step += 1
        self.tokens += int(self.examples.sizes[batch].sum())
        return value

    def _backward(self, batch: list[int]) -> float:
        """Set the gradient of the batch's mean loss, and return the loss."""
        parts = self._parts(batch)
        if len(parts) == 1:
            total, n = self._loss(batch)
            (total / n).backward()
            return float(total.detach() / n)
        summed, count = 0.0, 0
        for part in parts:
            total, n = self._loss(part)
            total.backward()
            summed, count = summed + float(total.detach()), count + n
        for parameter in self.names.values():
            if parameter.grad is not None:
                parameter.grad.div_(count)
        return summed / count

    def _parts(self, batch: list[int]) -> list[list[int]]:
        """The batch in parts that one forward takes, of examples of similar size."""
        if self.config.tokens_at_once is None:
            return [batch]
        groups = by_length(self.examples.sizes[batch].tolist(), self.config.tokens_at_once)
        found = [[batch[i] for i in group] for group in groups]
        return [batch] if len(found) == 1 else found

    def _loss(self, which: list[int]) -> tuple[Tensor, int]:
        """The summed loss of some examples, which is finite."""
        device = next(self.module.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.config.bf16):
            total, n = self.examples.loss(which)
        self._check(float(total.detach()) / n, "loss", which)
        return total, n

    def _check(self, value: float, what: str, batch: list[int]) -> None:
        """Stop before a step that would make the weights NaN."""
        if not math.isfinite(value):
            raise DivergedError(f"the {what} is {value} at step {self.step} (examples {batch[:4]}…)")

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint holds of them: what is trained, and nothing of what is frozen."""
        moments = {
            f"{kind}.{name}": self.optimizer.state[parameter][kind]
            for name, parameter in self.names.items()
            for kind in ("exp_avg", "exp_avg_sq", "step")
            if parameter in self.optimizer.state
        }
        return {"model": {name: parameter.detach() for name, parameter in self.names.items()}, "optimizer": moments}

    def save(self, run: Run, *, interrupted: bool = False) -> None:
        """Write a checkpoint."""
        state = {"fit": self.settings, "step": self.step, "examples": len(self.examples.sizes)}
        state |= {"interrupted": True} if interrupted else {}
        run.save(self.step, state, self.tensors())

    def load(self, checkpoint: Checkpoint) -> None:
        """Restore a checkpoint of the same run."""
        state = checkpoint.state
        if state.get("fit") != self.settings or state.get("examples") != len(self.examples.sizes):
            raise CheckpointError(
                f"{checkpoint.path} was written with other settings or examples ({state.get('fit')}, "
                f"{state.get('examples')} examples): resume with the same, or start in another folder"
            )
        tensors = checkpoint.tensors["model"]
        if {name: tensor.shape for name, tensor in tensors.items()} != {n: p.shape for n, p in self.names.items()}:
            raise CheckpointError(f"{checkpoint.path} contains another model: resume with the one the run started with")
        with torch.no_grad():
            for name, parameter in self.names.items():
                parameter.copy_(tensors[name])
        for key, tensor in checkpoint.tensors["optimizer"].items():
            kind, _, name = key.partition(".")
            self.optimizer.state[self.names[name]][kind] = tensor.to(self.names[name].device)
        self.step = state["step"]
