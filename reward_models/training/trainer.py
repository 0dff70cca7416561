"""Training a reward model on judgements of any kind: rankings, ties, labels and ratings in one data set.

    judgements ──> JudgementDataset (tokens, and the loss of each judgement) ──> language.fit ──> a reward model

All randomness comes from the config's seed, so a resumed run ends with the same bits.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from ...language.fit import FitConfig, fit
from ...language.lora import Lora, adapter_parameters, has_adapters, merged, with_adapters
from ...language.memory_estimate import MemoryEstimate, check_memory
from ...language.sizes import recompute_activations, training_tokens
from ...records.checks import one_of
from ...records.progress import ProgressBar
from ...records.run import Run
from ..feedback import Judgement, Labelled, Rated, Tied
from ..text.heads import Dropout
from ..text.network import RewardNetwork
from ..text.packing import Text, pack
from ..text.reader import joined
from ..text.reward_model import RewardModel
from .losses import centring, logistic, plackett_luce, regression, tie

BETAS = (0.9, 0.99)  # of Adam; a shorter memory would normalise away the size of a rare token's gradient
FAST = 50.0  # learning rate of offset and line relative to the head: single numbers, which start far from their optimum
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
TOKENS = {"cpu": 1 << 14, "cuda": 1 << 16}  # in a forward, where memory allows
OVERFLOWS = ("error", "drop")
LINES = ("linear", "learned")


@dataclass(frozen=True)
class TrainConfig:
    """How to train a reward model."""

    epochs: float = 3.0
    """passes over the judgements; with more than a few, label noise is memorised"""
    batch_size: int | None = None
    """judgements per step; None: 32, and of fewer than 512 judgements a sixteenth, at least 4"""
    learning_rate: float | None = None
    """of the trunk; None sets it by size: 1e-3 up to a million weights, 2e-5 at 100 million, 1e-5 above 225 million;
    of adapters ten times that, up to 1e-3"""
    head_learning_rate: float = 1e-3
    """of the head, which is new"""
    token_learning_rate: float = 0.02
    """of the token values of the "tokens" head: each is seen rarely"""
    frozen: bool = False
    """train the head alone: logistic regression on the trunk's states"""
    dropout: float = 0.5
    """dropout of the states in front of the head"""
    lapse: float = 0.1
    """label noise: how often annotators choose the wrong response by accident; below 0.5"""
    centring: float = 0.0
    """weight of a penalty on the squared mean of a judgement's scores"""
    ratings: str = "learned"
    """how ratings relate to scores: "linear" (the scale is [-1, 1]) or by a "learned" line"""
    overflow: str = "error"
    """judgements with a text longer than the model's positions: "error" or "drop" them; nothing is truncated"""
    weight_decay: float = 0.01
    """on matrices"""
    warmup: float = 0.05
    """share of the steps over which the learning rate rises"""
    max_grad_norm: float = 1.0
    """clip the global gradient norm to this"""
    checkpoints: int = 10
    """number of checkpoints over the run, to resume from; fewer where writing them takes more than 5% of the time"""
    bf16: bool = False
    """compute in bfloat16"""
    lora_rank: int = 0
    """train adapters of this rank (LoRA) beside the trunk's weights, which stay as they are; 0 trains all weights"""
    lora_alpha: float | None = None
    """scale of the adapters' outputs, times the rank; None: twice the rank"""
    lora_target_modules: tuple[str, ...] | None = None
    """names of the layers with adapters, such as ("q_proj", "v_proj"); None: all linear ones of the trunk"""
    gradient_checkpointing: bool = False
    """compute activations again in the backward pass instead of keeping them: less memory, a third more time"""
    tokens_at_once: int | None = None
    """tokens that a forward reads, padding included; of larger batches the gradients add up. If None, chosen by the
    model's size (on a GPU by the free memory), and recorded"""
    seed: int = 0
    """of the head, the order of the judgements and dropout"""

    def __post_init__(self) -> None:
        one_of("overflow", self.overflow, OVERFLOWS)
        one_of("ratings", self.ratings, LINES)
        if self.seed < 0 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError(f"batch_size is {self.batch_size}, seed {self.seed}: expected at least 1, and at least 0")
        for name in ("epochs", "head_learning_rate", "token_learning_rate"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} is {getattr(self, name)!r}: expected a positive number")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout!r}: expected 0 to below 1")
        if not 0 <= self.lapse < 0.5:
            raise ValueError(f"lapse is {self.lapse!r}: expected 0 to below 0.5, at which choices are random")
        if not (math.isfinite(self.centring) and self.centring >= 0):
            raise ValueError(f"centring is {self.centring!r}: expected a finite number, 0 or more")
        if self.lora_target_modules is not None:  # a list, if it was read from a file
            object.__setattr__(self, "lora_target_modules", tuple(self.lora_target_modules))
        if self.lora and self.frozen:
            raise ValueError(f"frozen=True trains the head alone, lora_rank={self.lora_rank} the trunk: choose one")

    @property
    def lora(self) -> Lora | None:
        """The settings of the adapters, if there are any."""
        return Lora(self.lora_rank, self.lora_alpha, self.lora_target_modules) if self.lora_rank else None


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
    """The config with a learning rate for this network and a batch size for n judgements, where it has none."""
    return dataclasses.replace(
        config,
        learning_rate=default_rate(network, adapters=bool(config.lora))
        if config.learning_rate is None
        else config.learning_rate,
        batch_size=min(max(n // 16, 4), 32, max(n, 1)) if config.batch_size is None else config.batch_size,
    )


def default_rate(network: RewardNetwork, *, adapters: bool = False) -> float:
    """A learning rate for a trunk of this size.

    From 100 million weights on what is published: 2e-5, the least that BERT (110M) was fine-tuned with, 1.5e-5 for the
    reward models of Stiennon et al. (2020; 1.3B), 1e-5 for those of Llama 2 (2023; 7B to 13B). Small trunks were tuned.
    Adapters take about ten times the rate of all weights, at any size (Schulman et al., 2025, "LoRA without regret").
    """
    size = sum(weights.numel() for name, weights in network.trunk.named_parameters() if ".lora_" not in name)
    rate = float(np.clip(1e-3 * (1e6 / size) ** 0.85, 1e-5, 1e-3))
    return min(10 * rate, 1e-3) if adapters else rate


class Learner(nn.Module):
    """A reward model's network, with the learned offset of labels and line of ratings."""

    def __init__(self, network: RewardNetwork, config: TrainConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.offset = nn.Parameter(torch.tensor(0.0))
        self.line = nn.Parameter(torch.zeros(2))  # ratings over scores: log slope, intercept

    def rates(self, learning_rate: float) -> dict[str, float]:
        """Each part's learning rate relative to the trunk's, by the beginning of parameter names."""
        head, token = self.config.head_learning_rate, self.config.token_learning_rate
        model = self.network.model
        new = [part for part, _ in model.named_children() if part != model.base_model_prefix]
        return {
            "network.": 0.0 if self.config.frozen or self.config.lora else 1.0,
            **{f"network.model.{name}": 1.0 for name in adapter_parameters(model)},
            **({f"network.model.{part}": head / learning_rate for part in new} if self.network.values is None else {}),
            "network.values.gate": head / learning_rate,
            "network.values.values": token / learning_rate,
            "offset": FAST * head / learning_rate,
            "line": FAST * head / learning_rate if self.config.ratings == "learned" else 0.0,
        }


class JudgementDataset:
    """Judgements as `fit` takes examples: their numbers of tokens, and the loss of any of them."""

    def __init__(
        self,
        reward_model: RewardModel,
        judgements: Sequence[Judgement],
        config: TrainConfig,
        learner: Learner,
        *,
        training: bool = False,
    ) -> None:
        self.network, self.config, self.learner, self.training = reward_model.network, config, learner, training
        self.judgements = readable(reward_model, judgements) if config.overflow == "drop" else list(judgements)
        self.dropped = len(judgements) - len(self.judgements)
        prompts = [one.prompt for one in self.judgements for _ in one.responses]
        responses = [text for one in self.judgements for text in one.responses]
        places = [one.place for one in self.judgements for _ in one.responses]
        words, together = joined(prompts, responses)
        self.templated = reward_model.reader.templated(prompts)
        self.joined = together / words if words else None
        self.texts: list[Text] = reward_model.read(prompts, responses, places)
        numbers = itertools.count()
        self.groups = [[next(numbers) for _ in one.responses] for one in self.judgements]
        shares = self.network.shares
        self.sizes = np.array(
            [sum(len(row.tokens) for row in pack(self.texts, [group], shares)) for group in self.groups], np.int64
        )
        self.features: Tensor | None = None

    def check(self) -> None:
        """Raise a ValueError for judgements that nothing can be learned from."""
        n, size = len(self.judgements), self.config.batch_size or 1
        if n < size:
            dropped = f" ({self.dropped} were too long and dropped)" if self.dropped else ""
            raise ValueError(
                f"there are {n} judgements{dropped}, fewer than a batch of {size}: collect more, or lower batch_size"
            )
        if all(isinstance(one, Tied) for one in self.judgements):
            raise ValueError(f"all {n} judgements are ties, which any constant score explains: add preferences")
        labels = [one.good for one in self.judgements if isinstance(one, Labelled)]
        if len(set(labels)) == 1:
            word = "good" if labels[0] else "bad"
            raise ValueError(f"all {len(labels)} labels are {word!r}: add some of the other, or leave the labels out")
        ratings = [one for one in self.judgements if isinstance(one, Rated)]
        if len({_on_unit(one) for one in ratings}) == 1:
            raise ValueError(f"all {len(ratings)} ratings are {ratings[0].rating}: add others, or leave them out")

    @torch.no_grad()
    def cache_features(self) -> None:
        """Compute the states of a frozen trunk once."""
        parts, batch = [], 4 * (self.config.batch_size or 1)
        for at in range(0, len(self.texts), batch):
            texts = self.texts[at : at + batch]
            rows = pack(texts, [[i] for i in range(len(texts))], share=False)
            parts.append(self.network.features(texts, rows))
        self.features = torch.cat(parts)

    def loss(self, which: Sequence[int]) -> tuple[Tensor, int]:
        """The summed loss of some judgements, and their number."""
        scores = self._scores(which)
        at = np.cumsum([0, *(len(self.groups[i]) for i in which)])
        kinds: dict[tuple[Any, int], list[int]] = {}  # by loss and number of responses
        for n, i in enumerate(which):
            kinds.setdefault((type(self.judgements[i]), len(self.groups[i])), []).append(n)
        total = scores.new_zeros(())
        for (kind, k), members in kinds.items():
            places = torch.from_numpy(at[members][:, None] + np.arange(k))
            found = scores[places.to(scores.device)]  # (m, k)
            total = total + self._terms(kind, [self.judgements[which[n]] for n in members], found).sum()
            if self.config.centring:
                total = total + self.config.centring * centring(found).sum()
        return total, len(which)

    def _scores(self, which: Sequence[int]) -> Tensor:  # -> (texts,)
        dropout = self._dropout(which)
        if self.features is not None:
            rows = torch.tensor([text for i in which for text in self.groups[i]], device=self.features.device)
            return self.network.read_features(self.features[rows], dropout)
        texts = [self.texts[text] for i in which for text in self.groups[i]]
        at = np.cumsum([0, *(len(self.groups[i]) for i in which)]).tolist()
        scores: Tensor = self.network(texts, [range(*ends) for ends in itertools.pairwise(at)], dropout)
        return scores

    def _dropout(self, which: Sequence[int]) -> Dropout | None:
        if not self.training or not self.config.dropout:
            return None
        seed = np.random.SeedSequence([self.config.seed, *which]).generate_state(1, np.uint64)[0]
        generator = torch.Generator(self.network.device).manual_seed(int(seed >> np.uint64(1)))
        return Dropout(self.config.dropout, generator)

    def _terms(self, kind: Any, judgements: list[Any], scores: Tensor) -> Tensor:  # (m, k) -> (m,)
        def column(value: Callable[[Any], float]) -> Tensor:
            return torch.tensor([value(one) for one in judgements], dtype=scores.dtype, device=scores.device)

        if kind is Labelled:
            return logistic(scores[:, 0], column(lambda one: float(one.good)), self.learner.offset)
        if kind is Rated:
            return column(lambda one: one.weight) * regression(scores[:, 0], column(_on_unit), self.learner.line)
        if kind is Tied:
            return tie(scores, self.config.lapse)
        margins = column(lambda one: one.margin) if scores.shape[1] == 2 else None
        return plackett_luce(scores, margins, self.config.lapse)


def _on_unit(one: Rated[str]) -> float:
    """A rating mapped to [−1, 1]."""
    low, high = one.scale
    return 2 * (one.rating - low) / (high - low) - 1


def readable(reward_model: RewardModel, judgements: Sequence[Judgement]) -> list[Judgement]:
    """The judgements whose texts all fit the reward model's positions."""
    prompts = [one.prompt for one in judgements for _ in one.responses]
    fits = iter(reward_model.readable(prompts, [text for one in judgements for text in one.responses]))
    return [one for one in judgements if all(tuple(itertools.islice(fits, len(one.responses))))]
