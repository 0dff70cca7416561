"""Each sign of a training that goes wrong is seen on series that show it, and none on those of good trainings."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from textrlhf.agents import PPO, Callback, Warn
from textrlhf.agents.training.warning_signs import SIGNS, History, rank_correlation
from textrlhf.language import load
from tiny_envs import text_env
from tiny_models import tiny_lm

HEALTHY = Path(__file__).parent / "healthy.json"  # metrics of tuned runs, by environment
DOCS = Path(__file__).parents[3] / "docs"


def signs(rows: Iterable[Mapping[str, float]], **facts) -> list[str]:
    """The signs seen in metrics by update, in the order of their appearance."""
    rows, history, seen = list(rows), History(**{"text": True, "deviation": 1.0, **facts}), []
    for i, row in enumerate(rows, 1):
        history.add(row)
        history.done = i / len(rows)
        seen += [s.anchor for s in SIGNS if s.anchor not in seen and s.seen(history)]
    return seen


def series(name: str, *values: float, **others: float) -> list[dict[str, float]]:
    return [{name: value, **others} for value in values]


def rising(start: float, end: float, n: int = 30) -> list[float]:
    return [start + (end - start) * i / (n - 1) for i in range(n)]


ILL = {
    "kl-leaps": series("rollout/kl", *rising(0, 5, 20), 18),
    "large-updates": series("train/approx_kl", *[0.01] * 10, *[0.15] * 5),
    "clipping": series("train/clip_fraction", *[0.2] * 10, *[0.6] * 5),
    "entropy-collapse": series("train/entropy", *[2.0] * 5, *[0.3] * 5, **{"train/approx_kl": 0.01}),
    "no-end": series("rollout/eos", *[0.9] * 10, *rising(0.9, 0.01), *[0.01] * 5),
    "longer-is-better": [
        {"rollout/score": score, "rollout/length": length}
        for score, length in zip(rising(0, 2), rising(20, 60), strict=True)
    ],
    "flat": series("rollout/score", *[0.3, 0.35, 0.25] * 10),
    "useless-critic": series("train/explained_variance", *[-0.1, 0.0] * 10),
    "first-ratio": series("train/first_ratio_error", 1e-6, 0.05),
    "negative-kl": series("rollout/kl", *[-2.0] * 5),
    "overfitting": series("heldout/loss", 2.0, 1.5, 1.6, 1.7),
}


@pytest.mark.parametrize("anchor", ILL)
def test_each_sign_is_seen(anchor: str) -> None:
    assert signs(ILL[anchor]) == [anchor]


def test_signs_of_precision() -> None:
    assert signs(series("train/first_ratio_error", 0.05, 0.19), bf16=True) == ["bfloat16"]
    assert signs(series("train/first_ratio_error", 0.6), bf16=True) == ["first-ratio"]
    assert signs(series("rollout/kl", 0.1), half_reference=True) == ["reference-in-16-bits"]


@pytest.mark.parametrize(("lora_rank", "warned"), [(0, True), (2, False)])
def test_a_reference_in_16_bits_is_seen(lora_rank: int, warned: bool, tmp_path: Path) -> None:
    """Of a policy of full weights, which are float32; adapters share the reference's."""
    tiny_lm().save(tmp_path / "lm")
    env_kwargs = {**text_env(), "model": load(tmp_path / "lm", "cpu", "bfloat16")}
    agent, warn = PPO("TextRLHF-v0", env_kwargs=env_kwargs, n_envs=2, n_steps=8, seed=0, lora_rank=lora_rank), Warn()
    agent.learn(16, callbacks=warn, progress=False)
    assert ("reference-in-16-bits" in warn.found) == warned


@pytest.mark.parametrize("deviation", [1e-4, 40.0])
def test_scale_of_scores(deviation: float) -> None:
    assert signs(series("rollout/score", *rising(0, 10 * deviation)), deviation=deviation) == ["scale"]


def test_texts_that_never_end() -> None:
    assert signs(series("rollout/eos", *[0.0] * 10)) == ["no-end"]
    assert signs(series("rollout/eos", *[0.3] * 10)) == []


def test_what_is_no_sign() -> None:
    """What is usual in good trainings, or not to be judged from what is known."""
    assert signs(series("rollout/kl", 0, 0.2, 1, 3, 6, 8, 9, 10, 10, 11, 12, 12)) == []  # the first nats
    assert signs(series("train/first_ratio_error", 0.1), bf16=True) == []
    assert signs(series("rollout/kl", 0.1), half_reference=True, bf16=True) == []
    assert signs(ILL["flat"], fresh=False) == []  # it may have been good from the beginning
    assert signs(ILL["flat"][:12]) == []
    assert signs(series("rollout/score", *rising(0, 1), *[1.0] * 60)) == []
    assert signs(series("train/explained_variance", *[math.nan] * 40)) == []  # returns without variance
    assert signs(series("train/entropy", *rising(2.0, 0.01)), text=False) == []  # cloning: as it should
    certain = series("train/entropy", *rising(1.0, 0.01, 25), *[0.01] * 5, **{"train/approx_kl": 0.01})
    assert signs(certain, text=False) == ["entropy-collapse"]
    learned = [{**row, "rollout/return": value} for row, value in zip(certain, rising(-200, -100), strict=True)]
    assert signs(learned, text=False, deviation=10.0) == []
    assert signs(series("train/entropy", *rising(-1.0, -9.0), **{"train/approx_kl": 0.01}), text=False) == []


@pytest.mark.parametrize("env", json.loads(HEALTHY.read_text()) if HEALTHY.exists() else [])
def test_healthy_runs_are_silent(env: str) -> None:
    columns = json.loads(HEALTHY.read_text())[env]
    deviations, history = columns.pop("deviation"), History(text=env.startswith("Text"))
    for i, deviation in enumerate(deviations):
        history.add({name: values[i] for name, values in columns.items() if values[i] is not None})
        history.done, history.deviation = (i + 1) / len(deviations), math.nan if deviation is None else deviation
        assert not [sign.seen(history) for sign in SIGNS if sign.seen(history)]


def test_rank_correlation() -> None:
    assert rank_correlation([1, 2, 3, 9], [1, 4, 9, 10]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 2, 3, 4], [2, 1, 4, 3]) == pytest.approx(1 - 6 * 4 / (4 * 15))
    assert rank_correlation([1, 2, 3], [5, 5, 5]) == 0


class Pretend(Callback):
    """Replaces a metric from the n-th update on."""

    def __init__(self, update: int, **metrics: float) -> None:
        self.update, self.metrics = update, metrics

    def on_update(self, agent, metrics) -> None:
        if agent.n_updates >= self.update:
            metrics |= self.metrics


@pytest.mark.slow
def test_warnings_of_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once per sign, also when the run is resumed, whose history goes on; where a progress bar is shown by default."""

    def agent() -> PPO:
        return PPO("CartPole-v1", n_envs=2, n_steps=8, batch_size=8, n_epochs=1, seed=0, checkpoint_every=64)

    ill = Pretend(3, **{"train/clip_fraction": 0.9})
    warn = Warn()
    with caplog.at_level(logging.WARNING, "textrlhf"):
        agent().learn(128, run=tmp_path, callbacks=[ill, warn], progress=False)
        PPO.resume(tmp_path, callbacks=[ill, again := Warn()], more_timesteps=64, progress=False)
    line = "step 80: 54% of the steps are clipped: lower learning_rate or n_epochs (docs/troubleshooting.md#clipping)"
    assert [text for text in caplog.messages if "clipped" in text] == [line]
    assert (again.found, again.history.updates) == (warn.found, 12)
    caplog.clear()
    agent().learn(128, callbacks=ill)
    assert caplog.messages == [line]


def test_each_sign_has_its_section() -> None:
    page = (DOCS / "troubleshooting.md").read_text()
    headings = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", page, re.M)
    }
    assert {sign.anchor for sign in SIGNS} <= headings
