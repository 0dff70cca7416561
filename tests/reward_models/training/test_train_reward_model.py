"""train_reward_model: members, scale, saving, evaluation, resuming."""

from __future__ import annotations

import json
import logging

import huggingface_hub
import numpy as np
import pytest
from transformers import BertConfig, BertModel

from textrlhf.records import run as run_module
from textrlhf.records.metrics import read_metrics
from textrlhf.records.run import Run
from textrlhf.reward_models import Ensemble, Ranked, RewardModel, TrainConfig, load_reward_model, train_reward_model
from textrlhf.reward_models.training import score_scale
from textrlhf.reward_models.training import train_reward_model as module
from tiny_models import V, tiny_lm, word_tokenizer

pytestmark = pytest.mark.slow

PAIRS = [Ranked(f"a{i} a{i + 1}", (" a5", " a7")) for i in range(8, 32)]
HELDOUT = [Ranked(f"a{i} a9", (" a5", " a7")) for i in range(8, 14)]
CONFIG = TrainConfig(epochs=4, batch_size=8, checkpoints=2, token_learning_rate=0.1)
GOOD_BAD = (["a3"] * 2, [" a5", " a7"])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A report without charts."""
    monkeypatch.setattr(module, "write_report", quick_report)


def quick_report(folder, evaluation, *, facts, curves, **options):
    (folder / "evaluation.json").write_text(json.dumps([evaluation.as_json(), facts, curves]))
    (folder / "report.html").touch()


def train(run=None, judgements=PAIRS, model=None, **options):
    options = {
        "heldout": HELDOUT,
        "config": CONFIG,
        "max_new_tokens": 8,
        "reference_texts": 48,
        "show": False,
        **options,
    }
    return train_reward_model(judgements, model or tiny_lm(), run=run, **options)


def test_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trained = train()
    good, bad = trained.reward_model(*GOOD_BAD)
    assert good > bad + 0.5
    assert trained.evaluation.numbers()["accuracy"] == 1
    assert trained.reward_model.normalised
    assert not list(tmp_path.iterdir())


def test_the_end_of_texts_is_read():
    """Guards against accuracy 1 with the ends that the file has and .75 as an environment asks."""
    ends = [Ranked(pair.prompt, tuple(f"{text}<eos>\n" for text in pair.responses)) for pair in PAIRS]
    plain, ended = train(end=True).reward_model, train(judgements=ends, end=True).reward_model
    assert ended.config.end
    np.testing.assert_array_equal(plain(*GOOD_BAD), ended(*GOOD_BAD))


def test_scores_of_the_reference_are_normalised():
    reward_model = train().reward_model
    texts = score_scale.sample_texts(tiny_lm(), reward_model, [pair.prompt for pair in PAIRS], 48, 8, CONFIG.seed)
    scores = reward_model(*texts)
    assert (scores.mean(), scores.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))


def test_run_folder(tmp_path):
    run = tmp_path / "run"
    trained = train(run, facts={"Data": "pairs.jsonl"})
    assert trained.reward_model.name == str(run / "reward_model")
    assert load_reward_model(run) is trained.reward_model
    _, facts, curves = json.loads((run / "evaluation.json").read_text())
    assert facts["Trained on"] == "24 pairs"
    assert facts["Data"] == "pairs.jsonl"
    assert [row["step"] for row in curves] == list(range(1, 13))
    with pytest.raises(FileExistsError, match="already holds a run.*resume=True"):
        train(run)


@pytest.mark.parametrize("members", [1, 2])
def test_folder_of_another_run_is_refused(members, tmp_path):
    """Members would have been trained inside it, and its config replaced."""
    Run(tmp_path).write_config({"agent": "ppo"})
    with pytest.raises(FileExistsError, match="already holds a run of something else"):
        train(tmp_path, members=members)
    with Run(tmp_path).writing(), pytest.raises(FileExistsError, match="is in use"):
        train(tmp_path, members=members)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "config.json"]


def test_members(tmp_path):
    run = tmp_path / "run"
    ensemble = train(run, members=2, combine="worst").reward_model
    with pytest.raises(FileExistsError, match="already holds a run"):
        train(run)  # one reward model in the folder of several
    assert isinstance(ensemble, Ensemble)
    one, two = ensemble.parts(*GOOD_BAD).values()
    assert np.abs(one - two).min() > 1e-5
    np.testing.assert_array_equal(ensemble(*GOOD_BAD), np.minimum(one, two))
    np.testing.assert_allclose(load_reward_model(run / "member-1")(*GOOD_BAD), two, atol=1e-6)
    np.testing.assert_allclose(train(members=2, combine="worst").reward_model(*GOOD_BAD), ensemble(*GOOD_BAD))
    curves = json.loads((run / "evaluation.json").read_text())[-1]
    last = [read_metrics(run / f"member-{i}" / "metrics.jsonl")[-1]["loss"] for i in (0, 1)]
    assert curves[-1]["loss"] == pytest.approx(sum(last) / 2)


def contents(run):
    """Everything that must be the same, however often a run was interrupted."""
    files = [path for path in run.rglob("*") if path.is_file() and "tfevents" not in path.name]
    read = {str(path.relative_to(run)): path.read_bytes() for path in files if path.name != "metrics.jsonl"}
    return {name: content.replace(str(run).encode(), b"RUN") for name, content in read.items()}


def losses(run):
    rows = [row for file in sorted(run.rglob("metrics.jsonl")) for row in read_metrics(file)]
    return [{name: value for name, value in row.items() if name != "tokens_per_second"} for row in rows]


def interrupt(patch, owner, name, call):
    """Raise KeyboardInterrupt at a call of a function; return a list that grows with each call."""
    original, calls = getattr(owner, name), []

    def interrupted(*args, **kwargs):
        calls.append(args)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    patch.setattr(owner, name, interrupted)
    return calls


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of two members without interruption."""
    run = tmp_path_factory.mktemp("whole") / "two"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write_report", quick_report)
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # saved in tokenizer_config.json
        train(run, members=2)
    return run


@pytest.mark.parametrize(
    ("owner", "name", "call", "trained"),
    [
        (module, "sample_texts", 1, 2),
        (run_module, "save_checkpoint", 1, 2),
        (run_module, "save_checkpoint", 4, 1),  # of the second member
        (RewardModel, "save", 2, 1),
        (Ensemble, "save", 1, 0),
        (module, "write_report", 1, 0),
    ],
)
def test_resumed_run_has_the_same_bits(owner, name, call, trained, whole, tmp_path, monkeypatch):
    run = tmp_path / "two"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, owner, name, call)
        train(run, members=2)
    if trained:
        with pytest.raises(ValueError, match="has no reward model yet"):
            load_reward_model(run)
    trainings = interrupt(monkeypatch, module, "train", 0)
    train(run, members=2, resume=True)
    assert len(trainings) == trained  # finished members are not trained again
    assert contents(run) == contents(whole)
    assert losses(run) == losses(whole)


def test_encoder_stays_raw_without_a_reference(tmp_path, caplog):
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=V, **shape)).save_pretrained(tmp_path)
    tokenizer = word_tokenizer()
    tokenizer.pad_token = "<eos>"
    tokenizer.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert not train(model=tmp_path, heldout=()).reward_model.normalised
    assert "the scores stay raw" in caplog.text
    assert train(model=tmp_path, heldout=(), reference=tiny_lm()).reward_model.normalised


def test_overflow_drop(caplog):
    long = Ranked("a3", (" a5" * 200, " a7"))
    with pytest.raises(ValueError, match="the text has 201 tokens"):
        train(judgements=[*PAIRS, long])
    config = TrainConfig(epochs=1, batch_size=8, overflow="drop")
    trained = train(judgements=[*PAIRS, long], heldout=[*HELDOUT, long], config=config)
    assert "left out 1 judgements" in caplog.text
    assert trained.evaluation.numbers()["comparisons"] == len(HELDOUT)


def test_without_heldout_there_is_no_report(tmp_path):
    assert train(tmp_path / "run", heldout=()).evaluation is None
    assert not (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 0}, "members is 0"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"reference_texts": 1}, "reference_texts is 1"),
        ({"threads": 0}, "threads is 0"),
        ({"combine": "median"}, "combine is 'median'"),
        ({"resume": True}, "resume=True needs run"),
        ({"max_new_tokens": 128}, "max_new_tokens is 128"),
        ({"judgements": PAIRS[:3]}, "there are 3 judgements"),
    ],
)
def test_invalid_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        train(**options)
