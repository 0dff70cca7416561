"""The first thing a visitor types must work."""

import re
import shlex
from pathlib import Path

import pytest

from textrlhf.envs.text.tasks import make_task
from textrlhf.language import load
from textrlhf.pipeline.commands.main import main
from textrlhf.pipeline.simulated_preferences import simulated_rankings
from textrlhf.reward_models import write_judgements

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_a_text_environment_in_ten_lines(capsys):
    block = next(block for block in re.findall(r"```python\n(.*?)```", README, re.S) if 'render_mode="human"' in block)
    assert len(block.splitlines()) <= 10
    exec(block, {})
    assert re.search(r"score.*gold.*grammatical.*kl", capsys.readouterr().out)


def test_control(tmp_path, monkeypatch):
    """With a twentieth of the steps: what the page shows is in order, not how much is learned."""
    monkeypatch.chdir(tmp_path)
    section = README.split("## Control")[1].split("\n## ")[0]
    (block,) = re.findall(r"```python\n(.*?)```", section, re.S)
    exec(block.replace("100_000", "5_000"), {})
    assert (tmp_path / "runs" / "cartpole" / "curves.png").is_file()


def test_it_is_short():
    assert len(README.split()) <= 950


@pytest.mark.slow
def test_a_reward_model_from_your_own_comparisons(tmp_path, monkeypatch, capsys):
    task, lm = make_task("reviews", False), load("reviews")
    prompts = [prompt.text for prompt in task.prompts("train")[:64]]
    monkeypatch.chdir(tmp_path)
    write_judgements("mine.jsonl", simulated_rankings(task, lm, prompts, 64))
    section = README.split("## A reward model from your own comparisons")[1].split("\n## ")[0]
    for line in re.findall(r"```\n(.*?)```", section, re.S)[0].splitlines():
        main(shlex.split(line, comments=True)[1:])
    names = {}
    for block in re.findall(r"```python\n(.*?)```", section, re.S):
        exec(block, names)
    assert names["env"].unwrapped.engine.scorer.reward_function.name == str(
        tmp_path / "runs" / "my-reward-model" / "reward_model"
    )
    assert "accuracy" in capsys.readouterr().out
    assert (tmp_path / "runs" / "my-reward-model" / "report.html").is_file()
