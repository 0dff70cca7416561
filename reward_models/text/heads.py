"""Heads: the hidden states of a trunk to one score per text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Dropout:
    """Dropout of hidden states in front of a head, so that no single state memorises label noise.

    It draws from a generator of its own, which the caller seeds by the batch: a resumed run draws the same.
    """

    share: float
    generator: torch.Generator

    def __call__(self, states: Tensor) -> Tensor:
        """Zero a share of the states' numbers and scale the others up to keep the mean."""
        kept = torch.rand(states.shape, generator=self.generator, device=states.device) >= self.share
        return states * kept / (1 - self.share)


class TokenValues(nn.Module):
    """Σ over the response of v[token] · (1 + g · h), h the trunk's state before the token.

    Every token has a value, and its context says how much of it counts: "good" counts fully after "was" and
    negatively after "was not". A small trunk learns this from far fewer judgements than it needs to summarise a whole
    text in its last state.
    """

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(vocab_size))
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, before: Tensor, tokens: Tensor, dropout: Dropout | None = None) -> Tensor:  # (n, d), (n,) -> (n,)
        """What each token adds to its text's score."""
        if dropout is not None:
            before = dropout(before)
        return self.values[tokens] * (1 + before @ self.gate)


def label_score(logits: Tensor, label: int | None) -> Tensor:  # (n, labels) -> (n,)
    """A classifier's logits as one score: the only logit, or the log-odds of `label` (by default the last)."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    label = logits.shape[1] - 1 if label is None else label
    others = [i for i in range(logits.shape[1]) if i != label]
    return logits[:, label] - logits[:, others].logsumexp(1)
