"""What a critic on the policy's states knows of each text while the policy acts: no text is read again for values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...language.device_copies import PackedUpload
from ..environment.spaces import Ints
from .text_critic import TextCritic, normalised


class _Expected(NamedTuple):
    """Keys in an upload; None where all rows read one token each, in order."""

    at: int | None  # (Σ counts,) where the new tokens are
    rows: int | None  # (R,)
    kept: int | None  # (R, 2) how much of the row's sum, and of its last token, is in what comes before
    grid: int | None  # (R, most) the new tokens of each row
    real: int | None  # (R, most) 1 where there is one


class CriticReader:
    """The states at each text's last token, and their sums over the text: a `language.memory.Reader`."""

    def __init__(self, critic: TextCritic, n: int, device: torch.device) -> None:
        self.critic = critic
        self.lengths: Ints = np.zeros(n, np.int64)  # tokens in the sums
        self._last = torch.zeros(n, sum(critic.widths), device=device)  # (n, D) of all layers
        self._sums = torch.zeros_like(self._last)
        self._expected = _Expected(None, None, None, None, None)

    def expect(self, rows: Ints, firsts: Ints, counts: Ints, at: Ints | None, upload: PackedUpload) -> None:
        """See `Reader.expect`; a text may be new, go on, or have its last token read again."""
        again, known = firsts == self.lengths[rows] - 1, firsts == self.lengths[rows]
        everyone, single = len(rows) == len(self.lengths), bool((counts == 1).all())
        self.lengths[rows] = firsts + counts
        grid = real = kept = index = None
        if not single:
            ends, most = np.cumsum(counts), int(counts.max())
            grid = np.minimum((ends - counts)[:, None] + np.arange(most), ends[-1] - 1)
            real = (np.arange(most) < counts[:, None]).astype(np.float32)
        if not (everyone and known.all()):
            index = rows
            of_sum, of_last = (known | again) & (firsts > 0), again & (firsts > 0)
            kept = np.stack([of_sum, of_last], 1).astype(np.float32)
        arrays = (at, index, kept, grid, real)
        self._expected = _Expected(*(None if array is None else upload.add(array) for array in arrays))

    @torch.no_grad()
    def read(self, states: Sequence[Tensor], upload: PackedUpload) -> None:
        """See `Reader.read`."""
        at, rows, kept, grid, real = (None if key is None else upload[key] for key in self._expected)
        flat = [layer.flatten(0, 1) for layer in states]
        new = torch.cat([normalised(layer if at is None else layer[at]) for layer in flat], 1)  # (Σ counts, D)
        total, last = new, new
        if grid is not None and real is not None:
            total = (new[grid] * real[:, :, None]).sum(1)  # (R, D)
            last = new[grid.gather(1, real.sum(1, keepdim=True).long() - 1)[:, 0]]
        if rows is None or kept is None:
            self._last, self._sums = last, self._sums + total
            return
        before = self._sums[rows] * kept[:, :1] - self._last[rows] * kept[:, 1:]
        self._last[rows], self._sums[rows] = last, before + total

    @torch.no_grad()
    def values(self) -> Tensor:  # -> (n,)
        """The values of all texts as far as they have been read."""
        value: Tensor = self.critic.of_features(self._last, self._sums)
        return value
