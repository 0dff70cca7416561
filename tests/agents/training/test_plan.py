"""Where a run is cut: the same places, interrupted or not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textrlhf.agents.training.plan import Plan


def cuts(plan: Plan, stride: int, begin: int | None = None) -> list[int]:
    """The steps at which an agent that takes `stride` steps an update is cut."""
    found, now = [], plan.start if begin is None else begin
    while now < plan.end:
        before, now = now, now + stride
        if plan.cut_due(before, now):
            found.append(now)
    return found


def test_ten_cuts_at_equal_distances() -> None:
    assert cuts(Plan.of(0, 1000, 100), 1) == list(range(100, 1001, 100))
    assert cuts(Plan.of(550, 1000, 100), 1) == list(range(650, 1551, 100))  # a second learn()
    assert cuts(Plan.of(0, 1000, 100), 256) == [256, 512, 768, 1024]  # one at most an update
    assert cuts(Plan.of(0, 1000, 300), 100) == [300, 600, 900, 1000]  # and at the end


@given(
    start=st.integers(0, 10_000),
    total=st.integers(1, 3000),
    every=st.integers(1, 4000),
    stride=st.integers(1, 700),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_cuts_at_multiples_and_at_the_end(start: int, total: int, every: int, stride: int) -> None:
    plan = Plan.of(start, total, every)
    found = cuts(plan, stride)
    marks = {start + k * plan.every for k in range(1, total // plan.every + 1)} | {plan.end}
    landed = {start + -(-(mark - start) // stride) * stride for mark in marks}
    assert found == sorted(landed)  # several marks in one stride are one cut, marks past the end none
    assert found[-1] == start + -(-total // stride) * stride


@given(total=st.integers(1, 3000), every=st.integers(1, 700), stride=st.integers(1, 300), data=st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_cuts_do_not_depend_on_where_a_run_resumes(total: int, every: int, stride: int, data: st.DataObject) -> None:
    """Counting from the checkpoint instead of from the plan's start would shift every later cut."""
    plan = Plan.of(7, total, every)
    whole = cuts(plan, stride)
    killed_after = data.draw(st.sampled_from(range(len(whole))))
    assert cuts(plan, stride, begin=whole[killed_after]) == whole[killed_after + 1 :]


def test_remaining_falls_from_one_to_zero() -> None:
    plan = Plan.of(200, 1000, 100)
    assert [plan.remaining(step) for step in (200, 450, 700, 1200, 1300)] == [1.0, 0.75, 0.5, 0.0, 0.0]


@pytest.mark.parametrize("total", [0, -5])
def test_total_timesteps_must_be_positive(total: int) -> None:
    with pytest.raises(ValueError, match=f"total_timesteps={total}: accepted is at least 1"):
        Plan.of(0, total, 10)
