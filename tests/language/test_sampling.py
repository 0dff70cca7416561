"""Sampling: frequencies, masks, and exact log-probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textrlhf.language.sampling import inverse_cdf, keep, sample

BELOW_ONE = math.nextafter(1, 0)  # becomes 1.0 in float32
LARGEST = float(np.nextafter(np.float32(1), np.float32(0)))


def logits_of(m, v, scale=2.0, seed=0):
    return scale * torch.randn(m, v, generator=torch.Generator().manual_seed(seed))


def kept_by_hand(p, top_k, top_p):
    """A row of probabilities in float64: which are kept, as text books have it."""
    keep = p > 0
    if top_k is not None:
        keep &= p >= np.sort(p)[::-1][:top_k][-1]
    if top_p is not None:
        p = np.where(keep, p, 0) / p[keep].sum()
        order = np.argsort(-p, kind="stable")
        count = np.searchsorted(np.cumsum(p[order]), top_p) + 1
        keep &= np.isin(np.arange(len(p)), order[:count])
    return keep


def by_hand(logits, temperature, top_k, top_p, allowed):
    """The distribution that is drawn from, (M, V) in float64."""
    rows = []
    for i, row in enumerate(logits.double().numpy()):
        row = np.where(allowed[i], row, -np.inf) if allowed is not None else row
        p = np.exp((row - row.max()) / temperature)
        p /= p.sum()
        p = np.where(kept_by_hand(p, top_k, top_p), p, 0)
        rows.append(p / p.sum())
    return np.stack(rows)


class TestInverseCdf:
    def test_frequencies(self):
        """Chi-square on a known distribution with gaps: 99.9% of all seeds lie below the bound, this one does too."""
        p = torch.tensor([0.0, 0.4, 0.0, 0.05, 0.3, 0.2, 0.0, 0.049, 0.001, 0.0])
        n = 200_000
        uniform = torch.rand(n, generator=torch.Generator().manual_seed(0))
        counts = torch.bincount(inverse_cdf(p.log().expand(n, -1), uniform), minlength=10)
        assert counts[p == 0].sum() == 0
        expected = n * p[p > 0].double()
        assert ((counts[p > 0] - expected) ** 2 / expected).sum() < 20.5  # 5 degrees of freedom

    def test_each_token_has_an_interval_of_its_mass(self):
        p = torch.tensor([[0.0, 0.25, 0.0, 0.5, 0.25, 0.0]])
        points = {0.0: 1, 0.2499: 1, 0.25: 3, 0.7499: 3, 0.75: 4, LARGEST: 4, BELOW_ONE: 4}
        for uniform, token in points.items():
            assert inverse_cdf(p.log(), torch.tensor([uniform])).item() == token
            assert inverse_cdf(p.log(), torch.tensor([uniform], dtype=torch.float64)).item() == token

    @pytest.mark.parametrize("vocabulary", [2, 50_257, 151_936])
    @pytest.mark.parametrize("edge", [0.0, LARGEST, 1 - 2**-20])
    def test_edges_draw_only_what_has_mass(self, edge, vocabulary):
        """Guards against the sum that rounding leaves below or above 1: the last token, or none at all."""
        log_probs = logits_of(20, vocabulary).log_softmax(-1)
        log_probs[:, [0, -1]] = -torch.inf
        if vocabulary == 2:
            log_probs[:, 0] = 0.0
        tokens = inverse_cdf(log_probs, torch.full((20,), edge))
        assert torch.isfinite(log_probs.gather(1, tokens[:, None])).all()

    @given(st.integers(0, 2**32), st.floats(0, 1, exclude_max=True))
    @settings(max_examples=60, deadline=None, derandomize=True)
    def test_tokens_without_mass_are_never_drawn(self, seed, uniform):
        log_probs = logits_of(8, 300, scale=20.0, seed=seed)
        log_probs[torch.rand(8, 300, generator=torch.Generator().manual_seed(seed)) < 0.9] = -torch.inf
        log_probs[:, 150] = 0.0
        log_probs = log_probs.log_softmax(-1)
        tokens = inverse_cdf(log_probs, torch.full((8,), uniform, dtype=torch.float64))
        assert torch.isfinite(log_probs.gather(1, tokens[:, None])).all()


SETTINGS = [
    {},
    {"temperature": 0.5},
    {"temperature": 3.0, "top_k": 7},
    {"top_p": 0.8},
    {"temperature": 0.7, "top_k": 9, "top_p": 0.6},
]


class TestSample:
    @pytest.mark.parametrize("masked", [False, "by row", "for all"])
    @pytest.mark.parametrize("settings", SETTINGS, ids=str)
    def test_logprobs_are_of_the_sampled_distribution(self, settings, masked):
        """Guards against the model's own log-probability announced for a token drawn from another distribution."""
        logits = logits_of(400, 40)
        allowed = None
        if masked:
            allowed = torch.rand(400, 40, generator=torch.Generator().manual_seed(1)) < 0.5
            allowed = allowed[0] if masked == "for all" else allowed
        every = {"temperature": 1.0, "top_k": None, "top_p": None, **settings}
        rows = allowed.expand(400, 40).numpy() if masked else None
        expected = by_hand(logits, **every, allowed=rows)
        tokens, log_probs = sample(logits, **settings, allowed=allowed, generator=torch.Generator().manual_seed(2))
        assert (tokens.shape, log_probs.shape) == ((400,), (400,))
        assert tokens.dtype == torch.int64
        np.testing.assert_allclose(log_probs, np.log(expected[np.arange(400), tokens]), atol=2e-6)

    @pytest.mark.parametrize("settings", SETTINGS[1:], ids=str)
    def test_frequencies(self, settings):
        row, n = logits_of(1, 12, scale=1.0), 50_000
        every = {"temperature": 1.0, "top_k": None, "top_p": None, **settings}
        p = by_hand(row, **every, allowed=None)[0]
        tokens, _ = sample(row.expand(n, -1), **settings, generator=torch.Generator().manual_seed(0))
        counts = np.bincount(tokens, minlength=12)
        assert counts[p == 0].sum() == 0
        expected = n * p[p > 0]
        assert ((counts[p > 0] - expected) ** 2 / expected).sum() < 31.3  # 11 degrees of freedom, 99.9%

    def test_the_same_random_numbers_give_the_same_tokens(self):
        logits = logits_of(64, 100)
        first, again, other = [sample(logits, generator=torch.Generator().manual_seed(i))[0] for i in (5, 5, 6)]
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        uniform = torch.rand(64, generator=torch.Generator().manual_seed(5))
        assert torch.equal(sample(logits, uniform=uniform)[0], first)

    def test_no_global_randomness(self):
        """Guards against runs that are not the same because something else drew in between."""
        before = torch.get_rng_state()
        sample(logits_of(4, 10), generator=torch.Generator().manual_seed(0))
        sample(logits_of(4, 10), uniform=torch.zeros(4))
        assert torch.equal(torch.get_rng_state(), before)

    def test_rows_are_independent(self):
        logits, uniform = logits_of(30, 100), torch.rand(30, generator=torch.Generator().manual_seed(0))
        together = sample(logits, uniform=uniform)[0]
        alone = [sample(logits[i : i + 1], uniform=uniform[i : i + 1])[0].item() for i in range(30)]
        assert together.tolist() == alone

    def test_temperature_0_is_greedy(self):
        logits, allowed = logits_of(50, 20), torch.ones(50, 20, dtype=torch.bool)
        best = logits.argmax(-1)
        allowed[torch.arange(50), best] = False
        tokens, log_probs = sample(logits, temperature=0)
        assert torch.equal(tokens, best)
        assert (log_probs == 0).all()
        assert torch.equal(sample(logits, temperature=0, allowed=allowed)[0], logits.topk(2).indices[:, 1])

    def test_a_low_temperature_is_nearly_greedy(self):
        logits = logits_of(50, 20)
        tokens, log_probs = sample(logits, temperature=1e-4, generator=torch.Generator().manual_seed(0))
        assert torch.equal(tokens, logits.argmax(-1))
        torch.testing.assert_close(log_probs, torch.zeros(50), atol=1e-3, rtol=0)

    def test_half_precision_logits_are_drawn_in_float32(self):
        """Guards against bfloat16 sums, in which most of a vocabulary has no mass at all."""
        logits = logits_of(8, 50_257, scale=0.1).to(torch.bfloat16)
        tokens, log_probs = sample(logits, uniform=torch.linspace(0.05, 0.95, 8))
        assert log_probs.dtype == torch.float32
        assert ((tokens.double() / 50_257 - torch.linspace(0.05, 0.95, 8)).abs() < 0.01).all()

    def test_the_one_allowed_token_is_certain(self):
        allowed = torch.zeros(20, dtype=torch.bool)
        allowed[13] = True
        tokens, log_probs = sample(logits_of(6, 20), allowed=allowed, uniform=torch.linspace(0, LARGEST, 6))
        assert tokens.tolist() == [13] * 6
        assert log_probs.tolist() == [0.0] * 6


def kept(p, top_k=None, top_p=None):
    found = keep(torch.tensor([p]).log(), top_k, top_p)[0]
    assert found.exp().sum() == pytest.approx(1, abs=1e-6)
    return torch.isfinite(found).nonzero()[:, 0].tolist()


class TestKeep:
    P = [0.1, 0.4, 0.05, 0.25, 0.2]

    @pytest.mark.parametrize(("top_k", "tokens"), [(1, [1]), (2, [1, 3]), (4, [0, 1, 3, 4]), (5, [0, 1, 2, 3, 4])])
    def test_top_k(self, top_k, tokens):
        assert kept(self.P, top_k) == tokens

    def test_k_above_the_vocabulary(self):
        assert kept(self.P, 1000) == [0, 1, 2, 3, 4]

    def test_ties_with_the_kth_are_kept(self):
        """No order among equals is better than another; none is dropped by its number."""
        assert kept([0.2, 0.3, 0.2, 0.1, 0.2], 2) == [0, 1, 2, 4]

    @pytest.mark.parametrize(
        ("top_p", "tokens"),
        [(0.01, [1]), (0.39, [1]), (0.41, [1, 3]), (0.64, [1, 3]), (0.66, [1, 3, 4]), (0.96, [0, 1, 2, 3, 4])],
    )
    def test_top_p(self, top_p, tokens):
        assert kept(self.P, top_p=top_p) == tokens

    def test_mass_equal_to_top_p_suffices(self):
        """Guards against one token too many: a half and a half at top_p=0.5 leaves one."""
        assert kept([0.5, 0.25, 0.25], top_p=0.5) == [0]
        assert kept([0.25, 0.5, 0.25], top_p=0.75) == [0, 1]
        assert len(kept([0.5, 0.5], top_p=0.5)) == 1

    def test_top_k_and_top_p(self):
        assert kept(self.P, top_k=3, top_p=0.7) == [1, 3]  # 0.47 + 0.29 of what three tokens have
        assert kept(self.P, top_k=1, top_p=0.99) == [1]

    def test_no_settings_change_nothing(self):
        log_probs = logits_of(3, 9).log_softmax(-1)
        for top_k, top_p in [(None, None), (9, 1), (10, 1.0)]:
            assert torch.equal(keep(log_probs, top_k, top_p), log_probs)

    @given(st.integers(0, 2**32), st.integers(1, 50), st.floats(0.01, 0.999))
    @settings(max_examples=60, deadline=None, derandomize=True)
    def test_equals_float64(self, seed, top_k, top_p):
        log_probs = logits_of(4, 40, seed=seed).log_softmax(-1)
        found = keep(log_probs, top_k, top_p)
        for row, got in zip(log_probs.double().exp().numpy(), found, strict=True):
            low, high = (kept_by_hand(row, top_k, top_p + change) for change in (-1e-5, 1e-5))
            finite = torch.isfinite(got).numpy()
            assert (low <= finite).all()
            assert (finite <= high).all()


class TestBadSettings:
    @pytest.mark.parametrize("temperature", [-0.1, math.nan, math.inf])
    def test_temperature(self, temperature):
        with pytest.raises(ValueError, match=f"temperature is {temperature}.*0 is greedy"):
            sample(logits_of(1, 5), temperature=temperature)

    @pytest.mark.parametrize("top_k", [0, -1, 2.5])
    def test_top_k(self, top_k):
        with pytest.raises(ValueError, match=rf"top_k is {top_k}.*at least 1"):
            sample(logits_of(1, 5), top_k=top_k)

    @pytest.mark.parametrize("top_p", [0, -0.5, 1.5, math.nan])
    def test_top_p(self, top_p):
        with pytest.raises(ValueError, match=rf"top_p is {top_p}.*share in \(0, 1\]"):
            sample(logits_of(1, 5), top_p=top_p)

    def test_settings_are_checked_at_temperature_0(self):
        with pytest.raises(ValueError, match="top_k"):
            sample(logits_of(1, 5), temperature=0, top_k=0)

    @pytest.mark.parametrize("temperature", [0, 1])
    @pytest.mark.parametrize("fault", ["nan", "inf", "nothing allowed"])
    def test_a_row_that_is_not_a_distribution(self, fault, temperature):
        """Guards against token V, which no model has: an index error far from its cause, on a GPU a dead process."""
        logits, allowed = logits_of(3, 5), torch.ones(3, 5, dtype=torch.bool)
        if fault == "nothing allowed":
            allowed[1] = False
        else:
            logits[1, 2] = float(fault)
        with pytest.raises(ValueError, match="row 1 of the logits is no distribution"):
            sample(logits, temperature=temperature, allowed=allowed, uniform=torch.full((3,), 0.5))
