"""Rewards and advantages on text, with token and deferred KL penalties, in all autoreset modes (design §7.2, §7.3)."""

from __future__ import annotations

import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from text_learner import DISABLED, ENVS, NEXT_STEP, SAME_STEP, N, batch, learner, rollouts
from textrlhf.agents import PPO
from textrlhf.agents.policies import language_model as module
from textrlhf.records.progress import Stopwatch
from tiny_envs import text_env

pytestmark = pytest.mark.slow

KL_PENALTIES = ["token", "deferred"]
BETA = 0.3


@pytest.mark.parametrize("kl_penalty", KL_PENALTIES)
@pytest.mark.parametrize(
    ("family", "kind"),
    [("gpt2", "plain"), ("gpt2", "cut"), ("llama", "dialogue"), ("opt", "masks"), ("bloom", "cut")],
)
def test_kl_penalty_is_zero_if_policy_equals_reference(family: str, kind: str, kl_penalty: str) -> None:
    agent = learner(batch(kind, family, kl_penalty=kl_penalty, kl_coef=1.0), n_steps=16)
    first, second = (rollout.kl for rollout in rollouts(agent, 2, learn=True))
    assert 0 < float(np.abs(first).max()) < 1e-5
    assert float(np.abs(second).max()) > 1e-3, "no KL after an update"


@pytest.mark.parametrize("kl_penalty", KL_PENALTIES)
@pytest.mark.parametrize("kind", ENVS)
def test_rewards_of_a_text_sum_to_score_minus_penalties(kind: str, kl_penalty: str) -> None:
    """Across rollouts and cuts; `score` and `kl` are those of the episode's info."""
    agent, infos = learner(batch(kind, kl_penalty=kl_penalty, kl_coef=BETA), moved=0.1), []
    add = agent.episodes.add
    agent.episodes.add = lambda *args: infos.append(args[-1]) or add(*args)
    parts = list(rollouts(agent, 6, learn=True))
    rewards, kl = (np.concatenate([getattr(part, name) for part in parts]) for name in ("rewards", "kl"))
    first, ends = np.zeros(N, np.int64), 0
    every = {(7 * i + t, slot): info for i, some in enumerate(infos) for (t, slot), info in some.items()}
    for (t, slot), info in sorted(every.items()):
        text = slice(first[slot], t + 1), slot
        total = info.get("score", 0.0) + info.get("credit", 0.0) - BETA * kl[text].sum()
        assert rewards[text].sum() == pytest.approx(total, abs=1e-5)
        assert info["length"] == t + 1 - first[slot]
        assert info["kl"] == pytest.approx(kl[text].sum(), abs=1e-5)
        first[slot], ends = t + 1, ends + 1
    assert ends > N
    assert np.abs(kl).max() > 1e-2


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *((kind, SAME_STEP) for kind in ENVS),
        ("cut", NEXT_STEP),
        ("masks", NEXT_STEP),
        ("credit", NEXT_STEP),
        ("dialogue", DISABLED),
    ],
)
def test_token_and_deferred_penalties_give_equal_advantages(kind: str, mode: AutoresetMode) -> None:
    """Fails if penalties are put at other steps or slots, or lost at cuts, rollout ends or resets."""
    agents = [
        learner(batch(kind, kl_penalty=kl_penalty, mode=mode, kl_coef=BETA), moved=0.1) for kl_penalty in KL_PENALTIES
    ]
    cuts = 0
    for at_once, later in zip(*(rollouts(agent, 4, learn=False) for agent in agents), strict=True):
        assert torch.equal(at_once.actions, later.actions)
        if at_once.kl is not None:  # see test_kl_is_known_despite_steps_of_resets_only
            np.testing.assert_allclose(later.kl, at_once.kl, atol=1e-5)
        np.testing.assert_allclose(later.rewards, at_once.rewards, atol=1e-5)
        np.testing.assert_allclose(later.advantages, at_once.advantages, atol=1e-5)
        cuts += int(at_once.truncated.sum())
    assert (cuts > 0) == (kind == "cut")


def test_kl_is_known_despite_steps_of_resets_only() -> None:
    agent = learner(batch("cut", mode=NEXT_STEP), moved=0.1, n_steps=12)
    (rollout,) = rollouts(agent, 1, learn=False)
    assert not rollout.valid.any(1).all()
    assert rollout.kl is not None


@pytest.mark.parametrize("kind", ENVS)
def test_autoreset_disabled_equals_same_step(kind: str) -> None:
    same, disabled = (learner(batch(kind, mode=mode, kl_penalty="deferred")) for mode in (SAME_STEP, DISABLED))
    for _ in range(3):
        for agent in (same, disabled):
            agent.advance(1.0, Stopwatch())
    assert torch.equal(same.optimizer.flat, disabled.optimizer.flat)


@pytest.mark.parametrize("kind", ["credit", "cut"])
def test_single_environments_settle_as_the_batch(kind: str) -> None:
    """Guards against late infos of another text, slot or step, where each environment settles by itself."""
    options = {**text_env(**ENVS[kind]), "kl_penalty": "deferred", "kl_coef": BETA}
    modes = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": SAME_STEP}}
    envs = gym.make_vec("TextRLHF-v0", N, **options), gym.make_vec("TextRLHF-v0", N, **modes, **options)
    agents = [learner(env, moved=0.1) for env in envs]
    for one, other in zip(*(rollouts(agent, 3, learn=False) for agent in agents), strict=True):
        np.testing.assert_allclose(other.rewards, one.rewards, atol=1e-5)
    native, single = (agent.episodes.recent for agent in agents)
    assert len(native) > N
    for one, other in zip(native, single, strict=True):
        assert other == pytest.approx(one, abs=1e-5)
        assert "kl" in one
        assert ("score" in one) or kind == "cut"


def texts_of(agent: PPO, monkeypatch: pytest.MonkeyPatch) -> list[list[list[np.ndarray]]]:
    """By slot, the columns of each whole text of a rollout, with sampling that depends on the text only."""
    act, draw = agent.policy.act, module.draw

    def act_by_text(observation, *args, **options):
        seeds = [abs(hash(tuple(text.tolist()))) for text in observation[0]]
        uniform = torch.tensor([np.random.default_rng(seed).random() for seed in seeds])
        with monkeypatch.context() as patched:
            patched.setattr(module, "draw", lambda logits, **given: draw(logits, **{**given, "uniform": uniform}))
            return act(observation, *args, **options)

    monkeypatch.setattr(agent.policy, "act", act_by_text)
    (rollout,) = rollouts(agent, 1, learn=False)
    columns = [rollout.actions, rollout.values, rollout.rewards, rollout.advantages, rollout.returns]
    found: list[list[list[np.ndarray]]] = []
    for slot in range(N):
        bounds = [-1, *np.flatnonzero(rollout.ended[:, slot])]
        steps = [np.arange(a + 1, b + 1) for a, b in itertools.pairwise(bounds)]
        real = [span[rollout.valid[span, slot]] for span in steps]
        found.append([[np.asarray(column)[span, slot] for column in columns] for span in real])
    return found


@pytest.mark.parametrize("kl_penalty", KL_PENALTIES)
@pytest.mark.parametrize("kind", ["cut", "masks", "dialogue"])
def test_next_step_autoreset_gives_the_same_texts(kind: str, kl_penalty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its reset steps differ."""
    env = {"kl_penalty": kl_penalty, "kl_coef": BETA}
    agents = [learner(batch(kind, mode=mode, **env), moved=0.1, n_steps=40) for mode in (SAME_STEP, NEXT_STEP)]
    same, spent = (texts_of(agent, monkeypatch) for agent in agents)
    for mine, theirs in zip(same, spent, strict=True):
        assert 1 <= len(theirs) <= len(mine)
        for one, other in zip(mine, theirs, strict=False):
            for column, same_column in zip(one, other, strict=True):
                np.testing.assert_allclose(column, same_column, atol=2e-5)
