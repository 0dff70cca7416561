"""Growing texts: reading only their new tokens gives the same results as comparing whole observations."""

from __future__ import annotations

import tracemalloc
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import VectorObservationWrapper

from text_learner import DISABLED, NEXT_STEP, SAME_STEP, N, batch, learner
from textrlhf.agents import PPO
from textrlhf.agents.policies.text_memory import TextLog, TextMemory
from textrlhf.language import CausalLM
from textrlhf.language.growing_texts import GrowingTexts, growing_lengths
from textrlhf.records.progress import Stopwatch
from tiny_envs import text_env
from tiny_models import V, tiny_lm, tiny_model, word_tokenizer

pytestmark = pytest.mark.slow


def borrows(agent: PPO) -> bool:
    return growing_lengths(agent.collector.observation[0]) is not None


@pytest.mark.parametrize(
    ("kind", "family", "mode"),
    [
        ("plain", "gpt2", SAME_STEP),
        ("dialogue", "gpt2", SAME_STEP),
        ("masks", "opt", SAME_STEP),  # a forbidden token is not written: the text stays as it is
        ("cut", "llama", NEXT_STEP),
        ("dialogue", "bloom", DISABLED),
    ],
)
def test_sharing_observations_is_bit_identical(kind: str, family: str, mode: Any) -> None:
    weights = []
    for wanted in (True, False):
        agent = learner(batch(kind, family, mode), moved=0.05)
        agent.env.share_observations(wanted)
        agent.cut(None)
        assert borrows(agent) == wanted
        for _ in range(4):
            agent.advance(1.0, Stopwatch())
        weights.append(agent.optimizer.flat.clone())
    assert torch.equal(*weights)


def test_new_texts_are_recognised_without_starts() -> None:
    """A text is new if the token at its previous end differs; ordinary arrays may come in between."""
    lm, width = tiny_lm(), 30
    of_growing, of_any = TextMemory(lm, 2, width), TextMemory(lm, 2, width)
    logs, rng, texts = (TextLog(), TextLog()), np.random.default_rng(0), [[3], [4, 5]]
    for t in range(30):
        tokens = np.full((2, width), -1, np.int64)
        for row, text in enumerate(texts):
            if len(text) > 20:
                del text[2:]
            elif t % 7 == row:
                text[:] = [int(token) for token in rng.integers(2, V, len(text) - 1)] + [text[-1] % (V - 2) + 2]
            text += rng.integers(2, V, rng.integers(0, 4)).tolist()
            tokens[row, : len(text)] = text
        seen = tokens.copy() if t % 5 == 4 else GrowingTexts.of(tokens, np.array([len(text) for text in texts]))
        starts = np.full(2, t == 0)
        torch.testing.assert_close(of_growing.read(seen, starts), of_any.read(tokens.copy(), starts))
        for log, grid in zip(logs, (seen, tokens.copy()), strict=True):
            log.add((grid,), starts)
    (found, steps), (expected, others) = (log.whole() for log in logs)
    np.testing.assert_array_equal(steps, others)
    for a, b in zip(found.texts, expected.texts, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(found.columns, expected.columns)


def peaks(agent: PPO) -> list[int]:
    """Peak memory of steps in which no text starts."""
    agent.cut(None)
    log, found = agent.policy.new_log(agent.collector.memory), []
    for _ in range(20):
        log.add(agent.collector.observation, agent.collector.starts)
        tracemalloc.start()
        try:
            act = agent.policy.act(agent.collector.observation, agent.collector.memory, agent.collector.starts)
            result = agent.env.step(*act.on_host())
            if not (agent.collector.starts | result.starts).any():
                log.add(result.observation, result.starts)
                found.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        agent.collector.observation, agent.collector.starts, agent.collector.memory = (
            result.observation,
            result.starts,
            act.memory,
        )
    assert len(found) >= 3
    return found


def test_a_step_copies_no_whole_observation() -> None:
    width = 30_000
    lm = CausalLM(tiny_model("gpt2", n_positions=width), word_tokenizer())
    agent = learner(gym.make_vec("TextRLHF-v0", N, **text_env(model=lm, context=width)))
    agent.advance(1.0, Stopwatch())
    grid = N * width * 8
    assert max(peaks(agent)) < grid / 16, "comparing the grid makes an eighth of it"
    agent.env.share_observations(False)
    assert min(peaks(agent)) > grid, "the measure is blind"


def test_derived_arrays_are_not_growing_texts() -> None:
    tokens = np.array([[3, 4, -1], [5, -1, -1]])
    texts = GrowingTexts.of(tokens, np.array([2, 1]))
    assert growing_lengths(texts).tolist() == [2, 1]
    for other in (tokens, texts.copy(), texts[:1], texts + 1, np.where(texts > 4, 4, texts), texts[[1, 0]]):
        assert growing_lengths(other) is None
    with pytest.raises(ValueError, match="read-only"):
        texts[0, 0] = 7
    tokens[0, 0] = 7  # the environment may
    assert texts[0, 0] == 7


class Shifted(VectorObservationWrapper):
    """Shows other tokens."""

    def observations(self, observations: Any) -> Any:
        return np.where(observations < 0, observations, (observations + 1) % V)


def test_only_text_policies_share_observations() -> None:
    assert borrows(learner(batch()))
    assert not borrows(learner(Shifted(batch(mode=NEXT_STEP))))
    assert not borrows(learner(gym.make_vec("TextRLHF-v0", N, vectorization_mode="sync", **text_env())))
    keeps = learner(batch(), policy="mlp")
    assert not borrows(keeps)
    assert keeps.advance(1.0, Stopwatch())["train/first_ratio_error"] < 1e-5


def test_other_callers_get_copies() -> None:
    env = batch()
    agent = learner(env)
    agent.advance(1.0, Stopwatch())
    before, _ = env.reset(seed=0)
    shown = before.copy()
    after, *_ = env.step(np.full(N, 5))
    assert type(before) is type(after) is np.ndarray
    np.testing.assert_array_equal(before, shown)
    assert (after != before).any()
