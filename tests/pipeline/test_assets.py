"""The shipped models: quality, size, and the command that makes them."""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from textrlhf.envs.text.tasks import make_task
from textrlhf.envs.text.tasks.reviews.writer import corpus
from textrlhf.language import generate, load
from textrlhf.language.causal_lm import ASSETS, shipped
from textrlhf.language.fit import FitConfig, NextTokens, mean_loss
from textrlhf.pipeline import assets
from textrlhf.pipeline.simulated_preferences import gold, simulated_rankings, write
from textrlhf.reward_models import SimulatedAnnotator, evaluate, load_reward_model
from textrlhf.reward_models.evaluation.metrics import pearson
from textrlhf.reward_models.text.folder import ASSETS as REWARD_MODEL_ASSETS
from textrlhf.reward_models.text.folder import shipped_reward_models

PERPLEXITY = {"reviews": 3.4, "tasks": 1.9}  # on held-out texts; a little above what the shipped models have


def test_shipped_and_small():
    assert shipped() == ["reviews", "tasks"]
    assert shipped_reward_models() == ["reviews"]
    size = sum(
        file.stat().st_size for folder in (ASSETS, REWARD_MODEL_ASSETS) for file in folder.rglob("*") if file.is_file()
    )
    assert size <= 6 * 2**20


@pytest.mark.parametrize("name", list(PERPLEXITY))
def test_heldout_perplexity(name, monkeypatch):
    lm = load(name)
    monkeypatch.setattr(assets, "SMALL", dict.fromkeys(assets.SMALL, 0))  # no training texts
    heldout = list(corpus(1, 1_000)) if name == "reviews" else assets.make_texts(name).heldout
    texts = NextTokens(lm, *assets.tokens(lm, heldout[:: max(len(heldout) // 500, 1)]))
    assert np.exp(mean_loss(texts)) <= PERPLEXITY[name]


@pytest.mark.slow
def test_reviews_are_grammatical_and_of_mixed_sentiment():
    """At least 95 of 100, and neutral on average."""
    lm, task = load("reviews"), make_task("reviews", False)
    prompts = [*task.prompts("heldout"), *task.prompts("train")[:488]]
    written = generate(lm, lm.encode_all([str(prompt.text) for prompt in prompts]), task.max_new_tokens)
    responses = [lm.continuation(text.prompt, np.array(text.tokens)) for text in written]
    measures = task.measure(prompts, responses)
    assert measures["grammatical"].mean() >= 0.95
    assert abs(measures["gold"].mean()) < 0.1
    assert measures["gold"].std() > 0.4
    assert np.mean([text.finish_reason == "eos" for text in written]) > 0.99


@pytest.mark.slow
def test_reward_model_agrees_with_gold():
    """In 87 of 100 unseen pairs, and calibrated for annotators who err one time in ten."""
    task, lm, reward_model = make_task("reviews", False), load("reviews"), load_reward_model("reviews")
    prompts = [prompt.text for prompt in task.prompts("heldout")]
    clean = simulated_rankings(task, lm, prompts, 800, seed=11)
    annotator = SimulatedAnnotator(lambda prompts, responses: gold(task, prompts, responses), error_rate=0.1, seed=11)
    noisy = annotator.rank([pair.prompt for pair in clean], [pair.responses for pair in clean])
    assert evaluate(reward_model, clean).numbers()["accuracy"] >= 0.865
    assert evaluate(reward_model, noisy).numbers()["ece"] <= 0.06
    texts = [(pair.prompt, text) for pair in clean for text in pair.responses]
    prompts, responses = [p for p, _ in texts], [r for _, r in texts]
    assert pearson(reward_model.raw(prompts, responses), gold(task, prompts, responses)) >= 0.88


@pytest.mark.slow
def test_reward_model_is_normalised():
    task, lm, reward_model = make_task("reviews", False), load("reviews"), load_reward_model("reviews")
    prompts = [prompt.text for prompt in task.prompts("train")][:800]
    assert reward_model.normalised
    scores = reward_model.score(prompts, [text for (text,) in write(task, lm, prompts, 1, seed=5)])
    assert abs(scores.mean()) < 0.1
    assert abs(scores.std() - 1) < 0.1


def test_reward_model_is_the_default():
    """And "gold" is the true score."""
    for reward_model, name in ((None, "score"), ("gold", "gold")):
        env = gym.make("TextRLHF-v0", reward_model=reward_model, kl_coef=0.0)
        env.reset(seed=0)
        over = False
        while not over:
            _, reward, terminated, truncated, info = env.step(env.unwrapped.reference_model.encode(" good")[0])
            over = terminated or truncated
        reward_model = load_reward_model("reviews")
        expected = reward_model([info["prompt"]], [info["response"]])[0] if name == "score" else info["gold"]
        assert reward == info["score"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["reviews", *assets.SMALL])
def test_prompts_have_known_words(name):
    task = make_task(name, False)
    lm = load(task.model)
    for split in ("train", "heldout"):
        ids = np.concatenate(lm.encode_all([str(prompt.text) for prompt in task.prompts(split)]))
        assert lm.tokenizer.unk_token_id not in ids


def test_command_makes_a_language_model(tmp_path, monkeypatch, capsys):
    small = assets.Texts([("The film was", " good.")] * 8, [("The film was", " good.")] * 2, ["hotel"])
    monkeypatch.setattr(assets, "make_texts", lambda name: small)
    monkeypatch.setitem(assets.RECIPES, "reviews", assets.Recipe(16, FitConfig(steps=4, batch_size=4), hidden=16))
    for _ in range(2):  # the second time over the first
        assets.main(["--only", "reviews", "--to", str(tmp_path / "made"), "--run", str(tmp_path / "run")])
    about = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert about["model"] == "reviews"
    assert about["bytes"] == sum(file.stat().st_size for file in Path(tmp_path / "made" / "reviews").iterdir())
    lm = load(tmp_path / "made" / "reviews")
    assert lm.decode(lm.encode("The film was good.")) == "The film was good."


@pytest.mark.slow
def test_command_makes_a_reward_model(tmp_path, monkeypatch, capsys):
    class Few(type(make_task("reviews", False))):
        def prompts(self, split):
            return super().prompts(split)[:32]

    monkeypatch.setattr(assets, "make_task", lambda *_: Few())
    for name, few in (("COMPARISONS", 32), ("TESTED", 32), ("TEACHERS", 2), ("TEXTS", 3)):
        monkeypatch.setattr(assets, name, few)
    arguments = ["--only", "reward_model", "--to", str(tmp_path / "made"), "--run", str(tmp_path / "run")]
    assets.main(arguments)
    before = load_reward_model(tmp_path / "made" / "reviews").network.state_dict()
    assets.main([*arguments, "--resume"])  # of a finished run
    about = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert about["comparisons"] == 32
    reward_model = load_reward_model(tmp_path / "made" / "reviews")
    assert reward_model.normalised
    assert all(torch.equal(before[name], weights) for name, weights in reward_model.network.state_dict().items())
