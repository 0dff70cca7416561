"""Training a reward model on judgements of any kind: rankings, ties, labels and ratings in one data set.

    judgements ──> JudgementDataset (tokens, and the loss of each judgement) ──> language.fit ──> a reward model

All randomness comes from the config's seed, so a resumed run ends with the same bits.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import torch

from ...language.fit import FitConfig, fit
from ...language.learning_rate import fine_tuning_rate
from ...language.lora import adapter_parameters, has_adapters, merged, with_adapters
from ...language.memory_estimate import MemoryEstimate, check_memory
from ...language.sizes import recompute_activations, training_tokens
from ...records.progress import ProgressBar
from ...records.run import Run
from ..feedback import Judgement
from ..text.network import RewardNetwork, state_width
from ..text.reward_model import RewardModel
from .judgement_dataset import JudgementDataset, Learner
from .train_config import TrainConfig

BETAS = (0.9, 0.99)  # of Adam; a shorter memory would normalise away the size of a rare token's gradient
SAME = (
    "batch_size",
    "warmup",
    "weight_decay",
    "max_grad_norm",
    "seed",
    "checkpoints",
    "bf16",
    "tokens_at_once",
)  # of FitConfig
HEAD_RATE, HEAD_WIDTH = 1e-3, 128  # the head's learning rate, tuned at this width of the states
TOKENS = {"cpu": 1 << 14, "cuda": 1 << 16}  # in a forward, where memory allows


@dataclass
class Trained:
    """The result of a training."""

    reward_model: RewardModel
    metrics: dict[str, float]  # the last losses
    dropped: int  # judgements left out by overflow="drop"


class TrainOptions(TypedDict, total=False):
    """The keyword arguments of `train`, for functions that pass them on."""

    heldout: Sequence[Judgement]
    run: str | os.PathLike[str] | None
    resume: bool
    title: str
    show: bool


def train(
    reward_model: RewardModel,
    judgements: Sequence[Judgement],
    config: TrainConfig | None = None,
    *,
    heldout: Sequence[Judgement] = (),
    run: str | os.PathLike[str] | None = None,
    resume: bool = False,
    title: str = "reward model",
    show: bool = True,
) -> Trained:
    """Train a reward model in place on `judgements`, with the loss on `heldout` among its metrics.

    Metrics and checkpoints go to the folder `run`, and `resume=True` resumes from the last of them. Afterwards `score`
    returns raw scores until `normalise` is called; `train_reward_model` does that too, and saves and evaluates.
    """
    config = chosen_for(config or TrainConfig(), reward_model.network, len(judgements))
    _prepare(reward_model.network, config)
    config = _with_tokens_at_once(config, reward_model.network, Run.of(run) if run is not None and resume else None)
    assert config.batch_size is not None
    assert config.learning_rate is not None
    learner = Learner(reward_model.network, config).to(reward_model.network.device)
    learned = JudgementDataset(reward_model, judgements, config, learner, training=True)
    watched = JudgementDataset(reward_model, heldout, config, learner) if heldout else None
    learned.check()
    reward_model.name = None  # the saved reward model is the one before training
    if config.frozen and reward_model.config.head == "last" and reward_model.network.causal:
        learned.cache_features()
    steps = max(round(config.epochs * math.ceil(len(learned.sizes) / config.batch_size)), 1)
    rate = config.learning_rate
    if show:
        size = sum(weights.numel() for weights in reward_model.network.trunk.parameters())
        how = f"{size:,} weights, learning rate {rate:.2g}, {config.batch_size} judgements per step, {steps:,} steps"
        ProgressBar(steps, title).print(f"{title}: {how}")
    same = {name: getattr(config, name) for name in SAME}
    metrics = fit(
        learner,
        learned,
        FitConfig(steps=steps, learning_rate=rate, betas=BETAS, **same),
        heldout=watched if watched is not None and len(watched.sizes) else None,
        run=run,
        resume=resume,
        title=title,
        rates=learner.rates(rate),
        about=dataclasses.asdict(config),
        show=show,
    )
    found = {"lapse": config.lapse, "offset": float(learner.offset.detach()), "joined": learned.joined}
    found |= {"templated": learned.templated}
    reward_model.config = dataclasses.replace(
        reward_model.config,
        normalised=False,
        shift=0.0,
        scale=1.0,
        **found,  # type: ignore[arg-type]
    )
    return Trained(reward_model, metrics, learned.dropped)


def _prepare(network: RewardNetwork, config: TrainConfig) -> None:
    """Freeze the network, give it adapters or take them off, and check that there is memory to train it."""
    if config.lora and not has_adapters(network.model):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network.model = with_adapters(network.model, config.lora)
    elif not config.lora and (network.borrowed or has_adapters(network.model)):
        network.model = copy.deepcopy(merged(network.model))  # which shares all that is not merged
        network.borrowed = False
    if config.gradient_checkpointing:
        recompute_activations(network.model)
    trained = adapter_parameters(network.model).values() if config.lora else network.parameters()
    if not config.frozen:
        moments = 3 * 4 * sum(parameter.numel() for parameter in trained)
        needed = MemoryEstimate(fixed={"gradients and Adam's moments": moments}, passing={})
        check_memory(needed, network.device, "the reward model")
    network.requires_grad_(False)


def _with_tokens_at_once(config: TrainConfig, network: RewardNetwork, resumed: Run | None) -> TrainConfig:
    """The config with a number of tokens per forward; of a resumed run the one it began with."""
    if config.tokens_at_once is not None:
        return config
    if resumed is not None and resumed.has_checkpoints():
        tokens = resumed.last_checkpoint().state.get("fit", {}).get("tokens_at_once")
    else:
        tokens = training_tokens(network.trunk, recompute=config.gradient_checkpointing, most=TOKENS)
    return dataclasses.replace(config, tokens_at_once=tokens)


def chosen_for(config: TrainConfig, network: RewardNetwork, n: int) -> TrainConfig:
    """The config with learning rates for this network and a batch size for n judgements, where it has none."""
    chosen = {
        "learning_rate": fine_tuning_rate(network.trunk, adapters=bool(config.lora)),
        "head_learning_rate": HEAD_RATE * min(1.0, HEAD_WIDTH / state_width(network.trunk)),
        "batch_size": min(max(n // 16, 4), 32, max(n, 1)),
    }
    missing: dict[str, Any] = {name: value for name, value in chosen.items() if getattr(config, name) is None}
    return dataclasses.replace(config, **missing)
