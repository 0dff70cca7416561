"""`textrlhf reward …`, called as a shell would call it but inside this process."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from transformers import BertConfig, BertModel

from textrlhf.language import fit, load
from textrlhf.pipeline.commands.main import main
from textrlhf.pipeline.commands.reward import train as reward_train
from textrlhf.pipeline.commands.reward.evaluate import _learned_from
from textrlhf.pipeline.commands.reward.main import WORDS
from textrlhf.pipeline.console.errors import UserError
from textrlhf.pipeline.runs import reference_texts as reward_reference
from textrlhf.pipeline.runs.reference_texts import reference_texts
from textrlhf.pipeline.runs.reward_run import RewardRequest, digest
from textrlhf.records.metrics import read_metrics
from textrlhf.reward_models import Ensemble, RewardModel, TrainConfig, load_reward_model
from tiny_models import V, word_tokenizer

GOOD, BAD = " wonderful.", " dull."
NOUNS = ["film", "plot", "cast", "ending", "music", "hero", "book", "story", "inn", "room"]
PROMPTS = [f"{the} {noun} {was}" for the in ("The", "This") for was in ("was", "is", "seemed") for noun in NOUNS]
TRAIN = shlex.split("--model reviews --epochs 4 --batch-size 8 --max-new-tokens 8 --checkpoints 2")
SAMPLES = 48  # 512 would take a second each time


def write_rows(file: Path, rows: list[dict[str, object]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"{file}"


def pairs(n: int = 60) -> list[dict[str, object]]:
    return [{"prompt": prompt, "chosen": GOOD, "rejected": BAD} for prompt in PROMPTS[:n]]


def quick_page(folder: Path, evaluation: object, reward_model: object, *told: object) -> None:
    """A report without its pictures, which take a second."""
    (folder / "evaluation.json").write_text(json.dumps([evaluation.as_json(), *told]))  # type: ignore[attr-defined]
    (folder / "report.html").touch()


@pytest.fixture(autouse=True, scope="module")
def few_samples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reward_reference, "SAMPLES", SAMPLES)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `prefs.jsonl` and the run that learned from it, `critic`."""
    folder = tmp_path_factory.mktemp("reward_models")
    main(["reward", "train", write_rows(folder / "prefs.jsonl", pairs()), *TRAIN, "--run", f"{folder / 'critic'}"])
    return folder


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reward_train, "write_page", quick_page)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must end with status 2 and one line, and return the line."""

    def run(*argv: str, status: int = 2) -> str:
        with pytest.raises(SystemExit) as end:
            main(["reward", *argv])
        said = capsys.readouterr().err
        assert end.value.code == status
        assert said.startswith("textrlhf: ")
        assert said.count("\n") == 1
        return said

    return run


def test_train_writes_a_judge_that_knows_good_from_bad(made: Path) -> None:
    run = made / "critic"
    reward_model = load_reward_model(run)
    good, bad = reward_model(PROMPTS[:2] * 2, [GOOD, GOOD, BAD, BAD]).reshape(2, 2)
    assert (good > bad + 0.5).all()
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["numbers"]["comparisons"] == 6  # every tenth prompt
    assert evaluation["numbers"]["accuracy"] == 1
    assert evaluation["key_values"]["Learned from"] == f"54 pairs of {made / 'prefs.jsonl'}"
    assert [row["step"] for row in evaluation["curves"]] == list(range(1, 29))
    assert "The reward model critic" in (run / "report.html").read_text()
    assert (run / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert read_metrics(run / "metrics.jsonl")[-1]["heldout_loss"] < 0.69


def test_the_references_own_texts_have_mean_0_and_deviation_1(made: Path) -> None:
    reward_model, learned = load_reward_model(made / "critic"), [p for i, p in enumerate(PROMPTS) if i % 10 != 9]
    texts = reference_texts(load("reviews"), reward_model, learned, 8, 0)
    assert texts is not None
    assert len(set(texts[0])) == SAMPLES  # a prompt is asked again only after all others
    scores = reward_model(*texts)
    assert (scores.mean(), scores.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))
    assert reward_model.config.scale != 1


@pytest.mark.usefixtures("no_pictures")
def test_train_says_what_it_found_and_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = [{"prompt": "A", "completion": text, "label": text == GOOD} for text in (GOOD, BAD)]
    data, run = write_rows(tmp_path / "some.jsonl", [*pairs(30), *labels]), tmp_path / "a"
    main(["reward", "train", data, *TRAIN, "--epochs", "1", "--run", f"{run}"])
    said = capsys.readouterr().out
    assert f"27 pairs and 2 labels to learn from, 3 pairs held out, from {data}" in said
    assert re.search(r"accuracy +\d+\.\d %  how often the reward model prefers", said)
    assert f"textrlhf reward evaluate {run} {data} --split heldout" in said
    assert f'gym.make("TextRLHF-v0", reward_model="{run}")' in said
    main(["resume", f"{run}"])  # textrlhf resume knows a reward model's run, too
    assert f"{run} is finished: its reward model is trained and evaluated." in capsys.readouterr().out


def kept(run: Path) -> dict[str, bytes]:
    """Everything that must come out the same, however often a run was interrupted."""
    files = [path for path in run.rglob("*") if path.is_file() and "tfevents" not in path.name]
    return {f"{path.relative_to(run)}": path.read_bytes() for path in files if path.name != "metrics.jsonl"}


def losses(run: Path) -> list[dict[str, float]]:
    rows = [row for file in sorted(run.rglob("metrics.jsonl")) for row in read_metrics(file)]
    return [{name: value for name, value in row.items() if name != "tokens_per_second"} for row in rows]


def train_two(folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # both runs are told the same names
        write_rows(Path("prefs.jsonl"), pairs(30))
        main(["reward", "train", "prefs.jsonl", *TRAIN, "--members", "2", "--run", "two", "--quiet"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two members that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reward_train, "write_page", quick_page)
        train_two(folder)
    return folder / "two"


def interrupt(patch: pytest.MonkeyPatch, owner: object, name: str, call: int) -> list[object]:
    """Press Ctrl-C at a call of a function; return a list that grows with each call."""
    original, calls = getattr(owner, name), []

    def pressed(*args: object, **kwargs: object) -> object:
        calls.append(args)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    patch.setattr(owner, name, pressed)
    return calls


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(
    ("owner", "name", "call", "trained"),
    [
        (reward_train, "reference_texts", 1, 2),
        (fit, "save_checkpoint", 1, 2),
        (fit, "save_checkpoint", 4, 1),  # on the way of the second member
        (RewardModel, "save", 2, 1),
        (Ensemble, "save", 1, 0),
        (reward_train, "write_page", 1, 0),
    ],
)
def test_an_interrupted_run_ends_with_the_same_bits(
    owner: object,
    name: str,
    call: int,
    trained: int,
    whole: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as end:
        interrupt(patch, owner, name, call)
        train_two(tmp_path)
    said = capsys.readouterr().err
    assert end.value.code == 130
    monkeypatch.chdir(tmp_path)
    if name == "reference_texts":  # nothing is there yet, so the same command begins again
        assert "interrupted: nothing was learned yet" in said
        train_two(tmp_path)
    else:
        assert "`textrlhf reward resume two` goes on" in said
        trainings = interrupt(monkeypatch, reward_train, "learn", 0)
        main(["reward", "resume", "two"])
        assert len(trainings) == trained  # what was finished is not trained again
    assert kept(Path("two")) == kept(whole)
    assert losses(Path("two")) == losses(whole)


def test_members_differ_and_judge_together(whole: Path) -> None:
    reward_model = load_reward_model(whole)
    assert isinstance(reward_model, Ensemble)
    one, two = reward_model.members(PROMPTS[:4], [BAD] * 4)
    assert np.abs(one - two).min() > 1e-4
    assert reward_model(PROMPTS[:4], [BAD] * 4) == pytest.approx((one + two) / 2)
    assert load_reward_model(whole / "member-1")(PROMPTS[:4], [BAD] * 4) == pytest.approx(two)  # each serves alone
    curve = json.loads((whole / "evaluation.json").read_text())[-1]
    last = [read_metrics(whole / f"member-{i}" / "metrics.jsonl")[-1]["loss"] for i in (0, 1)]
    assert curve[-1]["loss"] == pytest.approx(sum(last) / 2)


def test_a_run_goes_on_only_with_the_data_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    data, run = write_rows(tmp_path / "prefs.jsonl", pairs(20)), f"{tmp_path / 'a'}"
    interrupt(monkeypatch, RewardModel, "save", 1)
    refused("train", data, *TRAIN, "--run", run, "--quiet", status=130)
    assert f"`textrlhf reward resume {run}`" in refused("score", run, "--prompt", "The film was", "--response", GOOD)
    assert "finish it with `textrlhf resume" in refused("train", data, *TRAIN, "--run", run)
    write_rows(tmp_path / "prefs.jsonl", pairs(21))
    assert f"{data} is not what it was when the run began" in refused("resume", run)


def test_what_could_not_begin_leaves_the_folder_free(
    tmp_path: Path, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_rows(tmp_path / "prefs.jsonl", pairs(8)), f"{tmp_path / 'a'}"
    few = ["train", data, *TRAIN, "--run", run, "--quiet"]
    assert "there are 8 judgements to learn from, fewer than a batch of 16" in refused(*few, "--batch-size", "16")
    main(["reward", *few])
    assert "Nothing is held out" in capsys.readouterr().out
    assert not Path(run, "report.html").exists()
    main(["reward", "resume", run])
    assert "is finished: its reward model is trained.\n" in capsys.readouterr().out


@pytest.mark.usefixtures("no_pictures")
def test_an_encoder_keeps_log_odds_unless_a_reference_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=V, **shape)).save_pretrained(tmp_path / "encoder")
    tokenizer = word_tokenizer()
    tokenizer.pad_token = "<eos>"
    tokenizer.save_pretrained(tmp_path / "encoder")
    rows = [{"prompt": f"a{2 + i}", "chosen": "a3 a4", "rejected": "a5"} for i in range(20)]
    data = write_rows(tmp_path / "prefs.jsonl", rows)
    begin = ["reward", "train", data, "--model", f"{tmp_path / 'encoder'}", *TRAIN[2:], "--quiet"]
    main([*begin, "--run", f"{tmp_path / 'plain'}"])
    assert "The scores keep the scale of log-odds" in capsys.readouterr().out
    assert (load_reward_model(tmp_path / "plain").config.shift, load_reward_model(tmp_path / "plain").config.scale) == (
        0,
        1,
    )
    main([*begin, "--run", f"{tmp_path / 'measured'}", "--reference", "reviews"])
    assert "log-odds" not in capsys.readouterr().out
    assert load_reward_model(tmp_path / "measured").config.scale != 1


@pytest.mark.usefixtures("no_pictures")
def test_judgements_beyond_the_models_positions_are_dropped_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    rows = pairs(30)
    for i in (0, 9):  # one to learn from, one held out
        rows[i]["chosen"] = " wonderful" * 80
    data, run = write_rows(tmp_path / "prefs.jsonl", rows), f"{tmp_path / 'a'}"
    begin = ["train", data, *TRAIN, "--epochs", "1", "--run", run]
    assert f"{data}, line 1: the text has" in refused(*begin)
    main(["reward", *begin, "--overflow", "drop"])
    assert "more tokens than reviews has positions: 1 judgements" in capsys.readouterr().out
    assert json.loads(Path(run, "evaluation.json").read_text())[0]["numbers"]["comparisons"] == 2


def request(**given: object) -> RewardRequest:
    empty = dict.fromkeys([field.name for field in dataclasses.fields(RewardRequest)])
    return RewardRequest(**{**empty, "sha256": {}, **given})  # type: ignore[arg-type]


def test_a_file_of_its_own_is_held_out(tmp_path: Path) -> None:
    def rated(*ratings: int) -> list[dict[str, object]]:
        return [{"prompt": "A", "completion": f"{i}", "rating": rating} for i, rating in enumerate(ratings)]

    data = write_rows(tmp_path / "data.jsonl", [*pairs(10), *rated(1, 5)])
    other = write_rows(tmp_path / "other.jsonl", rated(2, 4))
    learned, heldout = request(data=data, heldout=other).read()
    assert len(learned) == 12  # all of them
    assert [one.scale for one in heldout] == [(1, 5)] * 2  # ratings mean what they mean in the other file
    assert request(data=data, heldout=other, scale=(0, 6)).read()[1][0].scale == (0, 6)
    declared = write_rows(tmp_path / "declared.jsonl", [*pairs(3), {**pairs(4)[3], "split": "heldout"}])
    assert len(request(data=declared, heldout=other, scale=(0, 6)).read()[0]) == 3  # never what is marked as held out
    assert [len(part) for part in request(data=declared).read()] == [3, 1]


@pytest.fixture(scope="module")
def untrained() -> RewardModel:
    return RewardModel.new("reviews")


def test_the_reference_writes_after_every_prompt_that_fits_as_often(untrained: RewardModel) -> None:
    lm = load("reviews")
    long = "The film was" + " wonderful" * 50
    found = reference_texts(lm, untrained, ["", "The film was", "This book is", long], 32, seed=1)
    assert found is not None
    prompts, responses = found
    assert {prompt: prompts.count(prompt) for prompt in prompts} == {"The film was": 24, "This book is": 24}
    assert len(set(responses)) > 24  # drawn, not the likeliest
    assert found == reference_texts(lm, untrained, ["", "The film was", "This book is", long], 32, seed=1)
    assert found != reference_texts(lm, untrained, ["", "The film was", "This book is", long], 32, seed=2)


def test_a_reference_that_cannot_write(untrained: RewardModel) -> None:
    lm = load("reviews")
    assert reference_texts(lm, untrained, ["", ""], 32, seed=0) is None
    with pytest.raises(UserError, match=r"--max-new-tokens 61 fits one of them") as error:
        reference_texts(lm, untrained, ["The film was", "This book is a"], 62, seed=0)
    assert "64 positions" in str(error.value)


def test_texts_that_the_judge_cannot_read_set_no_scale(untrained: RewardModel) -> None:
    narrow = RewardModel(untrained.network, untrained.tokenizer, untrained.config)
    narrow.context = 20
    prompts, responses = reference_texts(load("reviews"), narrow, ["The film was"], 32, seed=0) or ([], [])
    assert 2 <= len(prompts) < SAMPLES
    narrow.raw(prompts, responses)  # none is too long
    narrow.context = 3  # as many as the prompt has
    with pytest.raises(UserError, match="the reward model can read 0"):
        reference_texts(load("reviews"), narrow, ["The film was"], 32, seed=0)


def test_evaluate_says_the_numbers_and_what_they_mean(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data = f"{made / 'critic'}", f"{made / 'prefs.jsonl'}"
    main(["reward", "evaluate", run, data, "--split", "heldout", "--json"])
    numbers = json.loads(capsys.readouterr().out)
    assert numbers == json.loads((made / "critic" / "evaluation.json").read_text())["numbers"]
    main(["reward", "evaluate", run, data, "--out", f"{tmp_path / 'page'}"])
    said = capsys.readouterr().out
    assert re.search(r"accuracy +100\.0 %  how often the reward model prefers what people preferred", said)
    assert "learned from this file" in said
    assert json.loads((tmp_path / "page" / "evaluation.json").read_text())["numbers"]["comparisons"] == 60
    assert (tmp_path / "page" / "report.html").is_file()
    other = write_rows(tmp_path / "other.jsonl", pairs(3))
    main(["reward", "evaluate", run, other])
    assert "learned from this file" not in capsys.readouterr().out


def test_a_file_that_was_held_out_was_not_learned_from(tmp_path: Path) -> None:
    data, other = (write_rows(tmp_path / name, pairs(n)) for name, n in (("data.jsonl", 3), ("other.jsonl", 2)))
    request(data=data, heldout=other, sha256={file: digest(file) for file in (data, other)}).save(tmp_path / "run")
    assert [_learned_from(f"{tmp_path / 'run'}", file) for file in (data, other)] == [True, False]


def test_score_adds_scores_to_the_rows_of_a_file(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": "The film was", "response": GOOD, "id": 7}, {"prompt": "The film was", "completion": BAD}]
    file, run = write_rows(tmp_path / "texts.jsonl", rows), f"{made / 'critic'}"
    main(["reward", "score", run, file])
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = load_reward_model(run)(["The film was"] * 2, [GOOD, BAD])
    assert printed == [{**row, "score": score} for row, score in zip(rows, expected, strict=True)]
    main(["reward", "score", run, file, "--out", f"{tmp_path / 'scored.jsonl'}"])
    assert [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text().splitlines()] == printed
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "stdin", io.StringIO(Path(file).read_text()))
    main(["reward", "score", run, "-"])
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == printed


def test_score_of_one_text_says_which_tokens_matter(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = f"{made / 'critic'}"
    for response, word in ((GOOD, r"Raised by +wonderful \+"), (BAD, r"Lowered by +dull -")):
        main(["reward", "score", run, "--prompt", "The film was", "--response", response])
        said = capsys.readouterr().out
        (score,) = load_reward_model(run)(["The film was"], [response])
        assert f"Score  {score:+.3f}" in said
        assert f"The film was{response}" in said
        assert re.search(word, said)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("trian", "did you mean 'train'?"),
        ("train", "--model"),
        ("train DIR/prefs.jsonl", "--model"),
        ("train DIR/pref.jsonl --model reviews", "did you mean DIR/prefs.jsonl?"),
        ("train DIR/prefs.jsonl --model reviews --ephocs 3", "did you mean --epochs?"),
        ("train DIR/prefs.jsonl --model reviews --epochs 0", "epochs is 0.0: expected a positive number"),
        ("train DIR/prefs.jsonl --model reviews --batch-size 0", "batch_size is 0"),
        ("train DIR/prefs.jsonl --model reviews --members 0", "--members 0: accepted is at least 1"),
        ("train DIR/prefs.jsonl --model reviews --head first", "Expected one of ('auto', 'last', 'tokens')"),
        ("train DIR/prefs.jsonl --model reviews --device abacus", "accepted is --device auto, cpu"),
        ("train DIR/prefs.jsonl --model DIR/none --run DIR/x", "no language model at DIR/none"),
        ("train DIR/prefs.jsonl --model reviews --reference DIR/none --run DIR/x", "--reference: no language model"),
        ("train DIR/prefs.jsonl --model reviews --max-new-tokens 64 --run DIR/x", "--max-new-tokens 61 fits one"),
        ("train DIR/prefs.jsonl --model reviews --run DIR/critic", "`textrlhf resume DIR/critic`"),
        ("train DIR/prefs.jsonl --model reviews --run DIR/prefs.jsonl", "is a file: name a folder"),
        ("train DIR/broken.jsonl --model reviews --run DIR/x", "DIR/broken.jsonl, line 2: not JSON"),
        ("resume DIR/crtic", "did you mean DIR/critic?"),
        ("resume DIR", "is no run of a reward model"),
        ("evaluate DIR/none DIR/prefs.jsonl", "no reward model at DIR/none"),
        ("evaluate DIR/critic DIR/none.jsonl", "there is no file DIR/none.jsonl"),
        ("evaluate DIR/critic DIR/few.jsonl --split heldout", "leave --split away"),
        ("evaluate DIR/critic DIR/long.jsonl", "64 positions"),
        ("evaluate DIR/critic DIR/prefs.jsonl --out DIR/few.jsonl", "is a file: name a folder"),
        ("score DIR/critic", "either a FILE of texts"),
        ("score DIR/critic --prompt A", "either a FILE of texts"),
        ("score DIR/critic DIR/few.jsonl --prompt A --response B", "either a FILE of texts"),
        ("score DIR/critic DIR/few.jsonl", 'DIR/few.jsonl, line 1: "response" is missing'),
        ("score DIR/critic --prompt A --response B --out C", "leave it out"),
        ("score DIR/critic DIR/broken.jsonl", "line 2: not JSON"),
    ],
)
def test_a_users_mistake_is_one_line_with_the_remedy(
    line: str, remedy: str, made: Path, refused: Callable[..., str]
) -> None:
    write_rows(made / "few.jsonl", pairs(2))
    write_rows(made / "long.jsonl", [{**pairs(1)[0], "chosen": " wonderful" * 80}])
    (made / "broken.jsonl").write_text(f"{json.dumps(pairs(1)[0] | {'response': GOOD})}\n{{\n")
    said = refused(*line.replace("DIR", f"{made}").split())
    assert remedy.replace("DIR", f"{made}") in said


def test_a_judge_saved_from_python_serves_too(
    untrained: RewardModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untrained.save(tmp_path / "saved")
    main(["reward", "evaluate", f"{tmp_path / 'saved'}", write_rows(tmp_path / "prefs.jsonl", pairs(3)), "--json"])
    assert json.loads(capsys.readouterr().out)["accuracy"] == 0.5  # its head has learned nothing


def test_help_names_every_command_and_hyperparameter(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["reward"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert all(f"  {word} " in said for word in WORDS)
    for word in WORDS:
        with pytest.raises(SystemExit) as end:
            main(["reward", word, "--help"])
        assert end.value.code == 0
        said = capsys.readouterr().out
        assert re.search(rf"Example:\s+textrlhf reward {word} ", said)
        if word == "train":
            assert all(f"--{f.name.replace('_', '-')}" in said for f in dataclasses.fields(TrainConfig))


def test_help_loads_no_torch() -> None:
    code = (
        "import sys\nfrom textrlhf.pipeline.commands.main import main\ntry: main(['reward'])\n"
        "except SystemExit: sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
