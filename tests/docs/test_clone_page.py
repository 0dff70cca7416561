"""The page on cloning: what it shows runs and prints what it says, and it names every metric there is."""

import re
import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

import textrlhf
from clone_envs import some_episodes
from textrlhf.agents import Clone
from textrlhf.pipeline.commands.main import main
from textrlhf.records.progress import Stopwatch

PAGE = (Path(textrlhf.__file__).parent / "docs" / "agents" / "clone.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_code_of_the_page_runs_and_prints_what_stands_behind_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    blocks = re.findall(r"^```(python|sh)\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", PAGE, re.M | re.S)
    assert [kind for kind, *_ in blocks].count("sh") == 1
    for kind, code, output in blocks:
        printed = StringIO()
        with redirect_stdout(printed):
            if kind == "python":
                exec(compile(code, "clone.md", "exec"), names)
            else:
                for line in code.splitlines():
                    main([*shlex.split(line)[1:], "--evaluation-episodes", "2"])
        if output:
            assert printed.getvalue().strip() == output.strip(), code
    assert (tmp_path / "runs" / "sft" / "model" / "model.safetensors").is_file()


def test_the_table_of_metrics_is_whole_and_true():
    listed = set(re.findall(r"`((?:train|heldout)/\w+)`", PAGE.split("## Metrics")[1]))
    agents = [
        Clone(env, demonstrations=some_episodes(space=space), seed=0, heldout=0.5)
        for env, space in (("CartPole-v1", "discrete"), ("Pendulum-v1", "box"))
    ]
    assert listed == {name for agent in agents for name in agent.advance(1.0, Stopwatch())}


def test_links_and_files_it_names_are_there():
    for name in re.findall(r"`(agents/[\w/]+\.py)`", PAGE):
        assert (Path(textrlhf.__file__).parent / name).is_file(), name
