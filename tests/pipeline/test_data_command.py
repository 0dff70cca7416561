"""`textrlhf data`: what it prints and writes, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from textrlhf.pipeline.commands.main import main
from textrlhf.records.jsonl import read_jsonl
from textrlhf.reward_models import import_judgements, read_judgements

GOLDEN = Path(__file__).parents[1] / "reward_models" / "feedback" / "schemas" / "golden"


def run(capsys, *argv):
    main(["data", *map(str, argv)])
    return capsys.readouterr().out


def described(capsys, *argv):
    return json.loads(run(capsys, *argv, "--json"))


def refused(capsys, *argv):
    with pytest.raises(SystemExit) as end:
        main(["data", *map(str, argv)])
    assert end.value.code == 2
    return capsys.readouterr().err


def test_what_was_recognised_and_left_out(capsys):
    shown = run(capsys, GOLDEN / "oasst.jsonl")
    for line in (
        "oasst (12)",
        "12 read: 3 kept, 3 part of prompts, 6 refused",
        "2: a message before it is deleted; first",
    ):
        assert line in shown
    assert "fewer than ten prompts" in shown


@pytest.mark.parametrize("file", sorted(GOLDEN.iterdir()), ids=lambda file: file.name)
def test_every_schema_is_described_and_converted(file, capsys, tmp_path):
    """What is written is read again as the same judgements, with their splits."""
    out = tmp_path / "out.jsonl"
    found, own = described(capsys, file, "--write", out), import_judgements(file)
    assert found["rows"]["read"] == own.report.read
    assert found["written"]["rows"] == len(own.judgements)
    assert read_judgements(out, None) == own.judgements
    if own.declares_splits:
        assert import_judgements(out).splits == own.splits
    assert run(capsys, file)


@pytest.mark.slow
def test_lengths_in_tokens(capsys):
    found = described(capsys, GOLDEN / "trl-unpaired.jsonl", "--model", "reviews")
    assert found["unit"] == "tokens of reviews"
    assert found["lengths"]["responses"]["0%"] >= 2


def test_demonstrations_and_prompts(capsys, tmp_path):
    out, file = tmp_path / "out.jsonl", GOLDEN / "trl-preference.jsonl"
    run(capsys, file, "--write", out, "--write-as", "demonstrations")
    rows = [row for _, row in read_jsonl(out)]
    assert rows[:2] == [
        {"prompt": "The sky is", "completion": " blue."},
        {
            "prompt": [{"role": "user", "content": "What color is the sky?"}],
            "completion": [{"role": "assistant", "content": "It is blue."}],
        },
    ]
    assert len(rows) == 3  # the same conversation twice
    assert described(capsys, out)["kinds"] == {"demonstration": 3}
    prompts = tmp_path / "prompts.jsonl"
    run(capsys, out, "--write", prompts, "--write-as", "prompts")
    assert [row for _, row in read_jsonl(prompts)] == [{"prompt": row["prompt"]} for row in rows]
    assert described(capsys, prompts)["kinds"] == {"prompt": 3}
    assert "has no judgements: pass --write-as demonstrations" in refused(capsys, out, "--write", prompts)


def test_demonstrations_in_every_form(capsys, tmp_path):
    user, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}
    rows = [
        {"messages": [user, answer]},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        {"prompt": [user], "completion": [answer]},
        {"prompt": "q", "response": "a"},
        {"text": "q a"},
        {"messages": [user]},
        {"prompt": "q"},
    ]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    found = described(capsys, file)
    assert found["kinds"] == {"demonstration": 5, "prompt": 2}
    assert found["duplicates"] == {"repeated": 2}
    assert found["conversations"]["roles"] == {"user": 4, "assistant": 3}  # of responses, too
    assert found["conversations"]["messages"]["100%"] == 2
    shown = run(capsys, file)
    assert "Messages of conversations" in shown
    assert "user 4, assistant 3; 0 of 4 conversations have a system message" in shown


def test_list_of_schemas(capsys):
    shown = run(capsys, "--schemas")
    assert "nectar-chat" in shown
    assert "has to be named with --schema" in shown


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "data needs a FILE"),
        (["nowhere.jsonl"], "there is no file nowhere.jsonl"),
        ([GOLDEN / "shp.jsonl", "--schema", "hh"], "schema is 'hh': expected one of pair"),
        ([GOLDEN / "shp.jsonl", "--write", "."], "--write . is a folder"),
        ([GOLDEN / "shp.jsonl", "--model", "./nowhere"], "--model is './nowhere', which has no tokenizer"),
        ([GOLDEN / "shp.jsonl", "--raters", "median"], "median"),
    ],
)
def test_errors(capsys, argv, message):
    assert message in refused(capsys, *argv)
