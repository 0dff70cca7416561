"""The first thing a visitor types must work."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from textrlhf.envs.text.tasks import make_task
from textrlhf.language import load
from textrlhf.pipeline.commands.main import main
from textrlhf.pipeline.simulated import simulated_rankings
from textrlhf.reward_models import write_judgements

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_text_world_in_ten_lines(capsys):
    block = next(block for block in re.findall(r"```python\n(.*?)```", README, re.S) if 'render_mode="human"' in block)
    assert len(block.splitlines()) <= 10
    exec(block, {})
    assert re.search(r"score.*gold.*grammatical.*kl", capsys.readouterr().out)


def test_the_line_of_a_shell():
    line = next(line for line in README.splitlines() if line.startswith('python -c "'))
    _, *arguments = shlex.split(line)
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "(eos, " in done.stdout


def test_a_judge_from_your_own_comparisons(tmp_path, monkeypatch, capsys):
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
    assert names["env"].unwrapped.engine.scorer.reward_model.name == str(
        tmp_path / "runs" / "my-reward-model" / "reward_model"
    )
    assert "accuracy" in capsys.readouterr().out
    assert (tmp_path / "runs" / "my-reward-model" / "report.html").is_file()
