"""The first thing a visitor types must work."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

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
