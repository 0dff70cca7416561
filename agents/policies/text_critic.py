"""What texts are worth so far, read off the states of a trunk that was made to predict their next token.

For that it need not remember how good they have been, and does not: of the built-in reward model's scores a linear map
of its last states explains a fifth, from however many texts it is learned. The states along the way tell it, token by
token, so the critic looks at their sum over the text; and at more layers than the last, which has put all else aside.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 64


class TextCritic(nn.Module):
    """States of some layers at a token, and their sums up to it, to a value, which begins as 0."""

    def __init__(self, widths: Sequence[int], context: int) -> None:
        super().__init__()
        self.scale = context**-0.5  # a sum of so many states that point anywhere is then as long as one of them
        self.layers = nn.Sequential(nn.Linear(2 * sum(widths), WIDTH), nn.GELU(), nn.Linear(WIDTH, 1))
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, states: Sequence[Tensor], at: Tensor) -> Tensor:  # (S, longest, d) each, (M,) -> (M,)
        """The values at the places `at` of texts laid end to end."""
        seen = []
        with torch.autocast(at.device.type, enabled=False):  # halves have too few digits for what is a sum
            for layer in states:
                layer = F.rms_norm(layer.float(), layer.shape[-1:])  # trunks have outliers
                seen += [layer.flatten(0, 1)[at], self.scale * layer.cumsum(1).flatten(0, 1)[at]]
            value: Tensor = self.layers(torch.cat(seen, 1)).squeeze(-1)
        return value
