"""How much time goes into checkpoints, by a clock that the tests set."""

from __future__ import annotations

import pytest
import torch

from textrlhf.records import saving_budget, time_budget
from textrlhf.records.saving_budget import LONGEST, SHARE, SPEED, SavingBudget, size_of


class Clock:
    """In place of the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time_budget, "time", clock)
    monkeypatch.setattr(saving_budget, "ALLOWANCE", 1.0)
    return clock


def run_for(clock: Clock, seconds: float, cost: float, size: int, cuts: int) -> list[float]:
    """When a run is saved that is cut so often and needs `cost` seconds a save."""
    budget, saved = SavingBudget(), []
    for _ in range(cuts):
        clock.now += seconds / cuts
        if budget.affords(size):
            with budget.saving():
                clock.now += cost
            saved.append(clock.now)
    return saved


@pytest.mark.parametrize("cost", [0.01, 0.5, 3.0, 40.0])
@pytest.mark.parametrize("cuts", [10, 1000])
def test_saves_take_at_most_their_share(clock: Clock, cost: float, cuts: int) -> None:
    seconds = 2000.0
    saved = run_for(clock, seconds, cost, round(cost * SPEED), cuts)
    assert len(saved) * cost <= SHARE * clock.now
    assert len(saved) >= min(cuts, int(SHARE * seconds / cost) - 1)  # and not much less, if there are cuts for it


def test_the_size_stands_for_the_first_cost_and_is_then_measured(clock: Clock) -> None:
    budget, size = SavingBudget(), round(10 * SPEED)
    clock.now = 199.0
    assert not budget.affords(size)
    clock.now = 200.0
    assert budget.affords(size)
    with budget.saving():
        clock.now += 8.0
    clock.now = 16 / SHARE - 1
    assert not budget.affords(0)
    clock.now = 16 / SHARE
    assert budget.affords(size)


def test_short_runs_save_at_every_cut(clock: Clock) -> None:
    """A second in all is nothing to anyone: a control run of seconds can be killed and resumed as before."""
    assert len(run_for(clock, seconds=2.0, cost=0.02, size=100_000, cuts=10)) == 10


def test_nothing_is_lost_for_longer_than_stated(clock: Clock) -> None:
    budget = SavingBudget()
    clock.now = LONGEST - 1
    assert not budget.overdue()
    clock.now = LONGEST
    assert budget.overdue()
    with budget.saving():
        clock.now += 300.0
    clock.now += LONGEST - 1
    assert not budget.overdue()
    clock.now += 1
    assert budget.overdue()
    assert not budget.affords(0)


def test_size_counts_views_once_for_what_they_show() -> None:
    flat = torch.zeros(10)
    assert size_of({"model": {"a": flat[:4], "b": flat[4:].view(2, 3)}, "optimizer": {"mean": flat.double()}}) == 120
