"""Judgements as `language.fit` takes examples, and the module that it trains on them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...language.lora import adapter_parameters
from ..feedback import Judgement, Labelled, Rated, Tied
from ..text.heads import Dropout
from ..text.network import RewardNetwork
from ..text.packing import Text, pack
from ..text.reader import joined
from ..text.reward_model import RewardModel
from .losses import centring, logistic, plackett_luce, regression, tie
from .train_config import TrainConfig

NUMBERS_RATE = 0.05  # learning rate of offset and line: single numbers, which start far from their optimum


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
        assert head is not None
        model = self.network.model
        new = [part for part, _ in model.named_children() if part != model.base_model_prefix]
        return {
            "network.": 0.0 if self.config.frozen or self.config.lora else 1.0,
            **{f"network.model.{name}": 1.0 for name in adapter_parameters(model)},
            **({f"network.model.{part}": head / learning_rate for part in new} if self.network.values is None else {}),
            "network.values.gate": head / learning_rate,
            "network.values.values": token / learning_rate,
            "offset": NUMBERS_RATE / learning_rate,
            "line": NUMBERS_RATE / learning_rate if self.config.ratings == "learned" else 0.0,
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
