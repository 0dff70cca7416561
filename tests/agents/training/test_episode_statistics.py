"""Statistics of training episodes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from textrlhf.agents.training.episode_statistics import WINDOW, EpisodeStatistics


def steps(seed: int, total: int = 120, slots: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random rewards and ends; the step after an end is a reset, whose reward must be ignored."""
    rng = np.random.default_rng(seed)
    rewards, ended = rng.normal(size=(total, slots)), rng.random((total, slots)) < 0.2
    valid = np.ones_like(ended)
    for t in range(1, total):
        valid[t] = ~ended[t - 1]
        ended[t] &= valid[t]
    rewards[~valid] = 1e6
    return rewards, ended, valid


def by_hand(rewards: np.ndarray, ended: np.ndarray, valid: np.ndarray) -> list[tuple[float, int]]:
    """Each slot's episodes, in the order in which they ended."""
    found = []
    for n in range(rewards.shape[1]):
        mine: list[float] = []
        for t in range(len(rewards)):
            if valid[t, n]:
                mine.append(rewards[t, n])
            if ended[t, n]:
                found.append((t, n, sum(mine), len(mine)))
                mine = []
    return [(total, length) for _, _, total, length in sorted(found)]


@pytest.mark.parametrize("pieces", [1, 4, 120], ids=lambda n: f"{n} rollouts")
def test_returns_and_lengths_add_up_across_rollouts(pieces: int) -> None:
    rewards, ended, valid = steps(0)
    episodes = EpisodeStatistics(3)
    for part in np.array_split(np.arange(120), pieces):
        episodes.add(rewards[part], ended[part], valid[part])
    expected = by_hand(rewards, ended, valid)
    assert episodes.finished == len(expected) > 20
    np.testing.assert_allclose([(e["return"], e["length"]) for e in episodes.recent], expected, atol=1e-12)
    mean_return, mean_length = np.mean(expected, axis=0)
    assert episodes.metrics() == pytest.approx({"rollout/return": mean_return, "rollout/length": mean_length})


def test_infos_and_kl_are_averaged_over_the_episodes_that_have_them() -> None:
    """KL adds up over an episode, across rollouts and not through a reset; words are no numbers."""
    episodes = EpisodeStatistics(2)
    one = np.ones((1, 2))
    episodes.add(one, one < 0, one > 0, kl=np.array([[0.5, 0.25]]))
    infos = {(0, 0): {"score": np.float64(2.0), "is_success": True, "response": "words"}}
    episodes.add(one, np.array([[True, False]]), np.array([[True, False]]), kl=np.array([[0.5, 99.0]]), infos=infos)
    episodes.add(one, one > 0, one > 0, kl=np.array([[3.0, 1.0]]))
    metrics = episodes.metrics()
    assert metrics["rollout/kl"] == pytest.approx((1.0 + 3.0 + 1.25) / 3)
    assert (metrics["rollout/score"], metrics["rollout/is_success"]) == (2.0, 1.0)
    assert "rollout/response" not in metrics
    again = EpisodeStatistics(2)
    again.load_state_dict(json.loads(json.dumps(episodes.state_dict())))
    assert again.metrics() == metrics


def test_means_are_over_the_last_hundred_episodes() -> None:
    """An average over all of training would hide for ever how well the agent does now."""
    episodes = EpisodeStatistics(1)
    yes = np.ones((250, 1), bool)
    episodes.add(np.arange(250.0)[:, None], yes, yes)
    assert WINDOW == 100
    assert episodes.metrics() == {"rollout/return": np.mean(np.arange(150, 250)), "rollout/length": 1.0}
    assert episodes.finished == 250


def test_no_metrics_before_the_first_episode_ends() -> None:
    episodes = EpisodeStatistics(2)
    episodes.add(np.ones((5, 2)), np.zeros((5, 2), bool), np.ones((5, 2), bool))
    assert episodes.metrics() == {}


def test_cut_drops_unfinished_episodes_only() -> None:
    episodes = EpisodeStatistics(1)
    yes, no = np.ones((1, 1), bool), np.zeros((1, 1), bool)
    episodes.add(np.full((1, 1), 3.0), yes, yes)
    episodes.add(np.full((1, 1), 50.0), no, yes)
    episodes.cut()
    episodes.add(np.full((1, 1), 4.0), yes, yes)
    assert list(episodes.recent) == [{"return": 3.0, "length": 1.0}, {"return": 4.0, "length": 1.0}]


def test_state_dict_round_trips_through_json() -> None:
    episodes, copy = EpisodeStatistics(3), EpisodeStatistics(3)
    episodes.add(*steps(1))
    episodes.cut()  # as a checkpoint does
    copy.load_state_dict(json.loads(json.dumps(episodes.state_dict())))
    for each in (episodes, copy):
        each.add(*steps(2))
    assert copy.recent == episodes.recent
    assert copy.recent.maxlen == WINDOW
    assert copy.finished == episodes.finished
