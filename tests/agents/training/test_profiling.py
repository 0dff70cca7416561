"""The profile of an update: its times add up, and it changes nothing."""

from __future__ import annotations

import pytest
import torch

from text_learner import batch, learner
from textrlhf.agents.training.profiling import KINDS, LAP, OPTIMISER, OTHER, PYTHON, profile, seconds_by_kind
from textrlhf.records.progress import Stopwatch


def event(name: str, start: float, end: float, category: str = "cpu_op", thread: int = 1) -> dict:
    return {"ph": "X", "cat": category, "name": name, "ts": start, "dur": end - start, "tid": thread}


def test_each_moment_counts_once() -> None:
    """Operations call others: a product within a linear layer counts as a product, all of attention as attention."""
    events = [
        event(f"{LAP}start", 100, 101, "user_annotation"),
        event("aten::linear", 110, 150),
        event("aten::addmm", 120, 145),
        event("aten::copy_", 121, 131),  # is part of the product
        event("aten::scaled_dot_product_attention", 150, 180),
        event("aten::_scaled_dot_product_flash_attention_for_cpu", 155, 175),
        event("aten::mm", 160, 170),
        event(f"{LAP}acting", 200, 201, "user_annotation"),
        event("_Softmax", 210, 220),
        event("aten::logsumexp", 212, 215),
        event("autograd::engine::evaluate_function: _SoftmaxBackward", 220, 225),
        event(OPTIMISER, 230, 250, "user_annotation"),
        event("aten::_fused_adam_", 231, 249),
        event("aten::mm", 230, 290, thread=2),  # of another thread, beside the first
        event(f"{LAP}update", 300, 301, "user_annotation"),
        event("aten::mm", 310, 320),  # after the last lap
    ]
    found = {
        part: {k: round(1e6 * s) for k, s in kinds.items() if s} for part, kinds in seconds_by_kind(events).items()
    }
    assert found == {
        "acting": {"matrix products": 25, "attention": 20, OTHER: 25, PYTHON: 30},
        "update": {"softmax": 15, "optimiser": 20, PYTHON: 65},
    }


@pytest.mark.slow
def test_profile_of_a_language_model_changes_nothing() -> None:
    profiled, other = learner(batch()), learner(batch())
    found = profile(profiled, updates=2, warmup=1)
    for _ in range(3):
        other.advance(1.0, Stopwatch())
    assert torch.equal(profiled.optimizer.flat, other.optimizer.flat)
    assert "step" not in vars(profiled.optimizer)  # the mark is gone
    assert (found.updates, found.steps) == (2, 2 * 7 * 4)
    assert found.seconds.keys() == {"acting", "environment", "values", "update", "other"}
    assert min(s for kinds in found.seconds.values() for s in kinds.values()) > -1e-9
    assert found.share("update", *KINDS, OTHER, PYTHON) == pytest.approx(1)
    for kind in KINDS:  # a kind whose operations were renamed would be zero
        assert found.share("update", kind) > 0, kind
    assert found.share("acting", "optimiser") == 0
