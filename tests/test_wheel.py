"""The wheel, installed where nothing else of the project is: an editable install hides packages and data left out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import textrlhf

ROOT = Path(textrlhf.__file__).parent
NOT_IN_WHEEL = {"runs", "tests", "benchmarks", "docs", "examples", "build"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The wheel's files in a folder of their own."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(
        ROOT, folder / "source", ignore=lambda at, names: [name for name in names if _left_out(Path(at, name))]
    )
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "source")]
    subprocess.run([*pip, *build], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    install = ["install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel)]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    return folder / "site"


def run(site: Path, *arguments: str) -> str:
    """Run Python with the wheel and the dependencies; -S leaves out the editable install."""
    path = os.pathsep.join([str(site), sysconfig.get_paths()["purelib"]])
    command = [sys.executable, "-S", *arguments]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, cwd=site, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_is_complete(site):
    packages = {path.parent.relative_to(ROOT) for path in ROOT.glob("*/**/__init__.py") if not _left_out(path)}
    assert packages
    assert [package for package in packages if not (site / "textrlhf" / package / "__init__.py").is_file()] == []
    data = [path.relative_to(ROOT) for path in ROOT.glob("*/**/*.j*") if not _left_out(path)]  # JSON and templates
    assert {path.suffix for path in data} == {".json", ".j2"}
    assert [path for path in data if not (site / "textrlhf" / path).is_file()] == []
    assert "ppo" in run(site, str(site / "bin" / "textrlhf"), "agents")
    code = "import gymnasium, textrlhf; env = gymnasium.make('TextRLHF-v0'); env.reset(seed=0); env.step(1); "
    assert str(site) in run(site, "-c", code + "print(textrlhf.__file__)")


def _left_out(path: Path) -> bool:
    top = path.relative_to(ROOT).parts[0]
    return top in NOT_IN_WHEEL or top.startswith(".") or path.name == "__pycache__"
