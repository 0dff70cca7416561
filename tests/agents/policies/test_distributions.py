"""What the policy's outputs mean, held against torch.distributions and float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from gymnasium import spaces
from torch import Tensor
from torch import distributions as reference

from textrlhf.agents.policies.distributions import Categorical, DiagonalGaussian
from textrlhf.agents.policies.mlp import MLPPolicy

CHOICES = {
    "Discrete": [5],
    "MultiDiscrete, even": [4, 4, 4],
    "MultiDiscrete, ragged": [2, 7, 3],
    "MultiBinary": [2, 2, 2, 2],
}
MANY = 50_257


def outputs_for(choices: list[int], rows: int = 64, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(rows, sum(choices), generator=torch.Generator().manual_seed(0))


def masks_for(choices: list[int], rows: int = 64) -> Tensor:
    """About half of the options, at least one of each choice."""
    generator = torch.Generator().manual_seed(1)
    parts = []
    for n in choices:
        part = torch.rand(rows, n, generator=generator) < 0.5
        part[torch.arange(rows), torch.randint(n, (rows,), generator=generator)] = True
        parts.append(part)
    return torch.cat(parts, 1)


def by_hand(choices: list[int], outputs: Tensor, action: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies in float64, row by row, over the allowed options alone."""
    log_probs, entropies = [], []
    for row, mask, chosen in zip(outputs.double(), masks, action.reshape(len(outputs), -1), strict=True):
        log_prob, entropy = row.new_zeros(()), row.new_zeros(())
        for part, allowed, option in zip(row.split(choices), mask.split(choices), chosen, strict=True):
            logits = part[allowed]
            log_p = logits - logits.exp().sum().log()
            log_prob = log_prob + log_p[int(allowed[: int(option)].sum())]
            entropy = entropy - (log_p.exp() * log_p).sum()
        log_probs.append(log_prob)
        entropies.append(entropy)
    return torch.stack(log_probs), torch.stack(entropies)


@pytest.mark.parametrize("masked", [False, True], ids=["free", "masked"])
@pytest.mark.parametrize("name", CHOICES)
def test_log_probs_and_entropy_equal_torch(name: str, masked: bool) -> None:
    """Guards against ragged choices reading each other's outputs, and masked options taking part."""
    choices = CHOICES[name]
    outputs = outputs_for(choices)
    masks = masks_for(choices) if masked else None
    distribution = Categorical(choices)
    action, log_prob = distribution.sample(outputs, masks=masks, generator=torch.Generator().manual_seed(2))
    log_prob_again, entropy = distribution.evaluate(outputs, action, masks)
    torch.testing.assert_close(log_prob, log_prob_again, rtol=0, atol=0)  # or the first ratio would not be 1
    expected_log_prob, expected_entropy = 0.0, 0.0
    logits = outputs.double() if masks is None else outputs.double().masked_fill(~masks, -1e30)
    for part, chosen in zip(logits.split(choices, 1), action.reshape(len(outputs), -1).T, strict=True):
        one = reference.Categorical(logits=part)
        expected_log_prob = expected_log_prob + one.log_prob(chosen)
        expected_entropy = expected_entropy + one.entropy()
    torch.testing.assert_close(log_prob.double(), expected_log_prob, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(entropy.double(), expected_entropy, rtol=1e-6, atol=1e-5)


def test_multi_binary_is_bernoulli_of_the_difference() -> None:
    outputs = outputs_for([2, 2, 2])
    action = (torch.rand(64, 3, generator=torch.Generator().manual_seed(3)) < 0.5).long()
    log_prob, entropy = Categorical([2, 2, 2]).evaluate(outputs, action)
    coin = reference.Bernoulli(logits=outputs[:, 1::2] - outputs[:, ::2])
    torch.testing.assert_close(log_prob, coin.log_prob(action.float()).sum(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy, coin.entropy().sum(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CHOICES)
def test_gradients_equal_float64_and_masked_ones_are_zero(name: str) -> None:
    """A NaN or a leak through −1e9 would train what may never be chosen, or ruin everything."""
    choices = CHOICES[name]
    masks, weights = masks_for(choices), torch.linspace(-1, 1, 64)
    outputs = outputs_for(choices).requires_grad_()
    exact = outputs.detach().double().requires_grad_()
    distribution = Categorical(choices)
    action, _ = distribution.sample(outputs.detach(), masks=masks, generator=torch.Generator().manual_seed(4))
    log_prob, entropy = distribution.evaluate(outputs, action, masks)
    (weights * (log_prob + 0.3 * entropy)).sum().backward()
    log_prob, entropy = by_hand(choices, exact, action, masks)
    (weights.double() * (log_prob + 0.3 * entropy)).sum().backward()
    assert outputs.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(outputs.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)
    assert (outputs.grad[~masks] == 0).all()
    assert (outputs.grad[masks] != 0).any()


def test_single_allowed_action_has_no_entropy() -> None:
    outputs = outputs_for([5])
    masks = torch.zeros(64, 5, dtype=torch.bool)
    masks[:, 3] = True
    action, log_prob = Categorical([5]).sample(outputs, masks=masks)
    _, entropy = Categorical([5]).evaluate(outputs, action, masks)
    assert (action == 3).all()
    assert (log_prob == 0).all()
    assert (entropy == 0).all()


def chi_square(seen: Tensor, probabilities: Tensor) -> float:
    expected = probabilities * seen.sum()
    return float(((seen - expected) ** 2 / expected).sum())


@pytest.mark.parametrize("name", CHOICES)
def test_frequencies_match_probabilities(name: str) -> None:
    """χ² per choice below its 1 − 1e-5 quantile (Wilson–Hilferty), and far above it for neighbours' probabilities."""
    choices, draws = CHOICES[name], 20_000
    outputs = outputs_for(choices, rows=1, scale=1.0)
    action, _ = Categorical(choices).sample(
        outputs.expand(draws, -1).contiguous(), generator=torch.Generator().manual_seed(5)
    )
    for k, (part, n) in enumerate(zip(outputs[0].split(choices), choices, strict=True)):
        seen = action.reshape(draws, -1)[:, k].bincount(minlength=n).double()
        probabilities = part.double().softmax(0)
        freedom = 2 / (9 * (n - 1))
        limit = (n - 1) * (1 - freedom + 4.265 * math.sqrt(freedom)) ** 3
        assert chi_square(seen, probabilities) < limit
        assert chi_square(seen, probabilities.roll(1)) > limit


def test_choices_are_independent() -> None:
    """One uniform number for all choices would give the right frequencies and a wrong joint."""
    action, _ = Categorical([2, 2]).sample(torch.zeros(20_000, 4), generator=torch.Generator().manual_seed(6))
    both = (action[:, 0] * action[:, 1]).double().mean()
    assert abs(both - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 20_000)


def impossible(n: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs and masks of which many options have no mass, at both ends and in between; and those that have."""
    outputs = torch.randn(rows, n, generator=torch.Generator().manual_seed(7))
    masks = torch.rand(rows, n, generator=torch.Generator().manual_seed(8)) < 0.6
    outputs[:, [1, 5, n - 2]] = -200.0  # e^-200 is 0 in float32
    masks[:, [0, n - 1]] = False
    masks[:, 3] = True
    outputs[:, 3] = 0.0
    return outputs, masks, masks & (outputs > -100)


def test_zero_probability_is_never_drawn() -> None:
    outputs, masks, possible = impossible(12, 100_000)
    action, log_prob = Categorical([12]).sample(outputs, masks=masks, generator=torch.Generator().manual_seed(9))
    assert possible.gather(1, action[:, None]).all()
    assert log_prob.isfinite().all()
    assert (log_prob > -50).all()


@pytest.mark.parametrize("n", [12, MANY])
@pytest.mark.parametrize("number", [0.0, 1 - 2**-24], ids=["smallest", "largest"])
def test_zero_probability_is_not_drawn_at_the_extremes(number: float, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """u = 0 must pass over masses of 0; the largest u times a total rounded up must stay below the total."""
    outputs, masks, possible = impossible(n, 16)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, number))
    action, _ = Categorical([n]).sample(outputs, masks=masks)
    assert possible.gather(1, action[:, None]).all()
    if n == 12:
        places = torch.arange(n).expand(16, n)
        first = places.where(possible, torch.tensor(n)).min(1).values
        last = places.where(possible, torch.tensor(-1)).max(1).values
        assert torch.equal(action, first if number == 0 else last)


def test_large_vocabulary() -> None:
    """Right probabilities in float32, draws across all of it, and by their mass."""
    rows = 200
    outputs = torch.randn(1, MANY, generator=torch.Generator().manual_seed(10))
    heavy = torch.tensor([17, 30_000, MANY - 1])
    outputs[0, heavy] = 10.0
    outputs = outputs.expand(rows, -1).contiguous()
    distribution = Categorical([MANY])
    action, log_prob = distribution.sample(outputs, generator=torch.Generator().manual_seed(11))
    exact = outputs[0].double().log_softmax(0)
    torch.testing.assert_close(log_prob.double(), exact[action], rtol=1e-6, atol=2e-6)
    _, entropy = distribution.evaluate(outputs[:2], action[:2])
    torch.testing.assert_close(entropy.double(), -(exact.exp() * exact).sum().expand(2), rtol=1e-5, atol=0)
    share = float(exact[heavy].exp().sum())  # about 0.44
    seen = float(torch.isin(action, heavy).double().mean())
    assert 0.3 < share < 0.6
    assert abs(seen - share) < 4 * math.sqrt(share * (1 - share) / rows)
    light = action[~torch.isin(action, heavy)]
    quarters = torch.bincount(light * 4 // MANY, minlength=4)
    assert (quarters > len(light) / 8).all()


@pytest.mark.parametrize("name", CHOICES)
def test_deterministic_takes_the_most_likely_allowed(name: str) -> None:
    choices = CHOICES[name]
    outputs, masks = outputs_for(choices), masks_for(choices)
    action, log_prob = Categorical(choices).sample(outputs, deterministic=True, masks=masks)
    allowed = outputs.masked_fill(~masks, -torch.inf)
    best = torch.stack([part.argmax(1) for part in allowed.split(choices, 1)], 1)
    assert torch.equal(action.reshape(64, -1), best)
    assert torch.equal(log_prob, Categorical(choices).evaluate(outputs, action, masks)[0])


@pytest.mark.parametrize("maker", [lambda: Categorical([3, 5]), lambda: DiagonalGaussian(8)], ids=["choices", "normal"])
def test_sampling_depends_on_the_generator_only(maker: Any) -> None:
    """And the global generator is left alone: seeding a run seeds all of it."""
    distribution, outputs = maker(), outputs_for([8])
    before = torch.get_rng_state()
    first, second, other = (
        distribution.sample(outputs, generator=torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def gaussian(size: int = 3) -> DiagonalGaussian:
    distribution = DiagonalGaussian(size, log_std_init=-0.5)
    with torch.no_grad():
        distribution.log_std += torch.linspace(-1, 1, size)
    return distribution


def test_gaussian_equals_torch() -> None:
    distribution, mean = gaussian(), outputs_for([3])
    action, log_prob = distribution.sample(mean, generator=torch.Generator().manual_seed(12))
    again, entropy = distribution.evaluate(mean, action)
    assert torch.equal(log_prob, again)
    normal = reference.Normal(mean.double(), distribution.log_std.double().exp())
    torch.testing.assert_close(log_prob.double(), normal.log_prob(action.double()).sum(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropy.double(), normal.entropy().sum(1), rtol=1e-6, atol=1e-6)
    assert entropy.shape == (64,)


def test_gaussian_gradients_equal_the_closed_form() -> None:
    """∂log π/∂μ = (a − μ)/σ², ∂log π/∂log σ = z² − 1, ∂H/∂log σ = 1."""
    distribution, mean = gaussian(), outputs_for([3]).requires_grad_()
    with torch.no_grad():
        action, _ = distribution.sample(mean, generator=torch.Generator().manual_seed(13))
    log_prob, entropy = distribution.evaluate(mean, action)
    (log_prob.sum() + 2 * entropy.sum()).backward()
    std = distribution.log_std.detach().exp()
    z = (action - mean.detach()) / std
    assert distribution.log_std.grad is not None
    torch.testing.assert_close(mean.grad, z / std, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(distribution.log_std.grad, (z**2 - 1).sum(0) + 2 * 64, rtol=1e-4, atol=1e-3)


def test_gaussian_samples_have_its_mean_and_deviation() -> None:
    distribution = gaussian()
    mean = torch.tensor([[1.0, -2.0, 0.5]]).expand(50_000, -1)
    action, _ = distribution.sample(mean, generator=torch.Generator().manual_seed(14))
    std = distribution.log_std.detach().exp()
    error = 5 / math.sqrt(50_000)
    assert ((action.mean(0) - mean[0]).abs() < error * std).all()
    assert ((action.std(0) / std - 1).abs() < error).all()
    assert torch.equal(distribution.sample(mean, deterministic=True)[0], mean)


def test_distribution_follows_the_space() -> None:
    box = spaces.Box(-1, 1, (4,))
    one = MLPPolicy(box, spaces.MultiDiscrete([3, 2])).distribution
    other = MLPPolicy(box, box, log_std_init=-1.0).distribution
    assert isinstance(one, Categorical)
    assert one.n_outputs == 5
    assert isinstance(other, DiagonalGaussian)
    assert other.log_std.tolist() == [-1.0] * 4
