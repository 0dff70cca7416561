"""The example that shows the contract learns, and stays short enough to read."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "reinforce_by_hand.py"


def test_it_stays_under_a_hundred_lines():
    assert len(EXAMPLE.read_text().splitlines()) < 100


@pytest.mark.slow
def test_it_raises_gold_by_learning_from_the_judge(monkeypatch, capsys):
    """Guards against a contract on which a plain learner cannot learn: a sign, an order, a slot mixed up."""
    spec = importlib.util.spec_from_file_location("reinforce_by_hand", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setattr(example, "UPDATES", 15)
    before, after = example.main()
    assert after > before + 0.3
    assert "after 15 updates" in capsys.readouterr().out
