"""How the states of a trunk become one number a text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Noise:
    """What a head does not see of the states while it learns, so that none of them learns people's slips by heart.

    Drawn from a generator of its own, which the caller seeds by the batch: a resumed run draws the same.
    """

    share: float
    generator: torch.Generator

    def drop(self, states: Tensor) -> Tensor:
        """Leave out a share of the states' numbers and raise the others by as much."""
        kept = torch.rand(states.shape, generator=self.generator, device=states.device) >= self.share
        return states * kept / (1 - self.share)


class TokenValues(nn.Module):
    """Σ over the response of v[token] · (1 + g · h), h the trunk's state before the token.

    Every token has a value, and what was read before it says how much of it counts: "good" counts fully after "was",
    and less than nothing after "was not". A trunk of a million weights learns this from far fewer judgements than it
    needs to put a whole text into its last state.
    """

    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(vocab_size))
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, before: Tensor, tokens: Tensor, noise: Noise | None = None) -> Tensor:  # (n, d), (n,) -> (n,)
        """What each token adds to its text's score."""
        if noise is not None:
            before = noise.drop(before)
        return self.values[tokens] * (1 + before @ self.gate)


def margin(logits: Tensor, label: int | None) -> Tensor:  # (n, labels) -> (n,)
    """A classifier's logits as one score: the only one, or the log-odds of `label` against all others."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    label = logits.shape[1] - 1 if label is None else label
    others = [i for i in range(logits.shape[1]) if i != label]
    return logits[:, label] - logits[:, others].logsumexp(1)
