"""The report of an evaluation: one HTML page, `report.html`, with `evaluation.json` and `reliability.png` beside it.

The page is self-contained, runs no script, and shows no number that `evaluation.json` does not have.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ...records.folder import write_file
from ...records.page import PAGE
from . import charts
from .metrics import Calibration
from .results import Evaluation, Mistake, as_plain

Explain = Callable[[str, str], Sequence[tuple[str, float]]]
Contributions = Sequence[tuple[str, float]]  # (token, what it adds to the score)

MEANINGS = {  # name: (format, description)
    "comparisons": (",.0f", "pairs and rankings; each counts once"),
    "pairs": (",.0f", "pairs in them: a ranking of k has k·(k − 1)/2"),
    "accuracy": ("%", "how often the reward model prefers what people preferred; chance is 50 %"),
    "accuracy_error": ("%", "standard error of the accuracy: differences below two of them mean little"),
    "accuracy_if_longer_wins": ("%", "how often people preferred the longer text: the accuracy of counting words"),
    "prefers_longer": ("%", "how often the reward model does; far above the line before, it is biased towards length"),
    "mean_margin": (".3f", "how far the preferred text scores above the other, on average"),
    "log_loss": (".3f", "−log P(what people preferred), in nats; chance is 0.693"),
    "ece": (".3f", "expected calibration error: how far its confidence is from how often it is right"),
    "ece_by_chance": (".3f", "what that error would be for perfect confidence, given so few cases"),
    "labels": (",.0f", "texts labelled good or bad"),
    "good_share": ("%", "share of them that people labelled good"),
    "auroc": (".3f", "how often a good text scores above a bad one; chance is 0.5"),
    "label_accuracy": ("%", "how often the more probable label is the one people gave"),
    "label_log_loss": (".3f", "−log P(label), in nats"),
    "label_ece": (".3f", "expected calibration error of the probability that a text is good"),
    "label_ece_by_chance": (".3f", "what that error would be for perfect probabilities, given so few cases"),
    "ratings": (",.0f", "texts rated on a scale"),
    "spearman": (".3f", "rank correlation of scores and ratings: 1 is the same order, 0 none"),
    "pearson": (".3f", "linear correlation of scores and ratings"),
}


def figures(evaluation: Evaluation, names: Collection[str] | None = None) -> list[tuple[str, str, str]]:
    """(name, formatted number, description) of an evaluation's metrics, of all or of those named."""
    found = []
    for name, value in evaluation.numbers().items():
        form, meaning = MEANINGS[name]
        form = ".3g" if form == ".3f" and abs(value) >= 1e6 else form
        shown = _percent(value) if form == "%" else format(value, form).replace("-", "−")
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
    shades = [_contributions(mistake, explain) for mistake in evaluation.hardest]
    rows = [{name: row[name] for name in ("step", "loss", "heldout_loss") if name in row} for row in curves or ()]
    plain = {"title": title, "summary": summary(evaluation), "facts": dict(facts), **evaluation.as_json()}
    for mistake, shade in zip(plain["hardest"], shades, strict=True):
        mistake["contributions"] = as_plain(shade)
    plain["curves"] = as_plain(rows)
    write_file(folder / "evaluation.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")
    picture = None
    if evaluation.comparisons is not None:
        picture = _reliability_of_pairs(evaluation.comparisons.calibration)
    elif evaluation.labels is not None:
        picture = _reliability_of_labels(evaluation.labels.calibration)
    if picture is None:
        (folder / "reliability.png").unlink(missing_ok=True)  # of an earlier report
    else:
        write_file(folder / "reliability.png", charts.png(picture, 3.6))
    body = [
        f"<header><h1>{escape(title)}</h1>",
        *(f'<p class="lead">{_prose(sentence)}</p>' for sentence in plain["summary"]),
        "</header>",
        _facts(facts),
        _numbers(evaluation),
        _pictures(evaluation, rows),
        _mistakes(evaluation, shades),
    ]
    above, _, below = PAGE.partition("{body}")
    page = above.replace("{title}", escape(title)) + "\n".join(body) + below
    write_file(
        folder / "report.html", page.encode("utf-8", "backslashreplace")
    )  # a text may have half a surrogate pair
    return folder / "report.html"


def summary(evaluation: Evaluation) -> list[str]:
    """The result in one sentence for each kind of judgement."""
    found = []
    if (c := evaluation.comparisons) is not None:
        found.append(
            f"On {_held_out(c.rankings, 'comparison')} the accuracy is {_percent(c.accuracy)}; always preferring the "
            f"longer text would have {_percent(c.accuracy_if_longer_wins)}."
        )
    if (of := evaluation.labels) is not None:
        auroc = f" and the AUROC {of.auroc:.3f}" if math.isfinite(of.auroc) else ""
        found.append(f"On {_held_out(of.labels, 'label')} the accuracy is {_percent(of.accuracy)}{auroc}.")
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


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in facts.items())
    return f'<section><h2>The reward model</h2><table class="facts">{rows}</table></section>' if facts else ""


def _numbers(evaluation: Evaluation) -> str:
    rows = [
        f'<tr><th>{name}</th><td class="number">{shown}</td><td>{_prose(meaning)}</td></tr>'
        for name, shown, meaning in figures(evaluation)
    ]
    scale = "Scores are raw log-odds: σ of a difference is P(first is preferred), label noise aside."
    if evaluation.scale != "raw":
        scale = "Without raw scores, scores are read as log-odds: else log-loss and calibration mean nothing."
    table = f'<table class="numbers">{"".join(rows)}</table>'
    return f'<section><h2>Numbers</h2>{table}<p class="note">{scale}</p></section>'


def _pictures(evaluation: Evaluation, rows: Sequence[Mapping[str, Any]]) -> str:
    tall = 3.6
    shown: list[tuple[str, str, str, charts.Draw, float]] = []  # name, heading, note, chart, height
    calibrated = "The dashed line is perfect calibration; two of three points of such a model lie on grey."
    if (c := evaluation.comparisons) is not None:
        by_margin = charts.accuracy_bars(c.by_margin, "difference of the scores")
        by_length = charts.accuracy_bars(c.by_length, "words of chosen minus rejected", signed=True)
        histogram = charts.histogram(c.histogram, "chosen", "rejected")
        note = "Less overlap is better; only texts with the same prompt are compared."
        bias = "Quintiles of the pairs, by how much longer the chosen text is. Low bars on the left: a bias to length."
        shown += [
            ("reliability", "Calibration of preferences", calibrated, _reliability_of_pairs(c.calibration), tall),
            ("scores", "Scores of chosen and rejected", note, histogram, tall),
            (
                "margin",
                "Accuracy by margin",
                "Quintiles of the pairs, by the difference of the scores.",
                by_margin,
                2.7,
            ),
            ("length", "Accuracy by length", bias, by_length, 2.7),
        ]
    if (of := evaluation.labels) is not None:
        histogram = charts.histogram(of.histogram, "good", "bad")
        shown += [
            ("labels", "Calibration of labels", calibrated, _reliability_of_labels(of.calibration), tall),
            ("label_scores", "Scores of good and bad", "Less overlap is better.", histogram, tall),
        ]
    if (rated := evaluation.ratings) is not None:
        note = "Median and quartiles of the scores of each rating."
        shown.append(("ratings", "Scores by rating", note, charts.by_rating(rated.by_rating), 2.7))
    if any(charts.curve(rows, name) for name in ("loss", "heldout_loss")):
        shown.append(("curve", "Learning curve", "The loss during training.", charts.learning_curve(rows), 2.7))
    figures = [
        f"<figure><h3>{escape(heading)}</h3>"
        f'<div class="chart" role="img" aria-label="{escape(heading)}">{charts.svg(name, draw, height)}</div>'
        f"<figcaption>{escape(note)}</figcaption></figure>"
        for name, heading, note, draw, height in shown
    ]
    return f'<section><h2>Charts</h2><div class="figures">{"".join(figures)}</div></section>'


def _reliability_of_pairs(of: Calibration) -> charts.Draw:
    return charts.reliability(of, "confidence of the reward model", "people agree")


def _reliability_of_labels(of: Calibration) -> charts.Draw:
    return charts.reliability(of, "predicted probability of good", "labelled good")


def _contributions(mistake: Mistake, explain: Explain | None) -> dict[str, Contributions]:
    found: dict[str, Contributions] = {}
    for side, text in (("chosen", mistake.chosen), ("rejected", mistake.rejected)):
        if explain is not None and text is not None and (tokens := explain(mistake.prompt, text)):
            found[side] = [(str(token), float(value)) for token, value in tokens]
    return found


def _mistakes(evaluation: Evaluation, shades: Sequence[Mapping[str, Contributions]]) -> str:
    headings = {"comparison": "The hardest comparisons", "label": "The hardest labels", "rating": "The hardest ratings"}
    parts = []
    for kind, heading in headings.items():
        cards = [_card(m, shade) for m, shade in zip(evaluation.hardest, shades, strict=True) if m.kind == kind]
        if cards:
            parts.append(f"<section><h2>{heading}</h2>{_LEGEND if any(shades) else ''}{''.join(cards)}</section>")
    return "".join(parts)


_LEGEND = (
    '<p class="note">Tokens are shaded by what they <span class="plus" style="--w:.8">add to</span> or '
    '<span class="minus" style="--w:.8">take from</span> the score, relative to the largest in the card.</p>'
)


def _card(mistake: Mistake, shade: Mapping[str, Contributions]) -> str:
    largest = max((abs(value) for tokens in shade.values() for _, value in tokens), default=0.0)
    sides = []
    for side in ("chosen", "rejected"):
        text, score = getattr(mistake, side), getattr(mistake, f"{side}_score")
        if text is not None:
            name = side if mistake.kind == "comparison" else "text"
            shown = _shaded(text, shade.get(side, ()), largest)
            number = format(score, "+.2f" if abs(score) < 1e5 else "+.2e").replace("-", "−")
            sides.append(f'<div class="side"><h4>{name} <b>{number}</b></h4><div class="text">{shown}</div></div>')
    line = mistake.summary[:1].upper() + mistake.summary[1:] + "."
    place = f' <span class="place">{escape(mistake.place)}</span>' if mistake.place else ""
    return (
        f'<article><p class="summary">{_prose(line)}{place}</p><div class="text prompt">{escape(mistake.prompt)}</div>'
        f'<div class="sides">{"".join(sides)}</div></article>'
    )


def _shaded(text: str, tokens: Contributions, largest: float) -> str:
    pieces = []
    for piece, value in aligned(text.strip(), tokens):
        if value is None or not largest or not piece.strip():
            pieces.append(escape(piece))
        else:
            sign, weight = ("plus" if value > 0 else "minus"), abs(value) / largest
            pieces.append(f'<span class="{sign}" style="--w:{weight:.2f}" title="{value:+.3f}">{escape(piece)}</span>')
    return "".join(pieces)


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


def _prose(text: str) -> str:
    """Escape our own sentences, without line breaks before a %."""
    return escape(text).replace(" %", "&nbsp;%")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
