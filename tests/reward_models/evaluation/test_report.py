"""The report: valid and safe HTML, with nothing that the JSON lacks."""

import json
import re
from html.parser import HTMLParser

import pytest

from textrlhf.reward_models.evaluation.evaluate import evaluate
from textrlhf.reward_models.evaluation.report import MEANINGS, aligned, figures, summary, write_report
from textrlhf.reward_models.feedback.judgements import Labelled, Ranked, Rated

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Parses a page; unbalanced tags fail."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def reward_model(prompts, responses):
    return [len(text.split()) / 4 for text in responses]


def explain(prompt, response):
    return [(f" {word}", 1.0 if "a" in word else -0.5) for word in response.split()]


CASES = [
    *(Ranked(f"p {EVIL}", (f"{EVIL} a", "a b c " + "d " * i), place=f"file {EVIL}, line {i}") for i in range(6)),
    *(Ranked("p", ("b c d " + "e " * i, "a")) for i in range(4)),
    *(Labelled("p", "a " * (i + 1), i % 3 > 0) for i in range(9)),
    *(Rated("p", "a " * (i + 1), i % 4 + 1, (1, 5)) for i in range(9)),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    evaluation = evaluate(reward_model, CASES)
    curves = [{"step": i, "loss": 1 / i, "learning_rate": 0.1} for i in range(1, 20)]
    curves += [{"step": 19, "heldout_loss": 0.2}, {"step": 20, "loss": None}]
    facts = {f"model {EVIL}": EVIL, "seed": "1", "odd": "half \ud83d a pair {body}"}
    path = write_report(folder, evaluation, title=f"{{body}} {EVIL}", facts=facts, curves=curves, explain=explain)
    return (
        path,
        evaluation,
        Page(path.read_text(encoding="utf-8")),
        json.loads((folder / "evaluation.json").read_text()),
    )


def test_texts_are_escaped(written):
    _, _, page, _ = written
    assert "script" not in page.tags
    assert page.text.count(EVIL) == 2 + 2 + 6 * 3  # the title, a fact, and of each mistake prompt, text and place
    assert page.text.count("{body}") == 3  # the title's own two and a fact's


def test_self_contained(written):
    path, _, page, _ = written
    names = ("src", "href", "xlink:href", "data", "action", "poster", "srcset")
    assert all(value.startswith("#") for name, value in page.attributes if name in names)
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert "default-src 'none'" in text


def test_ids_in_charts(written):
    _, _, page, _ = written
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    used = {value[1:] for name, value in page.attributes if name == "xlink:href"}
    used |= {found for _, value in page.attributes for found in re.findall(r"url\(#([^)]+)\)", value or "")}
    assert used
    assert used <= set(ids)


def test_charts_use_the_page_s_colours(written):
    path, _, page, _ = written
    assert page.tags.count("svg") == 8  # reliability, scores, margin, length; labels, scores; ratings; learning
    assert "prefers-color-scheme: dark" in path.read_text(encoding="utf-8")
    drawn = [value for name, value in page.attributes if name == "style" and value and "stroke" in value]
    colours = {found for value in drawn for found in re.findall(r"(?:stroke|fill): (#\w+)", value)}
    assert not colours, f"{colours} do not follow dark mode"
    assert any("var(--ink)" in (value or "") for _, value in page.attributes)


def test_numbers_with_their_meaning(written):
    _, evaluation, page, plain = written
    assert plain["numbers"] == evaluation.numbers()
    for name, value in evaluation.numbers().items():
        if name.endswith(("_low", "_high")):  # shown with its metric
            assert f"{100 * value:.1f}\xa0%" in page.text.replace(" %", "\xa0%")
            continue
        form, meaning = MEANINGS[name]
        shown = f"{100 * value:.1f} %" if form == "%" else format(value, form).replace("-", "−")
        assert f"{name}{shown}{meaning}".replace(" %", "\xa0%") in page.text.replace(" %", "\xa0%")


def test_json(written):
    _, evaluation, _, plain = written
    assert plain["facts"]["seed"] == "1"
    assert plain["summary"] == summary(evaluation)
    assert plain["curves"][0] == {"step": 1, "loss": 1.0}
    assert plain["curves"][-1] == {"step": 20, "loss": None}
    assert len(plain["comparisons"]["by_length"]) == len(evaluation.comparisons.by_length)
    assert plain["hardest"][0]["contributions"]["rejected"][1] == [" b", -0.5]


def test_shaded_tokens(written):
    path, _, _, _ = written
    text = path.read_text(encoding="utf-8")
    assert '<span class="plus" style="--w:1.00" title="+1.000">a</span>' in text
    assert '<span class="minus" style="--w:0.50" title="-0.500">b</span>' in text


def test_removes_an_older_chart(tmp_path):
    (tmp_path / "reliability.png").write_bytes(b"old")
    path = write_report(tmp_path, evaluate(reward_model, [Rated("p", "a", 1, (1, 5))]), title="t", facts={})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["evaluation.json", "report.html"]
    assert Page(path.read_text()).tags.count("svg") == 1


def test_png_beside_the_page(written):
    assert (written[0].parent / "reliability.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("tokens", "pieces"),
    [
        ([], [("A cat sat.", None)]),
        (
            [("A", 1), (" cat", 2), (" sat", 3), (".", 4)],
            [("A", 1), (" ", None), ("cat", 2), (" ", None), ("sat", 3), (".", 4)],
        ),
        ([("cat", 2)], [(" cat", 2)]),  # it left a word out: not this text
        ([("a", 1), ("cat", 2)], [(" a", 1), (" cat", 2)]),  # lower-cased
        ([("A", 1), ("cat", 2)], [("A", 1), (" ", None), ("cat", 2), (" sat.", None)]),  # its end was cut
    ],
)
def test_aligned(tokens, pieces):
    assert aligned("A cat sat.", tokens) == pieces


def test_summary():
    found = evaluate(reward_model, [Ranked("p", ("a b", "a")), Ranked("p", ("a", "b c")), Ranked("p", ("a b c", "b"))])
    assert summary(found) == [
        "On 3 held-out comparisons the accuracy is 66.7 % (95 % interval 20.8 % to 93.9 %); always preferring the "
        "longer text would have 66.7 %."
    ]
    shown = {name: meaning for name, _, meaning in figures(found)}
    assert shown["accuracy"].endswith("chance is 50 %; 95 % interval 20.8 % to 93.9 %")
    assert "accuracy_low" not in shown
    assert "no rank correlation" in summary(evaluate(reward_model, [Rated("p", "a", 1, (1, 5))]))[0]
    assert summary(evaluate(reward_model, [Labelled("p", "a", True)])) == [
        "On 1 held-out label the accuracy is 100.0 % (95 % interval 20.7 % to 100.0 %)."
    ]
