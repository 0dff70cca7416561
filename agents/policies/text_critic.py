"""The value function of texts, on the hidden states of a language model.

A model trained to predict the next token need not keep track of a text's quality: a linear map of its last hidden
states explains a fifth of the variance of the built-in reward model's scores, however many texts it is fitted to. So
the critic also sees earlier layers, and the sum of each layer's states over the text (`benchmarks/critics.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 64


class TextCritic(nn.Module):
    """Maps some layers' states at a token, and their sums up to it, to a value. Initial values are 0."""

    def __init__(self, widths: Sequence[int], context: int) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.scale = context**-0.5  # the norm of a sum of that many random directions
        self.layers = nn.Sequential(nn.Linear(2 * sum(widths), WIDTH), nn.GELU(), nn.Linear(WIDTH, 1))
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, states: Sequence[Tensor], at: Tensor) -> Tensor:  # (S, longest, d) each, (M,) -> (M,)
        """The values at the flat positions `at` of a padded batch."""
        layers = [normalised(layer) for layer in states]
        last = torch.cat([layer.flatten(0, 1)[at] for layer in layers], 1)
        sums = torch.cat([layer.cumsum(1).flatten(0, 1)[at] for layer in layers], 1)
        return self.of_features(last, sums)

    def of_features(self, last: Tensor, sums: Tensor) -> Tensor:  # (M, D) each -> (M,)
        """The values of tokens, from the normalised states of all layers and their sums over the text so far."""
        with torch.autocast(last.device.type, enabled=False):  # bfloat16 is too coarse for sums
            parts = zip(last.split(self.widths, 1), sums.split(self.widths, 1), strict=True)
            features = torch.cat([part for one, total in parts for part in (one, self.scale * total)], 1)
            value: Tensor = self.layers(features).squeeze(-1)
        return value


def normalised(layer: Tensor) -> Tensor:
    """Hidden states, which have outliers, with a root mean square of 1, in float32."""
    with torch.autocast(layer.device.type, enabled=False):
        return F.rms_norm(layer.float(), layer.shape[-1:])
