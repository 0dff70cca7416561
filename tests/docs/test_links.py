"""No page names a file that is not there."""

import re
from pathlib import Path

import pytest

import textrlhf

ROOT = Path(textrlhf.__file__).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)|(?:src|srcset)=\"([^\"]+)")
FOLDERS = "agents|envs|reward_models|language|records|pipeline|tests|docs|benchmarks|examples"
NAMED = re.compile(rf"`((?:{FOLDERS})/[\w/.-]*\.\w+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_named_files_are_there(page):
    text = page.read_text(encoding="utf-8")
    links = [page.parent / (one or other) for one, other in LINK.findall(text)]
    missing = [str(path) for path in [*links, *(ROOT / name for name in NAMED.findall(text))] if not path.exists()]
    assert missing == []
