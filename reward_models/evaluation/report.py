"""The report of an evaluation: one HTML page, `report.html`, with `evaluation.json` and `reliability.png` beside it.

The page is self-contained, runs no script, and shows no number that `evaluation.json` does not have.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Template

from ...records.folder import write_file
from . import charts
from .results import Evaluation, as_plain

Explain = Callable[[str, str], Sequence[tuple[str, float]]]
Contributions = Sequence[tuple[str, float]]  # (token, what it adds to the score)

HERE = Path(__file__).parent
MEANINGS: dict[str, tuple[str, str]] = json.loads((HERE / "meanings.json").read_text(encoding="utf-8"))
"""The format and the description of each number of an evaluation."""


def figures(evaluation: Evaluation, names: Collection[str] | None = None) -> list[tuple[str, str, str]]:
    """(name, formatted number, description) of an evaluation's metrics, of all or of those named.

    The ends of an interval are in the description of its metric.
    """
    found, numbers = [], evaluation.numbers()
    for name, value in numbers.items():
        if name.endswith(("_low", "_high")):
            continue
        form, meaning = MEANINGS[name]
        form = ".3g" if form == ".3f" and abs(value) >= 1e6 else form
        shown = _percent(value) if form == "%" else format(value, form).replace("-", "−")
        if f"{name}_low" in numbers:
            meaning = f"{meaning}; {_interval(numbers[f'{name}_low'], numbers[f'{name}_high'])}"
        if names is None or name in names:
            found.append((name, shown, meaning))
    return found


def write_report(
    folder: str | os.PathLike[str],
    evaluation: Evaluation,
    *,
    title: str,
    facts: Mapping[str, str],
    curves: Sequence[Mapping[str, Any]] | None = None,
    explain: Explain | None = None,
) -> Path:
    """Write the report into a folder and return the page's path.

    `facts` are the lines of the table about the reward model. `curves` are rows of `metrics.jsonl` ("step", "loss",
    "heldout_loss"). `explain(prompt, response)` gives what each token adds to the score, by which texts are shaded.
    """
    folder = Path(folder)
    rows = [{name: row[name] for name in ("step", "loss", "heldout_loss") if name in row} for row in curves or ()]
    plain = {"title": title, "summary": summary(evaluation), "facts": dict(facts), **evaluation.as_json()}
    for mistake in plain["hardest"]:
        mistake["contributions"] = _contributions(mistake, explain)
    plain["curves"] = as_plain(rows)
    write_file(folder / "evaluation.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")
    pictures = _pictures(evaluation, plain["curves"])
    if calibration := pictures.get("reliability") or pictures.get("labels"):
        write_file(folder / "reliability.png", charts.png(calibration))
    else:
        (folder / "reliability.png").unlink(missing_ok=True)  # of an earlier report
    drawn = {name: charts.svg(name, draw) for name, draw in pictures.items()}
    template = Template((HERE / "report.html.j2").read_text("utf-8"), autoescape=True, trim_blocks=True)
    page = template.render(plain, figures=figures(evaluation), charts=drawn, aligned=aligned)
    # A text may have half a surrogate pair.
    write_file(folder / "report.html", page.encode("utf-8", "backslashreplace"))
    return folder / "report.html"


def summary(evaluation: Evaluation) -> list[str]:
    """The result in one sentence for each kind of judgement."""
    found = []
    if (c := evaluation.comparisons) is not None:
        ties = f" {c.ties:,} more are ties." if c.ties else ""
        decided = (
            f"On {_held_out(c.rankings, 'comparison')} the accuracy is {_percent(c.accuracy)} "
            f"({_interval(*c.accuracy_interval)}); always preferring the longer text would have "
            f"{_percent(c.accuracy_if_longer_wins)}."
        )
        found.append(f"{decided}{ties}" if c.rankings else f"All {c.ties:,} held-out comparisons are ties.")
    if (of := evaluation.labels) is not None:
        auroc = f" and the AUROC {of.auroc:.3f}" if math.isfinite(of.auroc) else ""
        interval = _interval(*of.accuracy_interval)
        found.append(f"On {_held_out(of.labels, 'label')} the accuracy is {_percent(of.accuracy)} ({interval}){auroc}.")
    if (rated := evaluation.ratings) is not None:
        correlation = (
            f"the rank correlation of scores and ratings is {rated.spearman:.2f}"
            if math.isfinite(rated.spearman)
            else "there is no rank correlation: all scores or all ratings are equal"
        )
        found.append(f"On {_held_out(rated.ratings, 'rating')} {correlation}.")
    return found


def _held_out(count: int, kind: str) -> str:
    return f"{count:,} held-out {kind}{'s' * (count != 1)}"


def _pictures(evaluation: Evaluation, rows: Sequence[Mapping[str, Any]]) -> dict[str, charts.Draw]:
    """The charts that apply, by the names that the page has for them."""
    found: dict[str, charts.Draw] = {}
    if (c := evaluation.comparisons) is not None:
        found["reliability"] = partial(
            charts.reliability, of=c.calibration, confidence="confidence of the reward model", right="people agree"
        )
        if c.rankings:
            found["scores"] = partial(charts.histogram, of=c.histogram, better="chosen", worse="rejected")
            found["margin"] = partial(charts.accuracy_bars, parts=c.by_margin, label="difference of the scores")
            words = "words of chosen minus rejected"
            found["length"] = partial(charts.accuracy_bars, parts=c.by_length, label=words, signed=True)
    if (of := evaluation.labels) is not None:
        found["labels"] = partial(
            charts.reliability, of=of.calibration, confidence="predicted probability of good", right="labelled good"
        )
        found["label_scores"] = partial(charts.histogram, of=of.histogram, better="good", worse="bad")
    if (rated := evaluation.ratings) is not None:
        found["ratings"] = partial(charts.by_rating, parts=rated.by_rating)
    if any(charts.curve(rows, name) for name in ("loss", "heldout_loss")):
        found["curve"] = partial(charts.learning_curve, rows=rows)
    return found


def _contributions(mistake: Mapping[str, Any], explain: Explain | None) -> dict[str, Any]:
    """What each token of the texts of a mistake adds to their scores."""
    texts = {side: mistake[side] for side in ("chosen", "rejected") if mistake[side] is not None}
    found = {side: explain(mistake["prompt"], text) for side, text in texts.items()} if explain else {}
    return {
        side: as_plain([(str(token), float(value)) for token, value in tokens])
        for side, tokens in found.items()
        if tokens
    }


def aligned(text: str, tokens: Contributions) -> list[tuple[str, float | None]]:
    """Split a text into its tokens with their values; what lies between them has no value.

    Where the tokenizer changed the text (lower-cased it, say), the tokens are shown in its place.
    """
    if not tokens:
        return [(text, None)]
    pieces: list[tuple[str, float | None]] = []
    at = 0
    for token, value in tokens:
        bare = token.strip() or token
        found = text.find(bare, at)
        if found < 0 or text[at:found].strip():  # a word was skipped: not the same text
            return [(token if token[:1].isspace() else f" {token}", value) for token, value in tokens]
        if found > at:
            pieces.append((text[at:found], None))
        pieces.append((bare, value))
        at = found + len(bare)
    return [*pieces, (text[at:], None)] if at < len(text) else pieces


def _interval(low: float, high: float) -> str:
    return f"95 % interval {_percent(low)} to {_percent(high)}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
