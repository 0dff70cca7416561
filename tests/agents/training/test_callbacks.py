"""Callbacks: the adaptive KL coefficient, and what they add to the metrics."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from slot_policy import SlotPolicy
from textrlhf.agents import PPO, AdaptiveKL, Callback
from textrlhf.agents.training import loop
from textrlhf.records.metrics import read_metrics
from token_env import TokenVectorEnv


def fake_agent(kl_coef: float = 0.1) -> SimpleNamespace:
    env = SimpleNamespace(kl_coef=kl_coef, has_kl_penalty=True, vector_env="fake")
    return SimpleNamespace(env=env, episodes=SimpleNamespace(finished=0))


def adapted(callback: AdaptiveKL, agent: SimpleNamespace, kl: float, texts: int) -> float:
    agent.episodes.finished += texts
    callback.on_update(agent, {"rollout/kl": kl})
    return agent.env.kl_coef


def test_kl_coef_follows_the_clipped_error() -> None:
    """Ziegler et al., 2019: β ← β · (1 + clip(KL / target − 1, ±0.2) · n / horizon)."""
    agent, callback = fake_agent(), AdaptiveKL(target=2.0, horizon=1000)
    callback.on_start(agent, None)
    assert adapted(callback, agent, kl=2.2, texts=100) == pytest.approx(0.1 * (1 + 0.1 * 0.1))
    assert adapted(callback, agent, kl=9.0, texts=0) == pytest.approx(0.1 * 1.01)  # no new texts
    assert adapted(callback, agent, kl=0.0, texts=500) == pytest.approx(0.1 * 1.01 * 0.9)


@pytest.mark.parametrize("texts", [600, 100_000])
def test_kl_coef_stays_positive(texts: int) -> None:
    """More texts per update than five horizons would make the factor negative."""
    agent, callback = fake_agent(), AdaptiveKL(target=2.0, horizon=100)
    callback.on_start(agent, None)
    before = agent.env.kl_coef
    assert adapted(callback, agent, kl=0.0, texts=texts) == pytest.approx(0.8 * before)
    for _ in range(5000):  # 0.8 ** 5000 underflows
        assert adapted(callback, agent, kl=0.0, texts=texts) > 0
    for _ in range(9000):  # 1.2 ** 9000 overflows
        assert adapted(callback, agent, kl=9.0, texts=texts) < float("inf")


def test_kl_coef_must_start_above_zero() -> None:
    with pytest.raises(ValueError, match=r"kl_coef=0"):
        AdaptiveKL(target=1.0).on_start(fake_agent(0.0), None)
    with pytest.raises(ValueError, match="horizon=0"):
        AdaptiveKL(target=1.0, horizon=0)


class SlotPPO(PPO):
    def make_policy(self):
        return SlotPolicy()


class Sometimes(Callback):
    """Adds a metric in every 100th update."""

    def on_update(self, agent, metrics) -> bool:
        if agent.n_updates % 100 == 1:
            metrics["own"] = 1.0
        return True


def small() -> PPO:
    return PPO("CartPole-v1", n_envs=2, n_steps=16, n_epochs=1, seed=0)


@pytest.mark.parametrize(("result", "updates"), [(None, 3), (True, 3), (0, 3), (False, 1), (np.False_, 1)])
def test_only_false_stops(result: Any, updates: int) -> None:
    class Own(Callback):
        def on_update(self, agent, metrics):
            return result

    assert small().learn(96, callbacks=Own(), progress=False).n_updates == updates
    assert small().learn(96, callbacks=[lambda agent, metrics: result, Own()], progress=False).n_updates == updates


def test_functions_add_metrics(tmp_path: Path) -> None:
    def half(agent, metrics):
        metrics["own/half"] = agent.num_timesteps / 2

    small().learn(96, callbacks=half, run=tmp_path, progress=False)
    assert [row["own/half"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [16, 32, 48]


@pytest.mark.parametrize("given", [Sometimes, "callback", [3]])
def test_what_is_no_callback_is_refused(given: Any) -> None:
    with pytest.raises(
        TypeError, match=r"callbacks has .*: accepted are textrlhf.agents.Callback objects and functions"
    ):
        small().learn(96, callbacks=given, progress=False)


def test_every_step_is_seen_and_may_stop() -> None:
    class Steps(Callback):
        calls = missing = 0

        def on_step(self, agent, result):
            self.calls += 1
            self.missing += int((result.valid != result.reward).sum())
            return None if self.calls < 20 else False

    steps, agent = Steps(), small()
    agent.learn(960, callbacks=[Sometimes(), steps], progress=False)
    assert (steps.calls, steps.missing) == (32, 0)  # the running update is finished
    assert agent.n_updates == 2
    assert agent.on_step is None


def test_steps_cost_nothing_without_a_hook() -> None:
    called: list[Any] = []
    small().learn(32, callbacks=lambda agent, metrics: called.append(agent.on_step), progress=False)
    assert called == [None]


@pytest.mark.slow
def test_metrics_stay_below_500_rows_with_adaptive_kl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """β is in every row but causes none, while other callbacks' metrics are never lost."""
    monkeypatch.setattr(loop, "draw_curves", lambda *args: None)
    env = TokenVectorEnv(1)
    env.kl_coef = 0.02
    agent = SlotPPO(env, n_steps=1, n_epochs=1, seed=0)
    agent.learn(700, run=tmp_path, progress=False, callbacks=[AdaptiveKL(1.0), Sometimes()])
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert agent.n_updates == 700
    assert 300 < len(rows) <= 507
    assert all("train/kl_coef" in row for row in rows)
    assert sum("own" in row for row in rows) == 7
