"""The fast cache, in which each row has its own write position.

Keys and values are in one buffer per layer, (N, heads, capacity, head size). New tokens are written at their row's own
positions, and a mask hides everything beyond them, so nothing is ever cleared or moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin

from .causal_lm import CausalLM
from .device_copies import PackedUpload
from .hf import uses_sdpa
from .memory import Ints, TokenMemory, padded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCK = 32  # buffers grow, and are read, in steps of this many positions
COPIED = 1 << 22  # bytes of a layer's keys that may be copied to save a forward


@dataclass
class _Place:
    """The positions that a forward reads and writes."""

    rows: Tensor | None  # (R,) None: all of them
    columns: Tensor  # (R, q) where new keys go
    width: int  # how many positions are read; 0: only the new ones
    capacity: int


class _SlotLayer(CacheLayerMixin):
    def __init__(self, n: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n = n
        self.place: _Place

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        states = (key_states, value_states)
        self.keys, self.values = (x.new_zeros(self.n, x.shape[1], 0, x.shape[3]) for x in states)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        place = self.place
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        if (missing := place.capacity - self.keys.shape[2]) > 0:
            self.keys, self.values = (nn.functional.pad(x, (0, 0, 0, missing)) for x in (self.keys, self.values))
        rows = torch.arange(self.n, device=self.keys.device) if place.rows is None else place.rows
        self.keys[rows[:, None], :, place.columns] = key_states.transpose(1, 2)  # (R, q, heads, size)
        self.values[rows[:, None], :, place.columns] = value_states.transpose(1, 2)
        if not place.width:
            return key_states, value_states
        keys, values = self.keys[:, :, : place.width], self.values[:, :, : place.width]
        return (keys, values) if place.rows is None else (keys[rows], values[rows])

    def get_seq_length(self) -> int:
        return 0  # rows differ; positions and mask are always given

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.place.width or query_length, 0

    def get_max_length(self) -> int:
        return -1


class SlotCache(TokenMemory):
    """For families with full attention that take `position_ids`."""

    def __init__(self, lm: CausalLM, n: int) -> None:
        super().__init__(lm, n)
        config = lm.model.config.get_text_config()
        self._layers = [_SlotLayer(n) for _ in range(config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        self._capacity = 0
        self._last_position = (lm.context or 1 << 30) - 1

    def read(self, rows: Ints, tokens: Sequence[Ints], upload: PackedUpload | None = None) -> Tensor:
        """See `TokenMemory.read`; where few rows have a few tokens more, all are read in one forward."""
        counts = np.fromiter(map(len, tokens), np.int64, len(tokens))
        more = int(counts.sum()) - len(rows)
        if not (counts.all() and 0 < 2 * more <= len(rows) and self._copied(len(rows) + more) <= COPIED):
            return super().read(rows, tokens, upload)
        behind = np.cumsum(counts)  # every token becomes a row of its own that looks into its text's keys
        own = np.repeat(rows, counts)
        columns = self.lengths[own] + np.arange(behind[-1]) - np.repeat(behind - counts, counts)
        hidden = self._forward(own, columns, np.concatenate(tokens)[:, None], behind - 1, upload, (rows, counts, None))
        self.lengths[rows] += counts
        return hidden

    def _copied(self, n: int) -> int:
        keys = self._layers[0].keys
        return 0 if keys is None else n * keys[0].nbytes

    def step(self, rows: Ints, tokens: Ints, upload: PackedUpload | None = None) -> Tensor:
        """Read one token in each of `rows`."""
        if 2 * len(rows) <= self.n:
            return self._extend(rows, list(tokens[:, None]), upload)
        # Most rows step: let all of them, where they lie. What the others write is hidden, and overwritten later.
        every = np.zeros(self.n, np.int64)
        every[rows] = tokens
        wanted = None if np.array_equal(rows, np.arange(self.n)) else rows
        read = rows, np.ones_like(rows), wanted
        hidden = self._forward(None, self.lengths, every[:, None], wanted, upload, read)
        self.lengths[rows] += 1
        return hidden

    def _extend(self, rows: Ints, tokens: Sequence[Ints], upload: PackedUpload | None) -> Tensor:
        counts, grid = np.fromiter(map(len, tokens), np.int64, len(tokens)), padded(tokens)
        lasts = np.arange(len(rows)) * grid.shape[1] + counts - 1
        read = rows, counts, np.flatnonzero(np.arange(grid.shape[1]) < counts[:, None])
        hidden = self._forward(rows, self.lengths[rows], grid, lasts, upload, read)
        self.lengths[rows] += counts
        return hidden

    @torch.no_grad()
    def _forward(
        self,
        rows: Ints | None,
        lengths: Ints,
        tokens: Ints,
        wanted: Ints | None,
        upload: PackedUpload | None,
        read: tuple[Ints, Ints, Ints | None],
    ) -> Tensor:  # (R, q) -> (W, d)
        """Read tokens (R, q); states at the `wanted` ones of these laid flat, or at all of them.

        `read` is for the reader: which rows get how many tokens, and where in the flat tokens these are.
        """
        q, device = tokens.shape[1], self.lm.device
        upload = upload or PackedUpload(device)
        fresh = not lengths.any()
        needed = int(lengths.max()) + q
        if needed > self._capacity:
            self._capacity = _in_blocks(max(needed, min(needed + needed // 4, self._last_position + 1)))
        width = 0 if fresh else _in_blocks(needed)
        texts, counts, places = read
        self._expect(texts, self.lengths[texts], counts, places, upload)
        keys = [None if x is None else upload.add(x) for x in (tokens, lengths[:, None] + np.arange(q), rows, wanted)]
        ids, columns, own, at = (None if key is None else upload[key] for key in keys)
        assert ids is not None
        assert columns is not None  # (R, q)
        place = _Place(own, columns, width, self._capacity)
        for layer in self._layers:
            layer.place = place
        seen = torch.arange(width or q, device=device) <= columns[:, :, None]  # (R, q, kv)
        states = self._read(
            upload,
            input_ids=ids,
            attention_mask=attention_mask(self.lm.model, seen[:, None]),
            position_ids=columns.clamp(max=self._last_position),
            past_key_values=self._cache,
            use_cache=True,
        )
        hidden = states.flatten(0, 1)  # (R · q, d)
        return hidden if at is None else hidden[at]


def _in_blocks(positions: int) -> int:
    return -(-positions // BLOCK) * BLOCK


def attention_mask(model: PreTrainedModel, seen: Tensor) -> Tensor:  # (R, 1, q, kv)
    """The mask `seen`, True where a token may attend, in the form that this model's attention takes."""
    if uses_sdpa(model):
        return seen
    lowest = torch.finfo(model.dtype).min
    return torch.zeros_like(seen, dtype=model.dtype).masked_fill(~seen, lowest)
