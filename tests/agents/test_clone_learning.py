"""Tasks that cloning must solve, with controls; epochs, held-out data and schedules."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import killed_clone
from clone_envs import pole_expert, some_episodes, texts
from textrlhf.agents import Clone, Demonstrations, Episode, evaluate, record
from textrlhf.agents.demonstrations.dataset import hold_out
from textrlhf.agents.environment.masks import pack
from textrlhf.records.jsonl import DataError
from textrlhf.records.metrics import read_metrics
from textrlhf.records.progress import Stopwatch
from textrlhf.records.run import DivergedError

pytestmark = pytest.mark.slow


class Memory(gym.Env):
    """Shows a number once, then asks for it four times."""

    metadata = {"render_modes": []}
    observation_space = spaces.Box(0, 1, (3,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number, self.t = int(self.np_random.integers(2)), 0
        return np.array([1, self.number, 0], np.float32), {}

    def step(self, action):
        self.t += 1
        return np.array([0, 0, 1], np.float32), float(action == self.number), self.t == 5, False, {}


class Rememberer:
    """An expert with a memory of one number."""

    def __call__(self, seen: np.ndarray) -> int:
        if seen[0]:
            self.number = int(seen[1])
        return self.number


def test_five_episodes_are_enough_for_cartpole() -> None:
    """The control, with random actions, stays at chance level."""
    expert = record(pole_expert, "CartPole-v1", 5, seed=100)
    agent = Clone.tuned("CartPole-v1", demonstrations=expert, seed=0).learn(30_000, progress=False)
    assert evaluate(agent, n_episodes=10).mean >= 475
    assert agent.heldout_metrics() == {}  # of five episodes none is held out
    rng = np.random.default_rng(0)
    drawn = Demonstrations([Episode(e.observations, rng.integers(0, 2, len(e))) for e in expert.episodes])
    control = Clone.tuned("CartPole-v1", demonstrations=drawn, seed=0).learn(10_000, progress=False)
    assert evaluate(control, n_episodes=10).mean < 200


def test_only_a_recurrent_policy_imitates_memory() -> None:
    """Fails if a GRU is trained without episode starts, or predicts without its state."""
    shown = record(Rememberer(), Memory(), 40, seed=0, n_envs=1)
    settings = {"demonstrations": shown, "seed": 0, "learning_rate": 1e-2, "n_envs": 1, "heldout": 0.25}
    accuracy, scores = {}, {}
    for policy in ("gru", "mlp"):
        agent = Clone(Memory(), policy=policy, **settings).learn(6_000, progress=False)
        accuracy[policy] = agent.heldout_metrics()["heldout/accuracy"]
        scores[policy] = evaluate(agent, Memory(), 20).mean
    assert accuracy["gru"] == 1
    assert scores["gru"] == 5
    assert accuracy["mlp"] < 0.9
    assert scores["mlp"] < 4.5


def test_continuous_actions_are_imitated() -> None:
    rng = np.random.default_rng(0)
    seen = rng.uniform(-1, 1, (1000, 3)).astype(np.float32)
    done = np.clip(seen @ np.array([[1.0], [-0.7], [0.4]]), -2, 2).astype(np.float32)
    made = Demonstrations([Episode((seen[i : i + 50],), done[i : i + 50]) for i in range(0, 1000, 50)])
    agent = Clone("Pendulum-v1", demonstrations=made, seed=0, learning_rate=3e-3)
    before = agent.heldout_metrics()
    agent.learn(20_000, progress=False)
    after = agent.heldout_metrics()
    assert before["heldout/error"] > 0.5
    assert after["heldout/error"] < 0.06
    assert after["heldout/loss"] < before["heldout/loss"] - 0.5
    action, _ = agent.predict(seen[0], deterministic=True)
    assert action.shape == (1,)


class Hidden(gym.Env):
    """Ten actions, of which a mask allows two; the higher one is right."""

    metadata = {"render_modes": []}
    observation_space = spaces.Box(0, 1, (1,), np.float32)
    action_space = spaces.Discrete(10)

    def _observe(self):
        self.mask = np.zeros(10, bool)
        self.mask[self.np_random.choice(10, 2, replace=False)] = True
        return np.ones(1, np.float32), {"action_mask": self.mask}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._observe()

    def step(self, action):
        reward = float(action == np.flatnonzero(self.mask)[-1])
        self.t += 1
        return *self._observe()[:1], reward, self.t == 10, False, {"action_mask": self.mask}


@pytest.mark.parametrize("policy", ["mlp", "gru"])
def test_masks_apply_to_heldout_metrics(policy: str) -> None:
    """The observation is constant, so accuracy above chance is due to the mask alone."""
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(40):
        masks = np.zeros((10, 10), bool)
        for row in masks:
            row[rng.choice(10, 2, replace=False)] = True
        right = np.array([np.flatnonzero(row)[-1] for row in masks])
        episodes.append(Episode((np.ones((10, 1), np.float32),), right, pack(masks)))
    agent = Clone(
        Hidden(), demonstrations=Demonstrations(episodes), policy=policy, seed=0, n_envs=1, learning_rate=1e-2
    )
    agent.learn(8_000, progress=False)
    assert agent.heldout_metrics()["heldout/accuracy"] > 0.95
    assert evaluate(agent, Hidden(), 5).mean > 9


def test_epochs_contain_every_step_once() -> None:
    agent = Clone("CartPole-v1", demonstrations=killed_clone.demonstrations(), seed=0, batch_size=50, heldout=0.1)
    seen: list[list[bytes]] = []
    for _ in range(2):
        seen.append([])
        while len(seen[-1]) < agent.epoch_steps:
            batch = agent._training_data().next()
            assert 0 < len(batch.actions) <= 50
            seen[-1] += [row.numpy().tobytes() for row in batch.observations[0]]
    learned = {row.tobytes() for e in agent.demonstrations.episodes for row in e.observations[0]}
    heldout = agent._training_data().heldout
    held = {row.numpy().tobytes() for row in heldout.take(np.arange(heldout.n_steps)).observations[0]}
    assert len(held) > 0
    assert set(seen[0]) == set(seen[1]) == learned - held
    assert len(seen[0]) == len(set(seen[0]))
    assert seen[0] != seen[1]


def test_heldout_split_is_by_prompt_or_named() -> None:
    """Prompts of the training data must not be in the held-out data."""
    many = [{"prompt": f"a{2 + i % 12}", "completion": f" a{20 + i // 12}"} for i in range(36)]
    agent = texts(many)
    learned, heldout = hold_out(agent.demonstrations, 0.25, np.random.default_rng(0))
    prompts = [{int(e.observations.tokens[0]) for e in part} for part in (learned, heldout)]
    assert len(prompts[1]) == 3
    assert len(heldout) == 9
    assert not prompts[0] & prompts[1]
    named = texts([{**row, "split": "heldout"} if i == 4 else row for i, row in enumerate(many)], heldout=0.0)
    assert named._training_data().heldout.n_steps == 2
    with pytest.raises(DataError, match="holds out every episode"):
        texts([{**row, "split": "heldout"} for row in many])


@pytest.mark.parametrize("steps", [300, 999, 4000])
def test_heldout_checks_is_the_number_of_evaluations(tmp_path: Path, steps: int) -> None:
    agent = Clone("CartPole-v1", demonstrations=killed_clone.demonstrations(), seed=0, batch_size=5, heldout_checks=10)
    agent.learn(steps, run=tmp_path, progress=False)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert 9 <= sum("heldout/loss" in row for row in rows) <= 11


def test_overfitting_shows_in_the_metrics(tmp_path: Path) -> None:
    """On random actions the training loss falls and the held-out loss rises."""
    rng = np.random.default_rng(0)
    noise = [Episode((rng.normal(size=(20, 4)).astype(np.float32),), rng.integers(0, 2, 20)) for _ in range(10)]
    Clone(
        "CartPole-v1", demonstrations=Demonstrations(noise), seed=0, heldout=0.3, learning_rate=1e-2, heldout_checks=5
    ).learn(20_000, run=tmp_path, progress=False)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    losses = [row["heldout/loss"] for row in rows if "heldout/loss" in row]
    assert 5 <= len(losses) <= 6
    assert losses[-1] > losses[0] + 0.2
    assert rows[-1]["train/loss"] < rows[0]["train/loss"] - 0.2
    assert "heldout/accuracy" in rows[-1]
    assert (tmp_path / "curves.png").is_file()


def test_learning_rate_warms_up_and_decays() -> None:
    agent = Clone(
        "CartPole-v1", demonstrations=some_episodes(), seed=0, warmup=4, learning_rate=1.0, max_grad_norm=1e-9
    )
    rates = [agent.advance(remaining, Stopwatch())["train/learning_rate"] for remaining in (1, 1, 1, 1, 0.5, 0)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.5, 0.0])


def test_observation_statistics_are_those_of_the_training_data() -> None:
    """They are computed once, before training."""
    made = killed_clone.demonstrations()
    agent = Clone("CartPole-v1", demonstrations=made, seed=0, normalize_observation=True, heldout=0.2)
    agent.learn(2000, progress=False)
    dataset = agent._training_data().dataset
    norm = agent.policy.encoder.parts[0].norm
    torch.testing.assert_close(norm.mean, torch.from_numpy(dataset.leaves[0].astype(np.float64).mean(0)))
    assert int(norm.count) == dataset.n_steps < made.n_steps


def test_nan_loss_raises_before_the_step() -> None:
    agent = Clone("CartPole-v1", demonstrations=some_episodes(), seed=0)
    agent.policy.actor.layers[0].weight.data[0, 0] = torch.nan
    before = agent.optimizer.mean.clone()
    with pytest.raises(DivergedError, match="the loss of minibatch 0 is not finite"):
        agent.advance(1.0, Stopwatch())
    assert torch.equal(agent.optimizer.mean, before)
