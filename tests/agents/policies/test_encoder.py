"""Observations of every supported space as one vector of features."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array
from torch import Tensor

from textrlhf.agents.environment.spaces import leaves_of
from textrlhf.agents.policies.encoder import EMBED_ABOVE, EMBEDDING, Encoder, ImageEncoder

DISCRETE = spaces.Discrete(3, start=-1)
MULTI = spaces.MultiDiscrete([[2, 3], [2, 4]], start=[[0, 5], [-2, 1]])
BINARY = spaces.MultiBinary((2, 2))
BOX = spaces.Box(-5, 5, (2, 2), np.float64)
SCALAR = spaces.Box(-5, 5, (), np.float32)
IMAGE = spaces.Box(0, 255, (7, 7, 3), np.uint8)
BIG = spaces.Discrete(EMBED_ABOVE + 1, start=10)


def tensors(space: spaces.Space[Any], rows: list[Any]) -> list[Tensor]:
    """A batch of observations as the policy hands them to its encoder."""
    batch = concatenate(space, rows, create_empty_array(space, n=len(rows)))
    return [torch.from_numpy(leaf) for leaf in leaves_of(space, batch)]


def encoded(space: spaces.Space[Any], *rows: Any) -> list[list[float]]:
    features = Encoder(space)(tensors(space, list(rows)))
    assert features.dtype == torch.float32
    return features.tolist()


def test_numbers_are_flattened() -> None:
    assert encoded(BOX, np.array([[1, 2], [3, 4.5]])) == [[1, 2, 3, 4.5]]
    assert encoded(SCALAR, np.array(1.5, np.float32), np.array(-2, np.float32)) == [[1.5], [-2]]
    assert encoded(spaces.Box(-1, 99, (2,), np.int64), np.array([-1, 99])) == [[-1, 99]]
    assert encoded(BINARY, np.array([[0, 1], [1, 1]], np.int8)) == [[0, 1, 1, 1]]
    bytes_but_no_picture = spaces.Box(0, 255, (3,), np.uint8)
    assert encoded(bytes_but_no_picture, np.array([0, 7, 255], np.uint8)) == [[0, 7, 255]]


def test_choices_are_one_hot_from_start() -> None:
    """A start left out of account would index beyond the row, or shift every value by one."""
    assert encoded(DISCRETE, -1, 0, 1) == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    lowest, highest = np.array([[0, 5], [-2, 1]]), np.array([[1, 7], [-1, 4]])
    assert encoded(MULTI, lowest, highest) == [
        [1, 0] + [1, 0, 0] + [1, 0] + [1, 0, 0, 0],
        [0, 1] + [0, 0, 1] + [0, 1] + [0, 0, 0, 1],
    ]


def test_many_values_are_embedded() -> None:
    """One-hot at a vocabulary's size would be a first layer of millions of weights, nearly all idle."""
    assert Encoder(spaces.Discrete(EMBED_ABOVE)).size == EMBED_ABOVE
    encoder = Encoder(BIG)
    assert encoder.size == EMBEDDING
    (table,) = encoder.parameters()
    assert table.shape == (EMBED_ABOVE + 1, EMBEDDING)
    first, last = 10, 10 + EMBED_ABOVE
    features = encoder(tensors(BIG, [first, last, first + 3]))
    assert torch.equal(features, table[[0, EMBED_ABOVE, 3]])
    features[1].sum().backward()
    assert table.grad is not None
    assert table.grad.any(1).nonzero().tolist() == [[EMBED_ABOVE]]


def test_small_and_large_choices_share_a_space() -> None:
    space = spaces.MultiDiscrete([2, EMBED_ABOVE + 1, 3])
    encoder = Encoder(space)
    assert encoder.size == 2 + EMBEDDING + 3
    features = encoder(tensors(space, [np.array([1, EMBED_ABOVE, 2])]))
    (table,) = encoder.parameters()
    expected = torch.cat([torch.tensor([0.0, 1.0]), table[EMBED_ABOVE], torch.tensor([0.0, 0.0, 1.0])])
    assert torch.equal(features[0], expected)


def test_leaves_are_concatenated_in_order() -> None:
    space = spaces.Dict({"b": DISCRETE, "a": spaces.Tuple((SCALAR, BINARY)), "c": BOX})
    row = {
        "c": np.array([[1.0, 2], [3, 4]]),
        "b": 1,
        "a": (np.array(0.5, np.float32), np.array([[1, 0], [0, 1]], np.int8)),
    }
    expected = [0.5, 1, 0, 0, 1] + [0, 0, 1] + [1, 2, 3, 4]
    assert encoded(space, row, row) == [expected, expected]


@pytest.mark.parametrize(
    "shape",
    [(36, 37, 3), (37, 36, 1), (7, 7, 3), (3, 3, 2), (4, 4, 3), (12, 9, 6), (1, 1, 1)],
    ids=str,
)
def test_image_encoding_ignores_channel_order(shape: tuple[int, ...]) -> None:
    """Channels taken for rows convolve over colours as if they were space."""
    *_, channels = shape
    last = Encoder(spaces.Box(0, 255, shape, np.uint8))
    first = Encoder(spaces.Box(0, 255, (channels, *shape[:2]), np.uint8))
    first.load_state_dict(last.state_dict())
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, *shape), np.uint8))
    features = last([pictures])
    assert features.shape == (3, last.size)
    assert features.std() > 0
    torch.testing.assert_close(first([pictures.permute(0, 3, 1, 2)]), features, rtol=1e-4, atol=1e-5)


def test_pixels_are_scaled_to_one() -> None:
    encoder = Encoder(IMAGE)
    (part,) = encoder.parts
    assert isinstance(part, ImageEncoder)
    seen: list[Tensor] = []
    part.convolutions.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder([torch.full((1, 7, 7, 3), 255, dtype=torch.uint8)])
    assert torch.equal(seen[0], torch.ones(1, 3, 7, 7))


def test_only_numbers_are_normalized() -> None:
    """Centred one-hots or bits would say something about how often they come, and pictures have their scale."""
    space = spaces.Tuple((BOX, DISCRETE, BINARY, IMAGE, SCALAR))
    space.seed(0)
    rows = [space.sample() for _ in range(50)]
    leaves = tensors(space, rows)
    encoder, plain = Encoder(space, normalize=True), Encoder(space)
    assert encoder.normalizes
    assert not plain.normalizes
    assert not Encoder(spaces.Tuple((DISCRETE, BINARY, IMAGE)), normalize=True).normalizes
    plain.load_state_dict(encoder.state_dict(), strict=False)
    encoder.update_statistics([leaf[:20] for leaf in leaves])
    encoder.update_statistics([leaf[:0] for leaf in leaves])  # a rollout without a valid step
    encoder.update_statistics([leaf[20:] for leaf in leaves])
    raw, features = plain(leaves), encoder(leaves)
    numbers = torch.tensor([0, 1, 2, 3, encoder.size - 1])
    others = torch.ones(encoder.size, dtype=torch.bool)
    others[numbers] = False
    assert torch.equal(features[:, others], raw[:, others])
    torch.testing.assert_close(features[:, numbers].mean(0), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(features[:, numbers].std(0, correction=0), torch.ones(5), rtol=0, atol=1e-4)
    assert raw[:, numbers].mean(0).abs().max() > 0.2  # there was something to centre
