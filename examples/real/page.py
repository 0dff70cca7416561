"""The page of results: one HTML file without anything fetched from elsewhere."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment

from textrlhf.records.folder import write_file

MEASURES = {
    "score": "reward model (ratings A), in standard deviations of the texts before",
    "second": "second reward model (ratings B of other texts)",
    "rules": "rule-based scorer (VADER), −1 to 1",
    "kl": "KL from the model before, nats a text",
    "perplexity": "perplexity under the untouched SmolLM2",
    "distinct-2": "distinct-2",
    "tokens": "tokens a text",
    "eos": "share that ends by itself",
}


def write_page(folder: Path, results: dict[str, Any]) -> Path:
    """Write `results.html` and return its path."""
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (Path(__file__).parent / "page.html.j2").read_text()
    )
    rows = [
        {"name": words, "before": _shown(results["before"][name]), "after": _shown(results["after"][name])}
        for name, words in MEASURES.items()
    ]
    pairs = zip(results["texts"]["before"], results["texts"]["after"], strict=True)
    curves = folder / "ppo" / "curves.png"
    picture = base64.b64encode(curves.read_bytes()).decode() if curves.exists() else None
    page = template.render(rows=rows, pairs=list(pairs)[:20], results=results, picture=picture)
    write_file(folder / "results.html", page)
    return folder / "results.html"


def _shown(measured: list[float]) -> str:
    value, *interval = (f"{number:.3g}" for number in measured)
    return f"{value} ({' to '.join(interval)})" if interval else value
