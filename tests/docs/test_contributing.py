"""docs/contributing.md: its examples run, each in about ten lines."""

import re
from pathlib import Path

import pytest

import textrlhf

ROOT = Path(textrlhf.__file__).parent
PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def namespace():
    """What the page's examples define, run one after another."""
    names = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(compile(block, "contributing.md", "exec"), names)
    return names


def test_each_example_runs(namespace):
    assert namespace["VanillaPG"]("CartPole-v1", seed=1).config.n_steps == 256
    agent = namespace["PPO"]("CartPole-v1", policy=namespace["SharedPolicy"], seed=1)
    assert agent.policy.actor.layers[0].in_features == agent.policy.shared.out_features == 32
    assert namespace["BonusPPO"]("CartPole-v1", seed=1).config.bonus == 0.1
    assert namespace["agent"].episodes.metrics()["rollout/return"] > 0.6  # half of the signs by chance
    assert namespace["Shout"]().measure([None], ["a!b!"]) == {"gold": [2.0]}
    assert namespace["env"].num_envs == 8


def test_each_example_is_short():
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        code = [line for line in block.splitlines() if line.strip() and not line.startswith(("import", "from"))]
        assert len(code) <= 14, code[0]
