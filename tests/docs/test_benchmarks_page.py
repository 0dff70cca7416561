"""The benchmarks page says what the reference files say."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"


def test_the_page_is_the_one_its_script_makes() -> None:
    made = runpy.run_path(str(ROOT / "benchmarks" / "make_page.py"))["page"]()
    assert PAGE.read_text(encoding="utf-8") == made, "run python benchmarks/make_page.py"


@pytest.mark.parametrize("target", [r"\]\(([^)#]+)\)", r'(?:src|srcset)="([^"]+)"'])
def test_links_and_pictures_lead_somewhere(target: str) -> None:
    found = re.findall(target, PAGE.read_text(encoding="utf-8"))
    assert found
    assert [path for path in found if not (PAGE.parent / path).exists()] == []
