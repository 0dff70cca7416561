"""`textrlhf reward …`, called as a shell would call it but inside this process."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from textrlhf.pipeline.commands.main import main
from textrlhf.pipeline.commands.reward.evaluate import _trained_on
from textrlhf.pipeline.commands.reward.main import COMMANDS
from textrlhf.pipeline.runs.reward_run import digest, read_data
from textrlhf.pipeline.runs.run_folder import REWARD_COMMAND, save_request
from textrlhf.records.metrics import read_metrics
from textrlhf.records.run import Run
from textrlhf.reward_models import RewardModel, TrainConfig, load_reward_model
from textrlhf.reward_models.training import train_reward_model as training

pytestmark = pytest.mark.slow

GOOD, BAD = " wonderful.", " dull."
NOUNS = ["film", "plot", "cast", "ending", "music", "hero", "book", "story", "inn", "room"]
PROMPTS = [f"{the} {noun} {was}" for the in ("The", "This") for was in ("was", "is", "seemed") for noun in NOUNS]
TRAIN = shlex.split("--model reviews --epochs 4 --batch-size 8 --max-new-tokens 8 --reference-texts 48 --checkpoints 2")


def write_rows(file: Path, rows: list[dict[str, object]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"{file}"


def pairs(n: int = 60) -> list[dict[str, object]]:
    return [{"prompt": prompt, "chosen": GOOD, "rejected": BAD} for prompt in PROMPTS[:n]]


def quick_report(folder: Path, evaluation: object, **options: object) -> None:
    """A report without its charts, which take a second."""
    (folder / "report.html").touch()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `prefs.jsonl` and the run that was trained on it, `critic`."""
    folder = tmp_path_factory.mktemp("reward_models")
    main(["reward", "train", write_rows(folder / "prefs.jsonl", pairs()), *TRAIN, "--run", f"{folder / 'critic'}"])
    return folder


@pytest.fixture
def no_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "write_report", quick_report)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command line that must end with one line and the status, 2 by default, and return the line."""

    def run(*argv: str, status: int = 2) -> str:
        with pytest.raises(SystemExit) as end:
            main(["reward", *argv])
        message = capsys.readouterr().err
        assert end.value.code == status
        assert message.startswith("textrlhf: ")
        assert message.count("\n") == 1
        return message

    return run


def test_train_and_its_report(made: Path) -> None:
    run = made / "critic"
    reward_model = load_reward_model(run)
    good, bad = reward_model(PROMPTS[:2] * 2, [GOOD, GOOD, BAD, BAD]).reshape(2, 2)
    assert (good > bad + 0.5).all()
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert evaluation["numbers"]["comparisons"] == 6  # every tenth prompt
    assert evaluation["numbers"]["accuracy"] == 1
    assert evaluation["facts"]["Data"] == f"{made / 'prefs.jsonl'}"
    assert "The reward model critic" in (run / "report.html").read_text()
    assert (run / "reliability.png").read_bytes().startswith(b"\x89PNG")
    assert read_metrics(run / "metrics.jsonl")[-1]["heldout_loss"] < 0.69


@pytest.mark.usefixtures("no_charts")
def test_output_of_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = [{"prompt": "A", "completion": text, "label": text == GOOD} for text in (GOOD, BAD)]
    data, run = write_rows(tmp_path / "some.jsonl", [*pairs(30), *labels]), tmp_path / "a"
    main(["reward", "train", data, *TRAIN, "--epochs", "1", "--run", f"{run}"])
    printed = capsys.readouterr().out
    assert f"27 pairs and 2 labels to train on, 3 pairs held out, from {data}" in printed
    assert re.search(r"accuracy +\d+\.\d %  how often the reward model prefers", printed)
    assert "48/48  of reviews" in printed
    assert "learning rate 0.001, 8 judgements per step" in printed
    assert f"textrlhf reward evaluate {run} {data} --split heldout" in printed
    assert f'gym.make("TextRLHF-v0", reward_model="{run}")' in printed
    main(["resume", f"{run}"])  # textrlhf resume accepts a reward model's run, too
    assert f"{run} is finished: its reward model is trained and evaluated." in capsys.readouterr().out


@pytest.mark.usefixtures("no_charts")
def test_interrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    def interrupted(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    data, run = write_rows(tmp_path / "prefs.jsonl", pairs(20)), f"{tmp_path / 'a'}"
    with monkeypatch.context() as patch:
        patch.setattr(RewardModel, "new", interrupted)
        refused("train", data, *TRAIN, "--run", run, "--quiet", status=130)
    assert Path(run, "command.json").exists()  # before any model is loaded
    with monkeypatch.context() as patch:
        patch.setattr(RewardModel, "save", interrupted)
        assert f"`textrlhf reward resume {run}`" in refused("train", data, *TRAIN, "--run", run, "--quiet", status=130)
    assert f"`textrlhf reward resume {run}`" in refused("score", run, "--prompt", "The film was", "--response", GOOD)
    assert "finish it with `textrlhf resume" in refused("train", data, *TRAIN, "--run", run)
    write_rows(tmp_path / "prefs.jsonl", pairs(21))
    assert f"{data} has changed since the run was started" in refused("resume", run)
    write_rows(tmp_path / "prefs.jsonl", pairs(20))
    main(["reward", "resume", run, "--quiet"])
    assert Path(run, "report.html").exists()


def test_folder_in_use_or_of_another_run(tmp_path: Path, refused: Callable[..., str]) -> None:
    """The request of a running training was overwritten."""
    train = ["train", write_rows(tmp_path / "prefs.jsonl", pairs(20)), *TRAIN, "--quiet", "--run"]
    with Run(tmp_path / "taken").writing():
        assert "is in use: process" in refused(*train, f"{tmp_path / 'taken'}")
    Run(tmp_path / "agent").write_config({"agent": "ppo"})
    assert "already holds a run of something else" in refused(*train, f"{tmp_path / 'agent'}")
    assert not list(tmp_path.glob("*/command.json"))


def test_failed_train_can_be_repeated(
    tmp_path: Path, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = write_rows(tmp_path / "prefs.jsonl", pairs(8)), f"{tmp_path / 'a'}"
    few = ["train", data, *TRAIN, "--epochs", "1", "--run", run, "--quiet"]
    assert "there are 8 judgements, fewer than a batch of 16" in refused(*few, "--batch-size", "16")
    main(["reward", *few])
    assert "No judgements are held out" in capsys.readouterr().out
    main(["reward", "resume", run])
    assert "is finished: its reward model is trained.\n" in capsys.readouterr().out


def test_heldout_file(tmp_path: Path) -> None:
    def rated(*ratings: int) -> list[dict[str, object]]:
        return [{"prompt": "A", "completion": f"{i}", "rating": rating} for i, rating in enumerate(ratings)]

    data = write_rows(tmp_path / "data.jsonl", [*pairs(10), *rated(1, 5)])
    other = write_rows(tmp_path / "other.jsonl", rated(2, 4))
    learned, heldout, _ = read_data(data, other, {}, {})
    assert len(learned) == 12  # all of them
    assert [one.scale for one in heldout] == [(1, 5)] * 2  # ratings mean the same in both files
    assert read_data(data, other, {"scale": (0, 6)}, {})[1][0].scale == (0, 6)
    declared = write_rows(tmp_path / "declared.jsonl", [*pairs(3), {**pairs(4)[3], "split": "heldout"}])
    assert len(read_data(declared, other, {"scale": (0, 6)}, {})[0]) == 3  # never rows that are marked as held out
    assert [len(part) for part in read_data(declared, None, {}, {})[:2]] == [3, 1]


def test_output_of_evaluate(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, data = f"{made / 'critic'}", f"{made / 'prefs.jsonl'}"
    main(["reward", "evaluate", run, data, "--split", "heldout", "--json"])
    numbers = json.loads(capsys.readouterr().out)
    assert numbers == json.loads((made / "critic" / "evaluation.json").read_text())["numbers"]
    main(["reward", "evaluate", run, data, "--out", f"{tmp_path / 'page'}"])
    printed = capsys.readouterr().out
    assert re.search(r"accuracy +100\.0 %  how often the reward model prefers what people preferred", printed)
    assert "was trained on this file" in printed
    assert json.loads((tmp_path / "page" / "evaluation.json").read_text())["numbers"]["comparisons"] == 60
    assert (tmp_path / "page" / "report.html").is_file()


def test_what_is_left_out_is_said(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table with ties, and a data set of others with a pair that cannot be used."""
    table = tmp_path / "prefs.csv"
    table.write_text(
        "prompt,output_1,output_2,preference,instruction\n"
        + ",wonderful,dull,1,The film was\n" * 2
        + ",dull,fine,0,It was\n"
    )
    main(["reward", "evaluate", f"{made / 'critic'}", f"{table}"])
    printed = capsys.readouterr().out
    assert "2 pairs and 1 tie of" in printed
    assert "Recognised as alpacafarm (3)\n3 rows read: 2 kept, 1 tied\n" in printed
    assert re.search(r"tie share +33\.3 %  share of ties", printed)
    dialogue = {"chosen": "\n\nHuman: Good?\n\nAssistant: Yes.", "rejected": "\n\nHuman: Good?\n\nAssistant: No."}
    rows = [dialogue, {**dialogue, "rejected": dialogue["chosen"]}]
    main(["reward", "evaluate", f"{made / 'critic'}", write_rows(tmp_path / "hh.jsonl", rows)])
    assert f"1 refused: identical texts, first {tmp_path / 'hh.jsonl'}, line 2\n" in capsys.readouterr().out


def test_trained_on(tmp_path: Path) -> None:
    data, other = (write_rows(tmp_path / name, pairs(n)) for name, n in (("data.jsonl", 3), ("other.jsonl", 2)))
    stored = {"command": REWARD_COMMAND, "data": data, "sha256": {file: digest(file) for file in (data, other)}}
    save_request(tmp_path / "run", stored)
    assert [_trained_on(f"{tmp_path / 'run'}", file) for file in (data, other)] == [True, False]


def test_score_of_a_file(
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


def test_score_of_one_text(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = f"{made / 'critic'}"
    for response, word in ((GOOD, r"Raised by +wonderful \+"), (BAD, r"Lowered by +dull -")):
        main(["reward", "score", run, "--prompt", "The film was", "--response", response])
        printed = capsys.readouterr().out
        (score,) = load_reward_model(run)(["The film was"], [response])
        assert f"Score  {score:+.3f}" in printed
        assert f"The film was{response}" in printed
        assert re.search(word, printed)


def test_score_of_chat_messages(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    """They were scored as the text of their JSON."""
    user, answer = {"role": "user", "content": "The film was"}, {"role": "assistant", "content": GOOD}
    rows: list[dict[str, object]] = [
        {"prompt": [user], "response": GOOD},
        {"prompt": [user], "completion": [answer], "id": 7},
        {"messages": [user, answer]},
        {"conversations": [{"from": "human", "value": "The film was"}, {"from": "gpt", "value": GOOD}]},
    ]
    run, prompt = f"{made / 'critic'}", json.dumps([user])
    (expected,) = load_reward_model(run)([[user]], [GOOD])
    main(["reward", "score", run, write_rows(tmp_path / "chats.jsonl", rows)])
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [{**row, "score": None} for row in printed] == [{**row, "score": None} for row in rows]
    assert [row["score"] for row in printed] == pytest.approx([expected] * 4, rel=1e-5)
    for response in (GOOD, json.dumps([answer])):
        main(["reward", "score", run, "--prompt", prompt, "--response", response])
        assert f"Score  {expected:+.3f}" in capsys.readouterr().out
    assert "is not JSON" in refused("score", run, "--prompt", prompt.replace('"', "'"), "--response", GOOD)
    (tmp_path / "table.csv").write_text('prompt,completion,label\n1984,"{""a"": 1}",1\n')
    main(["reward", "score", run, f"{tmp_path / 'table.csv'}"])
    (row,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {**row, "score": 0} == {"prompt": "1984", "completion": '{"a": 1}', "label": 1, "score": 0}
    asked = write_rows(tmp_path / "asked.jsonl", [{"messages": [user]}])
    assert 'line 1: "messages" has the roles user: expected the assistant' in refused("score", run, asked)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("trian", "did you mean train?"),
        ("train DIR/prefs.jsonl", "--model"),
        ("train DIR/pref.jsonl --model reviews", "did you mean DIR/prefs.jsonl?"),
        ("train DIR/prefs.jsonl --model reviews --ephocs 3", "did you mean --epochs?"),
        ("train DIR/prefs.jsonl --model reviews --epochs 0", "epochs is 0.0: expected a positive number"),
        ("train DIR/prefs.jsonl --model reviews --members 0", "--members 0: accepted is at least 1"),
        ("train DIR/prefs.jsonl --model reviews --head first", "Expected one of ('auto', 'last', 'tokens')"),
        ("train DIR/prefs.jsonl --model reviews --device abacus", "accepted is --device auto, cpu"),
        ("train DIR/prefs.jsonl --model DIR/none --run DIR/x", "no language model at DIR/none"),
        ("train DIR/prefs.jsonl --model reviews --reference DIR/none --run DIR/x", "reference is 'DIR/none'"),
        ("train DIR/prefs.jsonl --model reviews --max-new-tokens 64 --run DIR/x", "61 fits one"),
        ("train DIR/prefs.jsonl --model reviews --run DIR/critic", "`textrlhf resume DIR/critic`"),
        ("train DIR/prefs.jsonl --model reviews --run DIR/prefs.jsonl", "is a file: name a folder"),
        ("train DIR/broken.jsonl --model reviews --run DIR/x", "DIR/broken.jsonl, line 2: not JSON"),
        ("train DIR/chats.jsonl --model reviews --run DIR/x", "as reference (--reference MODEL)"),
        ("resume DIR/crtic", "did you mean DIR/critic?"),
        ("resume DIR", "is no run of a reward model"),
        ("evaluate DIR/none DIR/prefs.jsonl", "no reward model at DIR/none"),
        ("evaluate DIR/critic DIR/none.jsonl", "there is no file DIR/none.jsonl"),
        ("evaluate DIR/critic DIR/few.jsonl --split heldout", "leave out --split"),
        ("evaluate DIR/critic DIR/long.jsonl", "64 positions"),
        ("evaluate DIR/critic DIR/prefs.jsonl --out DIR/few.jsonl", "is a file: name a folder"),
        ("score DIR/critic", "either a FILE of texts"),
        ("score DIR/critic --prompt A", "either a FILE of texts"),
        ("score DIR/critic DIR/few.jsonl --prompt A --response B", "either a FILE of texts"),
        ("score DIR/critic DIR/few.jsonl", 'DIR/few.jsonl, line 1: "response" is missing'),
        ("score DIR/critic --prompt A --response B --out C", "leave it out"),
    ],
)
def test_mistakes_are_one_line_with_the_remedy(line: str, remedy: str, made: Path, refused: Callable[..., str]) -> None:
    write_rows(made / "few.jsonl", pairs(2))
    write_rows(made / "long.jsonl", [{**pairs(1)[0], "chosen": " wonderful" * 80}])
    chats = [{"prompt": [{"role": "user", "content": f"{i}"}], "chosen": "a", "rejected": "b"} for i in range(8)]
    write_rows(made / "chats.jsonl", chats)  # type: ignore[arg-type]
    (made / "broken.jsonl").write_text(f"{json.dumps(pairs(1)[0] | {'response': GOOD})}\n{{\n")
    assert remedy.replace("DIR", f"{made}") in refused(*line.replace("DIR", f"{made}").split())


@pytest.mark.parametrize("line", ["write A --model DIR", "write A --run DIR", "chat DIR"])
def test_a_reward_models_run_writes_nothing(line: str, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(line.replace("DIR", f"{made / 'critic'}").split())
    assert "is the run of a reward model, which scores texts and writes none" in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    main(["reward"])
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)
    for name in COMMANDS:
        with pytest.raises(SystemExit) as end:
            main(["reward", name, "--help"])
        assert end.value.code == 0
        printed = capsys.readouterr().out
        assert re.search(rf"Example:\s+textrlhf reward {name} ", printed)
        if name == "train":
            assert all(f"--{f.name.replace('_', '-')}" in printed for f in dataclasses.fields(TrainConfig))


def test_help_without_torch() -> None:
    code = "import sys; from textrlhf.pipeline.commands.main import main; main(['reward']); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
