"""An evaluation as one page to read: `report.html`, with `evaluation.json` and `reliability.png` beside it.

The page needs nothing from elsewhere, runs no script, and shows no figure that `evaluation.json` does not hold.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ...records.folder import write_file
from ...records.page import PAGE
from . import charts
from .results import Evaluation, Mistake, as_plain

Explain = Callable[[str, str], Sequence[tuple[str, float]]]
Contributions = Sequence[tuple[str, float]]  # (token, what it adds to the score)

MEANINGS = {  # name: (how it is written, what it says)
    "comparisons": (",.0f", "pairs and rankings that were judged; each counts once"),
    "pairs": (",.0f", "pairs in them: a ranking of k has k·(k − 1)/2"),
    "accuracy": ("%", "how often the reward model prefers what people preferred; a guess has 50 %"),
    "accuracy_error": ("%", "one standard error of the accuracy: differences smaller than two of them mean little"),
    "accuracy_if_longer_wins": (
        "%",
        "how often people preferred the longer text: the accuracy of a reward model that counts words",
    ),
    "judge_prefers_longer": (
        "%",
        "how often the reward model prefers the longer text; far more often than people do (the line above): it "
        "loves length",
    ),
    "mean_margin": (".3f", "how far the preferred text scores above the other, on average"),
    "log_loss": (".3f", "surprise at what people preferred, in nats; a guess has 0.693"),
    "ece": (".3f", "expected calibration error: how far its confidence is from how often it is right"),
    "ece_by_chance": (".3f", "what that error would be for perfect confidence, from so few cases"),
    "labels": (",.0f", "texts labelled good or bad"),
    "good_share": ("%", "share of them that people called good"),
    "auroc": (".3f", "how often a good text scores above a bad one; a guess has 0.5"),
    "label_accuracy": ("%", "how often the more probable label is the one people gave"),
    "label_log_loss": (".3f", "surprise at the labels, in nats"),
    "label_ece": (".3f", "expected calibration error of the probability that a text is good"),
    "label_ece_by_chance": (".3f", "what that error would be for perfect probabilities, from so few cases"),
    "ratings": (",.0f", "texts rated on a scale"),
    "spearman": (".3f", "rank correlation of scores and ratings: 1 the same order, 0 none"),
    "pearson": (".3f", "linear correlation of scores and ratings"),
}


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

    `facts` is what a reader should know of how the reward model came about, by name. `curves` are rows of
    `metrics.jsonl` ("step", "loss", "heldout_loss"). `explain(prompt, response)` says what each token adds to the
    score; where it gives nothing, the text stands unshaded.
    """
    folder = Path(folder)
    shades = [_contributions(mistake, explain) for mistake in evaluation.hardest]
    rows = [{name: row[name] for name in ("step", "loss", "heldout_loss") if name in row} for row in curves or ()]
    plain = {"title": title, "summary": summary(evaluation), "facts": dict(facts), **evaluation.as_json()}
    for mistake, shade in zip(plain["hardest"], shades, strict=True):
        mistake["contributions"] = as_plain(shade)
    plain["curves"] = as_plain(rows)
    write_file(folder / "evaluation.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")
    picture = _reliability(evaluation)
    if picture is None:
        (folder / "reliability.png").unlink(missing_ok=True)  # an earlier report's
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
    write_file(folder / "report.html", page.encode("utf-8", "backslashreplace"))  # text may hold half a surrogate pair
    return folder / "report.html"


def summary(evaluation: Evaluation) -> list[str]:
    """The result in plain sentences, one for each kind of judgement."""
    found = []
    if (c := evaluation.comparisons) is not None:
        found.append(
            f"On {c.rankings:,} held-out comparison{'s' * (c.rankings != 1)} the reward model agrees with the people "
            "in "
            f"{_percent(c.accuracy)}; always preferring the longer text would in {_percent(c.accuracy_if_longer_wins)}."
        )
    if (of := evaluation.labels) is not None:
        told = f"calls {_percent(of.accuracy)} as the people did"
        if math.isfinite(of.auroc):
            told += f", and a good text scores above a bad one in {_percent(of.auroc)} of all cases"
        found.append(f"Of {of.labels:,} held-out text{'s' * (of.labels != 1)} labelled good or bad it {told}.")
    if (rated := evaluation.ratings) is not None:
        on = f"On {rated.ratings:,} held-out rating{'s' * (rated.ratings != 1)}"
        if math.isfinite(rated.spearman):
            found.append(f"{on} the rank correlation of scores and people is {rated.spearman:.2f}.")
        else:
            found.append(f"{on} nothing can be said of the order: scores or ratings are all the same.")
    return found


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th>{escape(str(k))}</th><td>{escape(str(v))}</td></tr>" for k, v in facts.items())
    return f'<section><h2>The reward model</h2><table class="facts">{rows}</table></section>' if facts else ""


def _numbers(evaluation: Evaluation) -> str:
    rows = []
    for name, value in evaluation.numbers().items():
        form, meaning = MEANINGS[name]
        form = ".3g" if form == ".3f" and abs(value) >= 1e6 else form
        shown = _percent(value) if form == "%" else format(value, form).replace("-", "−")
        rows.append(f'<tr><th>{name}</th><td class="number">{shown}</td><td>{_prose(meaning)}</td></tr>')
    scale = (
        "Scores are raw log-odds: among people who never slip, the better of two would be chosen with the logistic of "
        "their difference."
        if evaluation.scale == "raw"
        else "This reward model names no scale of its own. Its scores are read as log-odds, so the log-loss and the "
        "calibration say something only if that is what they are."
    )
    return (
        f'<section><h2>Numbers</h2><table class="numbers">{"".join(rows)}</table><p class="note">{scale}</p></section>'
    )


def _pictures(evaluation: Evaluation, rows: Sequence[Mapping[str, Any]]) -> str:
    shown: list[str] = []

    def show(name: str, heading: str, note: str, draw: charts.Draw, height: float = 2.7) -> None:
        shown.append(
            f"<figure><h3>{escape(heading)}</h3>"
            f'<div class="chart" role="img" aria-label="{escape(heading)}">{charts.svg(name, draw, height)}</div>'
            f"<figcaption>{escape(note)}</figcaption></figure>"
        )

    band = "The dashed line is a perfectly calibrated reward model; two of three points of such a one lie on grey."
    if (c := evaluation.comparisons) is not None:
        show("reliability", "Is it as sure as it is right?", band, _confidence(evaluation), 3.6)
        show(
            "scores",
            "Scores of chosen and rejected",
            "The less they overlap, the better it tells them apart; only texts with a prompt in common are compared.",
            charts.histogram(c.histogram, "chosen", "rejected"),
            3.6,
        )
        show(
            "margin",
            "Accuracy by margin",
            "Fifths of the pairs, by how far the two scores lie apart.",
            charts.accuracy_bars(c.by_margin, "difference of the scores"),
        )
        show(
            "length",
            "Accuracy by length",
            "Fifths of the pairs, by how much longer the chosen text is. Low bars on the left: the reward model "
            "loves length.",
            charts.accuracy_bars(c.by_length, "words of the chosen less those of the rejected", signed=True),
        )
    if (of := evaluation.labels) is not None:
        draw = charts.reliability(of.calibration, "how probably good, says the reward model", "called good")
        show("labels", "Are its probabilities of a good label true?", band, draw, 3.6)
        show(
            "label_scores",
            "Scores of good and bad",
            "The less the two overlap, the better it tells them apart.",
            charts.histogram(of.histogram, "good", "bad"),
            3.6,
        )
    if (rated := evaluation.ratings) is not None:
        show(
            "ratings",
            "Scores by rating",
            "The middle score of the texts of each rating, and the middle half of them.",
            charts.by_rating(rated.by_rating),
        )
    if any(charts.curve(rows, name) for name in ("loss", "heldout_loss")):
        show("curve", "Learning", "The loss while the reward model was trained.", charts.learning_curve(rows))
    return f'<section><h2>Pictures</h2><div class="figures">{"".join(shown)}</div></section>'


def _confidence(evaluation: Evaluation) -> charts.Draw:
    assert evaluation.comparisons is not None
    return charts.reliability(evaluation.comparisons.calibration, "how sure the reward model is", "people agree")


def _reliability(evaluation: Evaluation) -> charts.Draw | None:
    if evaluation.comparisons is not None:
        return _confidence(evaluation)
    if evaluation.labels is not None:
        return charts.reliability(
            evaluation.labels.calibration, "how probably good, says the reward model", "called good"
        )
    return None


def _contributions(mistake: Mistake, explain: Explain | None) -> dict[str, Contributions]:
    found: dict[str, Contributions] = {}
    for side, text in (("chosen", mistake.chosen), ("rejected", mistake.rejected)):
        tokens = [] if explain is None or text is None else explain(mistake.prompt, text)
        if len(tokens):
            found[side] = [(str(token), float(value)) for token, value in tokens]
    return found


def _mistakes(evaluation: Evaluation, shades: Sequence[Mapping[str, Contributions]]) -> str:
    headings = {
        "comparison": "The hardest comparisons",
        "label": "The hardest labels",
        "rating": "The hardest ratings",
    }
    parts = []
    for kind, heading in headings.items():
        cards = [_card(m, shade) for m, shade in zip(evaluation.hardest, shades, strict=True) if m.kind == kind]
        if cards:
            parts.append(f"<section><h2>{heading}</h2>{_LEGEND if any(shades) else ''}{''.join(cards)}</section>")
    return "".join(parts)


_LEGEND = (
    '<p class="note">Shaded by what a token adds to the score: <span class="plus" style="--w:.8">more</span> '
    '<span class="minus" style="--w:.8">less</span>; the deeper, the more, within a card.</p>'
)


def _card(mistake: Mistake, shade: Mapping[str, Contributions]) -> str:
    largest = max((abs(value) for tokens in shade.values() for _, value in tokens), default=0.0)
    sides = []
    for side, text, score in (
        ("chosen", mistake.chosen, mistake.chosen_score),
        ("rejected", mistake.rejected, mistake.rejected_score),
    ):
        if text is not None and score is not None:
            name = side if mistake.kind == "comparison" else "text"
            shown = _shaded(text, shade.get(side, ()), largest)
            number = format(score, "+.2f" if abs(score) < 1e5 else "+.2e").replace("-", "−")
            sides.append(f'<div class="side"><h4>{name} <b>{number}</b></h4><div class="text">{shown}</div></div>')
    said = mistake.said[:1].upper() + mistake.said[1:] + "."
    place = f' <span class="place">{escape(mistake.place)}</span>' if mistake.place else ""
    return (
        f'<article><p class="said">{_prose(said)}{place}</p><div class="text prompt">{escape(mistake.prompt)}</div>'
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
    """Cut a text where its tokens are; what lies between them has no value.

    Where a tokenizer has changed the text (lower-cased it, say), the tokens are shown in its place.
    """
    if not tokens:
        return [(text, None)]
    pieces: list[tuple[str, float | None]] = []
    at = 0
    for token, value in tokens:
        bare = token.strip() or token
        found = text.find(bare, at)
        if found < 0 or text[at:found].strip():  # it skipped a word: not the same text
            return [(token if token[:1].isspace() else f" {token}", value) for token, value in tokens]
        if found > at:
            pieces.append((text[at:found], None))
        pieces.append((bare, value))
        at = found + len(bare)
    return [*pieces, (text[at:], None)] if at < len(text) else pieces


def _prose(text: str) -> str:
    """Our own sentences: no line ends before a %."""
    return escape(text).replace(" %", "&nbsp;%")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
