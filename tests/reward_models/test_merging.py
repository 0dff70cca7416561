"""One judge from several: the mean of their weights, and nothing else."""

import numpy as np
import pytest
import torch

from textrlhf.reward_models import RewardModel, merged
from tiny_models import tiny_lm

PROMPTS, RESPONSES = ["a2 a3", "a4"], ["a5 a6", "a7"]


def judge(seed, head="tokens", family="gpt2"):
    """As if trained: weights of its own, near those it began with."""
    made = RewardModel.new(tiny_lm(family), head=head)
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in made.network.parameters():
            weights.add_(0.1 * torch.randn(weights.shape, generator=noise))
    return made


@pytest.mark.parametrize("head", ["last", "tokens"])
def test_its_weights_are_the_mean(head):
    judges = [judge(seed, head) for seed in range(3)]
    before = [made.raw(PROMPTS, RESPONSES) for made in judges]
    one = merged(judges)
    for name, weights in one.network.state_dict().items():
        expected = torch.stack([made.network.state_dict()[name].double() for made in judges]).mean(0)
        torch.testing.assert_close(weights.double(), expected, atol=1e-6, rtol=1e-6)
    for made, scores in zip(judges, before, strict=True):
        assert np.array_equal(made.raw(PROMPTS, RESPONSES), scores)  # they are as they were
    assert one.name is None


def test_where_the_score_is_linear_it_says_what_the_ensemble_says():
    """With one trunk and one gate, scores are linear in the token values."""
    judges = [RewardModel.new(tiny_lm()) for _ in range(3)]
    for seed, made in enumerate(judges):
        torch.nn.init.normal_(made.network.values.values, generator=torch.Generator().manual_seed(seed))
    mean = np.mean([made.raw(PROMPTS, RESPONSES) for made in judges], 0)
    assert np.allclose(merged(judges).raw(PROMPTS, RESPONSES), mean, atol=1e-5)


def test_scales_are_not_averaged():
    judges = [judge(seed).normalise(["a2"] * 8, [f"a{i}" for i in range(2, 10)]) for seed in range(2)]
    one = merged(judges)
    assert (one.config.shift, one.config.scale) == (0.0, 1.0)


def test_only_judges_of_one_kind():
    with pytest.raises(ValueError, match="judges is empty"):
        merged([])
    for other in (judge(1, "last"), judge(1, family="llama")):
        with pytest.raises(ValueError, match=r"judges\[1\] is .* of another kind"):
            merged([judge(0), other])
