"""The example on real material: how ratings are split, and what is measured. The run itself is `make real`."""

import importlib
import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "real"


@pytest.fixture
def example(monkeypatch):
    """Import a module of the example, whose modules import each other by name."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    names = ("agreement", "fetch", "measure", "page", "ratings", "reference", "stages")
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


def _rows(n):
    texts = [f"The film number {i} is fine." for i in range(n)]
    lists = [[(i + k) % 9 - 4 for k in range(7)] for i in range(n)]
    return texts, lists


def _files(folder, texts, lists):
    snippets, ratings = folder / "x_GroundTruth.txt", folder / "x_anonDataRatings.txt"
    snippets.write_text(
        "".join(f"{i}\t{np.mean(r)}\t{t}\r\n" for i, (t, r) in enumerate(zip(texts, lists, strict=True)))
    )
    ratings.write_text("".join(f"{i}\t{np.mean(r)}\t{np.std(r)}\t{r}\r\n" for i, r in enumerate(lists)))
    return snippets


def test_each_rating_is_in_one_half_and_each_text_in_one_part(example, tmp_path):
    """A text or rating that trains and tests makes every figure of the page worthless."""
    ratings = example("ratings")
    texts, lists = _rows(4000)
    snippets = ratings.read_snippets(_files(tmp_path, [*texts, texts[0]], [*lists, lists[0]]))
    assert len(snippets) == 4000  # the one that occurs twice is kept once
    for one in snippets[:50]:
        assert sorted([*one.half("A"), *one.half("B")]) == sorted(one.ratings)
    shares = {part: sum(one.part == part for one in snippets) / 4000 for part in ratings.SHARES}
    assert shares == pytest.approx(ratings.SHARES, abs=0.03)
    assert {one.text: one.part for one in snippets[::-1]} == {one.text: ratings.part_of(one.text) for one in snippets}


def test_reward_models_are_trained_on_their_half_only(example, tmp_path):
    ratings = example("ratings")
    snippets = ratings.read_snippets(_files(tmp_path, *_rows(40)))
    rows = ratings.judgements(snippets, "A", seed=0, pairs=30)
    assert len(rows) == 70
    halves = {one.text: one.half("A") for one in snippets}
    for row in rows[:40]:
        assert row["rating"] == pytest.approx(np.mean(halves[row["completion"]]))
    for row in rows[40:]:
        if "tie" in row:
            one, other = (set(halves[text]) for text in row["responses"])
            assert one & other
        else:
            assert max(halves[row["chosen"]]) > min(halves[row["rejected"]])
    assert {"tie" in row for row in rows[40:]} == {True, False}


def test_a_file_with_another_hash_is_not_used(example, tmp_path, monkeypatch):
    fetch = example("fetch")

    def download(command, **_):
        (Path(command[command.index("--dest") + 1]) / fetch.VADER.file).write_bytes(b"something else")
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(fetch.subprocess, "run", download)
    with pytest.raises(SystemExit, match="another file, not used"):
        fetch.download(fetch.VADER)
    monkeypatch.setattr(
        fetch.subprocess, "run", lambda *_, **__: type("Done", (), {"returncode": 1, "stderr": "no net"})
    )
    with pytest.raises(SystemExit, match=r"cannot be downloaded: no net"):
        fetch.download(fetch.VADER)


def test_ratings_are_taken_out_of_the_archive_in_the_archive(example, tmp_path):
    fetch = example("fetch")

    def archive(files):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        return out.getvalue()

    names = ("movieReviewSnippets_GroundTruth.txt", "movieReviewSnippets_anonDataRatings.txt")
    inner = archive({f"hutto_ICWSM_2014/{name}": name.encode() for name in names})
    rules = ("vaderSentiment.py", "vader_lexicon.txt", "emoji_utf8_lexicon.txt")
    outer = {f"v-1/vaderSentiment/{name}": name.encode() for name in rules}
    fetch.unpack_ratings(archive({**outer, "v-1/additional_resources/hutto_ICWSM_2014.tar.gz": inner}), tmp_path)
    assert [(tmp_path / name).read_text() for name in names] == list(names)
    assert [(tmp_path / "rules" / name).read_text() for name in rules] == list(rules)


def test_distinct_and_spearman_equal_their_definitions(example):
    measure, stages = example("measure"), example("stages")
    assert measure.distinct([["a", "b", "a", "b"], ["a", "b"]]) == 2 / 4  # ab ba ab ab
    scipy_says = 0.9486832980505138  # of these, with ties
    assert stages.spearman([1, 2, 2, 4], [1, 2, 3, 4]) == pytest.approx(scipy_says, abs=1e-4)


def test_the_page_shows_texts_as_text(example, tmp_path):
    """A model may write anything: none of it may run in the reader's browser."""
    page = example("page")
    row = {"prompt": "<script>alert(1)</script>", "response": " <b>bold", "score": 1.0}
    measures = {key: [1.0, 0.5, 1.5] for key in page.MEASURES}
    agreement = {"spearman": 0.5}
    results = {"before": measures, "after": measures, "texts": {"before": [row], "after": [row]}, "seed": 0}
    results |= {"reward_models": {"score": agreement, "second": agreement}, "texts_measured": 1}
    html = page.write_page(tmp_path, results).read_text()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "1 (0.5 to 1.5)" in html


def test_calibration_error_notices_overconfidence(example):
    """Ratings so noisy that P(better) is about σ of half the difference of scores: three times it claims too much."""
    agreement, ratings = example("agreement"), example("ratings")
    rng = np.random.default_rng(0)
    scores = rng.normal(size=400)
    noisy = [score + rng.logistic(size=40) - rng.logistic(size=40) for score in scores]
    texts = [ratings.Snippet(str(i), tuple(np.round(2 * some)), "test") for i, some in enumerate(noisy)]
    errors = [agreement.calibration_error(k * scores, texts, np.random.default_rng(1)) for k in (0.5, 3)]
    assert errors[0] < 0.04
    assert errors[1] > 0.15


def test_seeds_are_put_together(example):
    reference = example("reference")
    runs = {
        seed: {"seed": seed, "before": {"score": [0.0, -1, 1]}, "after": {"score": [1.0 + seed, 0, 2]}, "texts": [seed]}
        for seed in (0, 1)
    }
    found = reference.collected(runs)
    assert found["mean"] == {"before": {"score": 0.0}, "after": {"score": 1.5}}
    assert found["texts"] == [0]
    assert [run["seed"] for run in found["runs"]] == [0, 1]
