"""One seed for everything: streams continue, purposes do not share theirs."""

from __future__ import annotations

import itertools
import json

import numpy as np
import torch

from textrlhf.agents.settings.seeding import Randomness, Stream, derive_seed, draw_seed

CPU = torch.device("cpu")


def draws(random: Randomness) -> tuple[list[float], list[int]]:
    return torch.rand(3, generator=random.actions).tolist(), random.order.permutation(50).tolist()


def test_restored_stream_continues() -> None:
    """Through JSON, as in a checkpoint: PCG64's state has 128 bits, more than a float holds."""
    random = Randomness(7, CPU)
    draws(random)
    state = json.loads(json.dumps(random.state_dict()))
    expected = draws(random)
    copy = Randomness(8, CPU)
    copy.load_state_dict(state)
    assert draws(copy) == expected
    assert draws(copy) == draws(random)
    assert expected != draws(Randomness(7, CPU))  # it did continue, not begin again


def test_state_is_a_snapshot() -> None:
    """Later draws must not change a saved state."""
    random = Randomness(7, CPU)
    state = random.state_dict()
    before = json.dumps(state)
    draws(random)
    assert json.dumps(state) == before


def test_streams_depend_on_the_seed() -> None:
    assert draws(Randomness(1, CPU)) == draws(Randomness(1, CPU))
    assert draws(Randomness(1, CPU)) != draws(Randomness(2, CPU))


def test_derived_seeds_are_fixed_and_distinct() -> None:
    """Purposes that shared a seed would act and shuffle in step; environments refuse seeds from 2³¹ on."""
    places = list(itertools.product([0, 1, 2, 2**31 - 1, 2**40], Stream, range(40)))
    seeds = [derive_seed(*place) for place in places]
    assert seeds == [derive_seed(*place) for place in places]
    assert len(set(seeds)) == len(seeds)
    assert 0 <= min(seeds)
    assert max(seeds) < 2**31
    assert all(isinstance(seed, int) for seed in seeds)
    assert sum(seed < 2**30 for seed in seeds) / len(seeds) > 0.4  # spread, not counted up


def test_global_generators_are_not_used() -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    random = Randomness(draw_seed(), CPU)
    draws(random)
    random.load_state_dict(random.state_dict())
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def test_draw_seed_is_random() -> None:
    seeds = {draw_seed() for _ in range(5)}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**31 for seed in seeds)
