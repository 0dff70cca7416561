"""A batch: autoreset modes, final observations and infos, the order of prompts, and saved state."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from tiny_envs import Chatting, Counting, text_env
from tiny_models import tiny_lm

EOS = 1


def test_same_step_is_the_default(text):
    env = gym.make_vec("TextRLHF-v0", num_envs=3, **text_env())
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    env.reset(seed=0)
    before, *_ = env.step(np.array([5, 5, 5]))
    seen, _, terminated, _, info = env.step(np.array([EOS, 6, EOS]))
    np.testing.assert_array_equal(terminated, [True, False, True])
    np.testing.assert_array_equal(info["_final_obs"], terminated)
    np.testing.assert_array_equal(info["_final_info"], terminated)
    assert info["final_obs"][1] is None
    for row in (0, 2):
        final = before[row].copy()
        final[(final >= 0).sum()] = EOS
        np.testing.assert_array_equal(info["final_obs"][row], final)
        assert info["final_info"]["response"][row] == " a5"
        np.testing.assert_array_equal(seen[row][seen[row] >= 0], tiny_lm().encode(info["prompt"][row]))
    np.testing.assert_array_equal(info["_prompt"], terminated)  # of the new text
    assert "response" not in info
    np.testing.assert_array_equal(info["_ref_logprob"], [False, True, False])
    np.testing.assert_array_equal(info["final_info"]["_ref_logprob"], terminated)
    assert "final_obs" not in env.step(np.array([5, 5, 5]))[4]


def test_next_step_takes_a_step_to_restart(text):
    env = text(2, "NextStep")
    env.reset(seed=0)
    seen, _, terminated, _, info = env.step(np.array([EOS, 5]))
    assert (seen[0] == EOS).any()
    assert info["response"][0] == ""
    assert "final_obs" not in info
    seen, rewards, terminated, truncated, info = env.step(np.array([7, 5]))  # 7 is ignored
    assert rewards[0] == 0
    assert not (terminated | truncated).any()
    np.testing.assert_array_equal(seen[0][seen[0] >= 0], tiny_lm().encode(info["prompt"][0]))
    np.testing.assert_array_equal(info["_prompt"], [True, False])
    np.testing.assert_array_equal(info["_ref_logprob"], [False, True])


@pytest.mark.parametrize("kl_penalty", ["token", "deferred", "none"])
@pytest.mark.parametrize("num_envs", [1, 3])
def test_next_step_with_all_slots_restarting(text, num_envs, kl_penalty):
    env = text(num_envs, "NextStep", kl_penalty=kl_penalty, max_new_tokens=2)
    env.reset(seed=0)
    ends = [env.step(np.full(num_envs, 5))[2].all() for _ in range(9)]
    assert ends == [False, True, False] * 3


def test_disabled_waits_for_a_reset(text):
    env = text(3, "Disabled")
    env.reset(seed=0)
    env.step(np.array([5, 5, 5]))
    seen, *_ = env.step(np.array([EOS, 6, EOS]))
    with pytest.raises(ResetNeeded, match=r"environment 0 is over.*reset_mask"):
        env.step(np.array([5, 5, 5]))
    mask = np.array([True, False, False])
    env.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(mask, [True, False, False])
    with pytest.raises(ResetNeeded, match=r"environment 2 is over"):
        env.step(np.array([5, 5, 5]))
    options = {"reset_mask": np.array([False, False, True])}
    after, info = env.reset(options=options)
    np.testing.assert_array_equal(options["reset_mask"], [False, False, True])  # only read
    np.testing.assert_array_equal(after[1], seen[1])  # this text continues
    assert after[2].tolist() != seen[2].tolist()
    np.testing.assert_array_equal(info["_prompt"], [False, False, True])
    env.step(np.array([5, 5, 5]))


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_a_masked_reset_does_not_affect_other_slots(text, oracle, rng, mode):
    env, lm = text(4, mode, kl_coef=1.0, max_new_tokens=16, context=23), tiny_lm()
    seen, _ = env.reset(seed=0)
    for step in range(12):
        actions = rng.integers(2, 40, 4)
        expected = [oracle.logprob(lm, s, a) for s, a in zip(seen, actions, strict=True)]
        seen, rewards, *_ = env.step(actions)
        np.testing.assert_allclose(rewards, expected, atol=1e-5)
        if step % 3 == 2:
            mask = rng.random(4) < 0.5
            mask[step % 4] = True
            after, _ = env.reset(options={"reset_mask": mask})
            np.testing.assert_array_equal(after[~mask], seen[~mask])
            seen = after


def test_a_masked_reset_with_seed_and_prompts(text):
    env, single = text(3, "Disabled"), text()
    env.reset(seed=0)
    mask = np.array([True, False, True])
    _, info = env.reset(seed=50, options={"reset_mask": mask})
    assert info["prompt"][2] == single.reset(seed=52)[1]["prompt"]
    _, info = env.reset(options={"reset_mask": mask, "prompt": [3, 9]})
    records = Counting().prompts("train")
    assert info["prompt"].tolist() == [records[3].text, None, records[9].text]


def test_next_step_after_a_masked_reset(text):
    env = text(2, "NextStep")
    env.reset(seed=0)
    env.step(np.array([EOS, 5]))
    seen, _ = env.reset(options={"reset_mask": np.array([True, False])})
    after, rewards, *_ = env.step(np.array([5, 5]))
    assert (after[0] >= 0).sum() == (seen[0] >= 0).sum() + 1
    assert rewards[0] != 0


@pytest.mark.parametrize("task", [Counting, Chatting])
def test_slot_i_is_the_single_environment_of_seed_plus_i(text, rng, task):
    env = text(4, "NextStep", task=task())
    singles = [text(task=task()) for _ in range(4)]
    seen, _ = env.reset(seed=11)
    begun = [single.reset(seed=11 + i) for i, single in enumerate(singles)]
    np.testing.assert_array_equal(seen, [first for first, _ in begun])
    over = np.zeros(4, bool)
    for _ in range(80):
        actions = np.where(rng.random(4) < 0.25, EOS, rng.integers(2, 40, 4))
        seen, rewards, terminated, truncated, _ = env.step(actions)
        for i, single in enumerate(singles):
            alone = (single.reset()[0], 0.0, False, False) if over[i] else single.step(actions[i])[:4]
            np.testing.assert_array_equal(seen[i], alone[0])
            assert rewards[i] == pytest.approx(alone[1], abs=1e-5)
            assert (terminated[i], truncated[i]) == alone[2:]
        over = terminated | truncated


@pytest.mark.parametrize("seeds", [[5, 9, 5], np.array([5, 9, 5]), [5, 9, np.int64(5)]])
def test_a_seed_for_each_slot(text, seeds):
    seen, _ = text(3).reset(seed=seeds)
    np.testing.assert_array_equal(seen[0], seen[2])
    np.testing.assert_array_equal(seen[1], text().reset(seed=9)[0])


def test_each_slot_has_its_own_order(text):
    env = text(2, max_new_tokens=1)
    _, info = env.reset(seed=0)
    shown = [info["prompt"]]
    shown += [env.step(np.array([5, 5]))[4]["prompt"] for _ in range(3 * 23 - 1)]
    everything = sorted(prompt.text for prompt in Counting().prompts("train"))
    orders = []
    for slot in zip(*shown, strict=True):
        for epoch in range(3):
            order = slot[23 * epoch : 23 * (epoch + 1)]
            assert sorted(order) == everything
            orders.append(order)
    assert len(set(orders)) == 6


def test_without_a_seed_environments_differ(text):
    first = [env.reset()[1]["prompt"] for env in [text()] for _ in range(8)]
    second = [env.reset()[1]["prompt"] for env in [text()] for _ in range(8)]
    assert first != second


def test_a_reset_without_a_seed_takes_the_next_prompt(text):
    env = text()
    shown = [env.reset(seed=0)[1]["prompt"]] + [env.reset()[1]["prompt"] for _ in range(22)]
    assert sorted(shown) == sorted(prompt.text for prompt in Counting().prompts("train"))


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("num_envs", [None, 3])
def test_a_state_restores_the_future(text, num_envs, fresh):
    """The next prompts and the user's replies; also in an environment that was never reset."""

    def future(env):
        shown = []
        for _ in range(30):
            shown.append(np.atleast_1d(env.reset()[1]["prompt"]).tolist())
            act = EOS if num_envs is None else np.full(num_envs, EOS)
            shown += [env.step(act)[0].tolist() for _ in range(2)]
        return shown

    env = text(num_envs, task=Chatting())
    env.reset(seed=0)
    for _ in range(7):
        env.reset()
    state = json.loads(json.dumps(env.unwrapped.get_state()))
    expected = future(env)
    other = text(num_envs, task=Chatting()) if fresh else env
    other.unwrapped.set_state(state)
    assert future(other) == expected
    assert json.loads(json.dumps(state)) == state


def test_a_state_is_a_copy(text):
    env = text()
    env.reset(seed=0)
    state = env.unwrapped.get_state()
    kept = json.dumps(state)
    for _ in range(30):
        env.reset()
    assert json.dumps(state) == kept


def test_a_seeded_reset_overrides_a_state(text):
    env = text()
    env.reset(seed=1)
    state = env.unwrapped.get_state()
    other = text()
    other.unwrapped.set_state(state)
    assert other.reset(seed=7)[1] == text().reset(seed=7)[1]


def test_a_state_of_another_batch_size_is_refused(text):
    env = text(3)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="state has 2 entries: expected 3"):
        env.unwrapped.set_state(env.unwrapped.get_state()[:2])


@pytest.mark.parametrize("num_envs", [None, 2])
def test_no_global_randomness(text, num_envs):
    import random

    import torch

    env = text(num_envs, task=Chatting())
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    env.reset(seed=0)
    for token in (5, EOS, 6, EOS):
        env.step(token if num_envs is None else np.array([token] * 2))
    env.reset()
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    assert before == after


@pytest.mark.parametrize(
    "mask",
    [
        [True, False],
        np.array([1, 0]),
        np.array([True, False, True]),
        np.array([False, False]),
        np.array([[True], [False]]),
    ],
    ids=["list", "numbers", "too long", "none of them", "column"],
)
def test_an_invalid_reset_mask(text, mask):
    env = text(2, "Disabled")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"(?s)reset_mask.*expected a bool array \(2,\)"):
        env.reset(options={"reset_mask": mask})


def test_the_first_reset_must_begin_every_slot(text):
    env = text(2)
    with pytest.raises(ResetNeeded, match="first reset"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(options={"reset_mask": np.array([True, True])})
    env.step(np.array([5, 5]))
