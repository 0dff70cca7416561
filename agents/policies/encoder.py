"""Encodes observations of any supported space as feature vectors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import spaces
from torch import Tensor, nn

from ..environment.spaces import is_image, leaf_spaces
from ..experience.normalize import ObservationNorm

EMBED_ABOVE = 512  # a Discrete with more values than this is embedded, not one-hot
EMBEDDING = 64
MANY_NUMBERS = 4096  # of an observation that convolutions do not read
MANY_FEATURES = 16384  # of an image after the convolutions; an image of 84 x 84 has 3,136
log = logging.getLogger("textrlhf")


class Encoder(nn.Module):
    """Encodes each leaf of the observation space and concatenates the results: (M, size)."""

    def __init__(self, space: spaces.Space[Any], normalize: bool = False) -> None:
        super().__init__()
        parts = [_leaf_encoder(leaf, normalize) for leaf in leaf_spaces(space)]
        if (width := sum(part.size for part in parts if not isinstance(part, ImageEncoder))) > MANY_NUMBERS:
            log.warning(
                "an observation of %s numbers goes into linear layers as it is. Convolutions read images: uint8 from 0 "
                "to 255 of shape (H, W), (H, W, C) or (C, H, W), or stacks of these; gymnasium.wrappers."
                "ResizeObservation makes them smaller", f"{width:,}",
            )  # fmt: skip
        self.parts = nn.ModuleList(parts)
        self.size = sum(part.size for part in parts)

    def forward(self, leaves: Sequence[Tensor]) -> Tensor:
        """(M, *leaf shape) each -> (M, size)."""
        features = [part(leaf) for part, leaf in zip(self.parts, leaves, strict=True)]
        return features[0] if len(features) == 1 else torch.cat(features, -1)

    @torch.no_grad()
    def update_statistics(self, leaves: Sequence[Tensor]) -> None:
        """Update the observation statistics with a batch."""
        for part, leaf in zip(self.parts, leaves, strict=True):
            if isinstance(part, VectorEncoder) and part.norm is not None and len(leaf):
                part.norm.update(leaf.reshape(len(leaf), part.size))

    @property
    def normalizes(self) -> bool:
        """Whether any leaf is normalized."""
        return any(isinstance(part, VectorEncoder) and part.norm is not None for part in self.parts)


class VectorEncoder(nn.Module):
    """Flattens numbers, and optionally normalizes them."""

    def __init__(self, size: int, normalize: bool) -> None:
        super().__init__()
        self.size = size
        self.norm = ObservationNorm((size,)) if normalize else None

    def forward(self, x: Tensor) -> Tensor:
        """(M, ...) -> (M, size)."""
        x = x.reshape(len(x), self.size).float()
        return x if self.norm is None else self.norm(x)


class ChoiceEncoder(nn.Module):
    """Discrete values, one-hot; embedded if there are many."""

    start: Tensor

    def __init__(self, choices: list[int], start: Any) -> None:
        super().__init__()
        self.choices = choices
        offset = torch.as_tensor(np.broadcast_to(np.asarray(start).reshape(-1), len(choices)).copy())
        self.register_buffer("start", offset, persistent=False)
        self.tables = nn.ModuleDict(
            {str(k): nn.Embedding(n, EMBEDDING) for k, n in enumerate(choices) if n > EMBED_ABOVE}
        )
        self.size = sum(EMBEDDING if n > EMBED_ABOVE else n for n in choices)

    def forward(self, x: Tensor) -> Tensor:
        """(M,) or (M, ...) -> (M, size)."""
        x = x.reshape(len(x), -1).long() - self.start
        columns = []
        for k, n in enumerate(self.choices):
            table = self.tables[str(k)] if n > EMBED_ABOVE else None
            columns.append(F.one_hot(x[:, k], n).float() if table is None else table(x[:, k]))
        return torch.cat(columns, -1)


class ImageEncoder(nn.Module):
    """Convolutions: the network of Mnih et al. (2015) for images of at least 36 × 36 pixels, else a smaller one."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.grey = len(shape) == 2
        image = (1, *shape) if self.grey else shape[-3:]
        self.channels_last = image[-1] <= image[0]
        channels, height, width = (image[-1], *image[:2]) if self.channels_last else image
        channels *= int(np.prod(shape[:-3]))  # of all images of a stack
        if min(height, width) >= 36:
            sizes = [(channels, 32, 8, 4, 0), (32, 64, 4, 2, 0), (64, 64, 3, 1, 0)]
        else:
            sizes = [(channels, 32, 3, 1, 1), (32, 32, 3, 2, 1)]
        layers: list[nn.Module] = []
        for c_in, c_out, kernel, stride, padding in sizes:
            layers += [nn.Conv2d(c_in, c_out, kernel, stride, padding), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        with torch.no_grad():
            flat = self.convolutions(torch.zeros(1, channels, height, width)).shape[1]
        self.size = 512 if min(height, width) >= 36 else 128
        if flat > MANY_FEATURES:
            log.warning("images of shape %s need a layer of %s weights: gymnasium.wrappers.ResizeObservation makes "
                        "them smaller, to 84 x 84 for example", shape, f"{flat * self.size:,}")  # fmt: skip
        self.head = nn.Sequential(nn.Linear(flat, self.size), nn.ReLU())
        for layer in [*layers, self.head[0]]:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.orthogonal_(layer.weight, 2**0.5)
                nn.init.constant_(layer.bias, 0.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(M, H, W), (M, [K,] H, W, C) or (M, [K,] C, H, W) bytes -> (M, size)."""
        x = x[:, None] if self.grey else x.movedim(-1, -3) if self.channels_last else x
        features: Tensor = self.head(self.convolutions(x.flatten(1, -3).float() / 255))
        return features


LeafEncoder = VectorEncoder | ChoiceEncoder | ImageEncoder


def _leaf_encoder(space: spaces.Space[Any], normalize: bool) -> LeafEncoder:
    if isinstance(space, spaces.Discrete):
        return ChoiceEncoder([int(space.n)], space.start)
    if isinstance(space, spaces.MultiDiscrete):
        return ChoiceEncoder([int(n) for n in space.nvec.flat], space.start)
    if is_image(space):
        return ImageEncoder(space.shape or ())
    return VectorEncoder(int(np.prod(space.shape or ())), normalize and isinstance(space, spaces.Box))
