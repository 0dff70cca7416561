"""The cache for all other model families: sliding windows, ALiBi, and whatever else takes columns for positions.

All texts end at the same column of a Hugging Face cache, right-aligned, and a 2D mask marks where each begins. A step
adds a column to all rows. A row that gets anything but its next token is read again from its first one, apart from the
others, and its keys and values are copied into its place.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from transformers import DynamicCache

from .causal_lm import CausalLM
from .device_copies import PackedUpload
from .memory import Ints, TokenMemory, padded

SLACK = 32  # unused columns are removed this many at a time


class ColumnCache(TokenMemory):
    """For families that `SlotCache` cannot serve; slower where texts start at different times."""

    def __init__(self, lm: CausalLM, n: int) -> None:
        super().__init__(lm, n)
        self._texts: list[Ints] = [np.empty(0, np.int64)] * n
        self._fresh = np.zeros(n, bool)  # rows whose columns are exactly their text
        self._cache: DynamicCache | None = None
        self._columns = 0
        self._takes_positions = "position_ids" in inspect.signature(lm.trunk.forward).parameters

    def reset(self, rows: ArrayLike) -> None:
        """Empty these rows."""
        super().reset(rows)
        self._fresh[np.asarray(rows)] = False

    def step(self, rows: Ints, tokens: Ints, upload: PackedUpload | None = None) -> Tensor:
        """Read one token in each of `rows`."""
        # `catch_up` may have taken a row's last token back: then its columns are one too many.
        self._fresh &= np.array([len(text) for text in self._texts]) == self.lengths
        self._append(rows, list(tokens[:, None]))
        upload = upload or PackedUpload(self.lm.device)
        ready = self._fresh[rows]
        back = upload.add(np.argsort(np.argsort(~ready, kind="stable")))  # those that are ready first, then the others
        hidden: list[Tensor] = []
        if ready.any():
            going = rows[ready]
            every = np.zeros(self.n, np.int64)
            every[going] = tokens[ready]
            where = upload.add(going)
            self._expect(going, self.lengths[going] - 1, np.ones_like(going), going, upload)
            stepped = self._step_all(every, upload)
            self._fresh[:] = False
            self._fresh[going] = True
            hidden.append(stepped[upload[where]])
        if not ready.all():
            hidden.append(self._read_anew(rows[~ready], upload))
        return torch.cat(hidden)[upload[back]]

    def _extend(self, rows: Ints, tokens: Sequence[Ints], upload: PackedUpload) -> Tensor:
        self._append(rows, tokens)
        return self._read_anew(rows, upload)

    def _append(self, rows: Ints, tokens: Sequence[Ints]) -> None:
        for row, new in zip(rows, tokens, strict=True):
            self._texts[row] = np.concatenate([self._texts[row][: self.lengths[row]], new])
            self.lengths[row] = len(self._texts[row])

    def _step_all(self, tokens: Ints, upload: PackedUpload) -> Tensor:  # (N,) -> (N, d)
        assert self._cache is not None
        lengths = np.where(self._fresh, self.lengths, 1)
        self._columns += 1
        hidden = self._forward(tokens[:, None], lengths, self._columns, self._cache, upload)
        longest = int(self.lengths.max())
        if self._columns - longest > SLACK:
            self._resize(longest)
        return hidden

    def _read_anew(self, rows: Ints, upload: PackedUpload) -> Tensor:  # -> (R, d)
        tokens = padded([self._texts[row] for row in rows], left=True)
        width = tokens.shape[1]
        scratch, key = DynamicCache(), upload.add(rows)
        counts = self.lengths[rows]
        real = np.flatnonzero(np.arange(width) >= width - counts[:, None])
        self._expect(rows, np.zeros_like(rows), counts, real, upload)
        hidden = self._forward(tokens, counts, width, scratch, upload)
        if self._cache is None:
            self._cache, self._columns = DynamicCache(), width
            for i, layer in enumerate(_layers(scratch)):
                states = (layer.keys, layer.values)
                self._cache.update(*(x.new_zeros(self.n, x.shape[1], width, x.shape[3]) for x in states), i)
        self._resize(max(width, self._columns))
        where = upload[key]
        for layer, new in zip(_layers(self._cache), _layers(scratch), strict=True):
            layer.keys[where, :, -width:] = new.keys
            layer.values[where, :, -width:] = new.values
        self._fresh[rows] = True
        return hidden

    def _resize(self, columns: int) -> None:
        """Add empty columns on the left, or remove unused ones."""
        if more := columns - self._columns:
            for layer in _layers(self._cache):
                layer.keys, layer.values = (nn.functional.pad(x, (0, 0, more, 0)) for x in (layer.keys, layer.values))
            self._columns = columns

    @torch.no_grad()
    def _forward(self, tokens: Ints, lengths: Ints, columns: int, cache: DynamicCache, upload: PackedUpload) -> Tensor:
        """Right-aligned texts whose last tokens (R, q) are new; hidden states at the very last, (R, d)."""
        q = tokens.shape[1]
        seen = np.arange(columns) >= columns - lengths[:, None]  # (R, columns)
        positions = np.maximum(np.cumsum(seen, 1) - 1, 0)[:, columns - q :]  # (R, q)
        keys = [upload.add(x) for x in (tokens, seen.astype(np.int64), positions)]
        ids, mask, places = (upload[key] for key in keys)
        states = self._read(
            upload,
            input_ids=ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            **({"position_ids": places} if self._takes_positions else {}),
        )
        return states[:, -1]


def _layers(cache: DynamicCache | None) -> list[Any]:
    return [] if cache is None else list(cache.layers)
