"""The learning rate by a model's size."""

from types import SimpleNamespace

import pytest

from textrlhf.language.learning_rate import fine_tuning_rate


@pytest.mark.parametrize(
    ("size", "low", "high"), [(1e5, 1e-3, 1e-3), (1e6, 1e-3, 1e-3), (135e6, 1e-5, 2e-5), (7e9, 1e-5, 1e-5)]
)
def test_learning_rate_by_size(size, low, high):
    """A model of 135M weights was trained with 3.8e-5, and by PPO with 3e-4."""
    weights = SimpleNamespace(numel=lambda: int(size))
    adapter = SimpleNamespace(numel=lambda: 10**9)
    model = SimpleNamespace(named_parameters=lambda: [("weight", weights), ("layer.lora_A.weight", adapter)])
    full = fine_tuning_rate(model)
    assert low <= full <= high * 1.001
    assert fine_tuning_rate(model, adapters=True) == min(10 * full, 1e-3)
