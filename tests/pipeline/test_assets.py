"""The shipped models: what they are worth, how large they are, and that the command which makes them works."""

import json
from pathlib import Path

import numpy as np
import pytest

from textrlhf.envs.text.tasks import make_task
from textrlhf.language import generate, load
from textrlhf.language.causal_lm import ASSETS, shipped
from textrlhf.language.fit import FitConfig, NextTokens, mean_loss
from textrlhf.pipeline import assets

PERPLEXITY = {"reviews": 3.4, "tasks": 1.9}  # on held-out texts; a little above what was reached when they were made


def test_both_are_shipped_and_small():
    assert shipped() == ["reviews", "tasks"]
    size = sum(file.stat().st_size for file in ASSETS.rglob("*") if file.is_file())
    assert size <= 4.5 * 2**20  # 6 MiB with the judge to come


@pytest.mark.parametrize("name", list(PERPLEXITY))
def test_heldout_perplexity(name):
    lm = load(name)
    heldout = assets.material(name).heldout
    texts = NextTokens(lm, *assets.tokens(lm, heldout[:: max(len(heldout) // 1000, 1)]))
    assert np.exp(mean_loss(texts)) <= PERPLEXITY[name]


def test_reviews_are_grammatical_and_of_every_mood():
    """At least 95 in 100, and no opinion to start from."""
    lm, task = load("reviews"), make_task("reviews", False)
    prompts = [*task.prompts("heldout"), *task.prompts("train")[:488]]
    written = generate(lm, lm.encode_all([prompt.text for prompt in prompts]), task.max_new_tokens)
    responses = [lm.continuation(text.prompt, np.array(text.tokens)) for text in written]
    measures = task.measure(prompts, responses)
    assert measures["grammatical"].mean() >= 0.95
    assert abs(measures["gold"].mean()) < 0.1
    assert measures["gold"].std() > 0.4
    assert np.mean([text.finish_reason == "eos" for text in written]) > 0.99


@pytest.mark.parametrize("name", ["reviews", *assets.SMALL])
def test_every_prompt_is_made_of_known_words(name):
    task = make_task(name, False)
    lm = load(task.model)
    for split in ("train", "heldout"):
        ids = np.concatenate(lm.encode_all([prompt.text for prompt in task.prompts(split)]))
        assert lm.tokenizer.unk_token_id not in ids


def test_the_command_makes_a_model(tmp_path, monkeypatch, capsys):
    """Guards against a `make assets` that nobody has run for long."""
    small = assets.Material([("The film was", " good.")] * 8, [("The film was", " good.")] * 2, ["hotel"])
    monkeypatch.setattr(assets, "material", lambda name: small)
    monkeypatch.setitem(assets.RECIPES, "reviews", assets.Recipe(16, FitConfig(steps=4, batch_size=4), hidden=16))
    for _ in range(2):  # the second time over what the first has left
        assets.main(["--only", "reviews", "--to", str(tmp_path / "made"), "--run", str(tmp_path / "run")])
    about = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert about["model"] == "reviews"
    assert about["bytes"] == sum(file.stat().st_size for file in Path(tmp_path / "made" / "reviews").iterdir())
    lm = load(tmp_path / "made" / "reviews")
    assert lm.decode(lm.encode("The film was good.")) == "The film was good."
