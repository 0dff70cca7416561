"""Sample texts of a run: how many there are depends on the time they take, and changes nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from text_learner import N, batch, learner
from textrlhf.agents.training import samples
from textrlhf.records import time_budget
from textrlhf.records.samples import read_samples

pytestmark = pytest.mark.slow

UPDATES = 10


class Clock:
    """In place of the module `time`: each look at it takes a second, and each sample `cost` more."""

    now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


@pytest.mark.parametrize(("cost", "steps"), [(0.0, range(UPDATES + 1)), (1000.0, [0, UPDATES])])
def test_slow_samples_are_few(cost: float, steps: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first and the last ones are always written; what is learned is the same."""
    clock, play = Clock(), samples.Samples._play

    def slow(self: samples.Samples, env: object) -> None:
        clock.now += cost
        play(self, env)

    monkeypatch.setattr(time_budget, "time", clock)
    monkeypatch.setattr(samples, "ALLOWANCE", 100.0)
    monkeypatch.setattr(samples.Samples, "_play", slow)
    monkeypatch.setattr("textrlhf.agents.training.loop.draw_curves", lambda *args: None)
    every = 3 * N
    agent = learner(batch(), n_steps=3).learn(UPDATES * every, run=tmp_path, progress=False)
    assert sorted({row["step"] for row in read_samples(tmp_path / "samples.jsonl")}) == [every * i for i in steps]
    monkeypatch.setattr(samples.Samples, "_play", lambda *args: None)
    same = learner(batch(), n_steps=3).learn(UPDATES * every, run=tmp_path / "without", progress=False)
    assert torch.equal(agent.optimizer.flat, same.optimizer.flat)
