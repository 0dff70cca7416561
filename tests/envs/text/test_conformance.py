"""What Gymnasium, its wrappers and vector environments, and Stable-Baselines3 expect of an environment."""

import copy
import functools
import itertools
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from textrlhf.language import LanguageError, load
from tiny_envs import Chatting, Counting, text_env

EOS = 1
ARGUMENTS = {
    "kl_penalty": ["token", "deferred", "none"],
    "on_length": ["score", "truncate"],
    "min_new_tokens": [0, 3],
    "allowed_tokens": [None, (3, 4, 5, 6)],
    "render_mode": [None, "ansi", "human"],
    "task": [Counting(), Chatting()],
    "kl_coef": [0.0, 0.05],
    "room": [("error", 24), ("drop", 12), ("truncate", 12)],  # prompts have up to 5 tokens, and then room for 4
}


def pairwise(arguments):
    """Combinations in which every pair of values of two arguments occurs, found greedily."""
    names = list(arguments)

    def pairs(combination):
        return set(itertools.combinations(zip(names, combination, strict=True), 2))

    every = list(itertools.product(*(range(len(arguments[name])) for name in names)))
    missing = set().union(*map(pairs, every))
    rng, found = np.random.default_rng(0), []
    while missing:
        some = rng.choice(len(every), 60, replace=False)
        best = max((every[i] for i in some), key=lambda combination: len(pairs(combination) & missing))
        if pairs(best) & missing:
            missing -= pairs(best)
            found.append({name: arguments[name][i] for name, i in zip(names, best, strict=True)})
    return found


COMBINATIONS = pairwise(ARGUMENTS)


def unfolded(combination):
    overflow, context = combination["room"]
    rest = {name: value for name, value in combination.items() if name != "room"}
    return {**rest, "prompt_overflow": overflow, "context": context, "max_new_tokens": 8}


def short(combination):
    return "-".join(str(getattr(value, "name", value)) for value in combination.values())


@pytest.mark.parametrize("combination", COMBINATIONS, ids=short)
def test_gymnasium_check_env(text, capsys, combination):
    check_env(text(**unfolded(combination)).unwrapped, skip_render_check=False)


@pytest.mark.parametrize("combination", COMBINATIONS[::3], ids=short)
def test_stable_baselines_check_env(text, capsys, combination):
    sb3_check_env(text(**unfolded(combination)).unwrapped, warn=True)


@pytest.mark.parametrize("combination", COMBINATIONS, ids=short)
def test_native_batches_equal_sync_vector_envs(text, same, combination):
    kwargs = {name: value for name, value in unfolded(combination).items() if name != "render_mode"}
    mode = list(AutoresetMode)[COMBINATIONS.index(combination) % 3]
    sync = SyncVectorEnv([functools.partial(single, kwargs)] * 3, autoreset_mode=mode)
    agree([sync, text(3, mode, **kwargs)], same, mode, steps=40)
    sync.close()


def single(kwargs):
    return gym.make("textrlhf:TextRLHF-v0", **text_env(**kwargs))


@pytest.mark.slow
def test_other_processes_write_the_same_texts(text, same, saved, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # else two processes compete for the cores
    mode = AutoresetMode.SAME_STEP
    kwargs = {"model": saved, "task": Chatting(), "min_new_tokens": 1, "context": 24}
    makers = [functools.partial(gym.make, "textrlhf:TextRLHF-v0", **kwargs)] * 2
    async_env = AsyncVectorEnv(makers, context="spawn", autoreset_mode=mode)
    try:
        agree([async_env, SyncVectorEnv(makers, autoreset_mode=mode), text(2, mode, **kwargs)], same, mode, steps=70)
    finally:
        async_env.close()


def multiply(prompts, responses):
    """Enough work for several threads."""
    return [float((torch.ones(700, 700) @ torch.ones(700, 700))[0, 0])] * len(responses)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_processes_do_not_wait_for_threads(saved):
    """Guards against `vectorization_mode="async"` hanging without a word: a fork copies none of torch's threads."""
    kwargs = text_env(model=saved, max_new_tokens=1, reward_model=multiply, kl_coef=0.0)
    torch.set_num_threads(2)
    try:
        multiply([""], [""])  # starts them
        env = gym.make_vec("TextRLHF-v0", 2, vectorization_mode="async", **kwargs)
        try:
            env.reset(seed=0)
            env.step_async(np.array([5, 6]))
            rewards = env.step_wait(timeout=20)[1]
        finally:
            env.close(terminate=True)
    finally:
        torch.set_num_threads(1)
    assert rewards.tolist() == [700.0, 700.0]


def agree(envs, same, mode, steps):
    """The same observations, rewards, flags and infos from the same seeds, announcements and actions."""
    n, rng = envs[0].num_envs, np.random.default_rng(7)
    everything = [env.reset(seed=40) for env in envs]
    ends = 0
    for t in range(steps):
        for env, (seen, info) in zip(envs, everything, strict=True):
            np.testing.assert_array_equal(seen, everything[0][0])
            assert seen in env.observation_space
            same(everything[0][1], info, f"reset or step {t}")
        actions = np.where(rng.random(n) < 0.2, EOS, rng.integers(2, 40, n))
        logprobs = -rng.exponential(size=n)
        results = []
        for env in envs:
            if hasattr(env, "set_attr"):
                env.set_attr("policy_logprob", logprobs.tolist())
                env.set_attr("kl_coef", [0.01 * t] * n)
            else:
                env.policy_logprob, env.kl_coef = logprobs, 0.01 * t
            results.append(env.step(actions))
        for _, rewards, terminated, truncated, _ in results:
            np.testing.assert_allclose(rewards, results[0][1], atol=1e-5)
            np.testing.assert_array_equal(terminated, results[0][2])
            np.testing.assert_array_equal(truncated, results[0][3])
            assert (rewards.dtype, terminated.dtype, truncated.dtype) == (np.float64, bool, bool)
        ended = results[0][2] | results[0][3]
        ends += int(ended.sum())
        everything = [(result[0], result[4]) for result in results]
        if mode is AutoresetMode.DISABLED and ended.any():
            for _, info in everything:
                same(everything[0][1], info, f"end {t}")
            everything = [env.reset(options={"reset_mask": ended.copy()}) for env in envs]
    assert ends > 10


@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
@pytest.mark.parametrize("kl_penalty", ["token", "deferred", "none"])
@pytest.mark.parametrize("num_envs", [None, 3])
def test_a_copy_continues_identically(text, saved, same, rng, how, kl_penalty, num_envs):
    env = text(num_envs, model=saved, kl_penalty=kl_penalty, task=Chatting(), min_new_tokens=1, render_mode="ansi")
    env.reset(seed=3)
    size = () if num_envs is None else num_envs
    act = lambda: np.where(rng.random(size) < 0.3, EOS, rng.integers(2, 40, size))  # noqa: E731
    if kl_penalty == "deferred":
        env.unwrapped.settle()
    for _ in range(5):
        _, _, terminated, truncated, _ = env.step(act())
        if num_envs is None and (terminated or truncated):
            env.reset()
    env.unwrapped.policy_logprob = np.full(size, -2.0)
    other = pickle.loads(pickle.dumps(env)) if how == "pickle" else copy.deepcopy(env)
    assert other.unwrapped.reference_model is env.unwrapped.reference_model
    for _ in range(30):
        actions = act()
        one, two = env.step(actions), other.step(actions)
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
        np.testing.assert_array_equal(one[2:4], two[2:4])
        same(one[4], two[4])
        np.testing.assert_array_equal(env.unwrapped.action_masks(), other.unwrapped.action_masks())
        if num_envs is None and (one[2] or one[3]):
            same(env.reset()[1], other.reset()[1])
        assert env.render() == other.render()
    for one, two in zip(env.unwrapped.settle(), other.unwrapped.settle(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_copy_is_independent(text):
    env = text(task=Chatting(), min_new_tokens=2)
    seen, _ = env.reset(seed=0)
    other = copy.deepcopy(env)
    for _ in range(3):
        other.step(5)
    assert not env.unwrapped.action_masks()[EOS]  # the copy's method reads the copy
    assert other.unwrapped.action_masks()[EOS]
    after = env.step(6)[0]
    assert (after >= 0).sum() == (seen >= 0).sum() + 1


def test_an_unnamed_model_does_not_pickle(text):
    with pytest.raises(LanguageError, match=r"has no name.*save it first"):
        pickle.dumps(text())


def test_spec_copies_do_not_copy_the_model(text):
    for env in (text(), text(2)):
        copied = copy.deepcopy(env.unwrapped.spec)
        assert copied.kwargs["model"] is env.unwrapped.reference_model
        if env.spec.kwargs.get("num_envs") is None:
            assert env.spec.make().unwrapped.reference_model is env.unwrapped.reference_model


def test_a_model_is_loaded_once(text, saved):
    one, two = text(model=saved), text(3, model=saved)
    assert one.unwrapped.reference_model is two.unwrapped.reference_model is load(saved)


@pytest.mark.parametrize("kl_penalty", ["token", "deferred"])
def test_the_reference_does_not_change(text, rng, saved, kl_penalty):
    env = text(4, model=saved, kl_penalty=kl_penalty)
    lm = env.unwrapped.reference_model
    before = lm.fingerprint()
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())
    assert not lm.model.training
    env.reset(seed=0)
    for _ in range(40):
        env.unwrapped.policy_logprob = -rng.exponential(size=4)
        env.step(np.where(rng.random(4) < 0.2, EOS, rng.integers(2, 40, 4)))
    env.unwrapped.settle()
    assert lm.fingerprint() == before


def test_record_episode_statistics(text, write, rng):
    env = gym.wrappers.RecordEpisodeStatistics(text(kl_coef=0.2))
    for episode in range(5):
        one = write(env, rng, seed=episode)
        statistics = one.infos[-1]["episode"]
        assert statistics["l"] == one.infos[-1]["length"]
        assert statistics["r"] == pytest.approx(sum(one.rewards), abs=1e-5)


@pytest.mark.parametrize("mode", AutoresetMode)
def test_record_episode_statistics_of_a_batch(text, rng, mode):
    env = gym.wrappers.vector.RecordEpisodeStatistics(text(3, mode, kl_coef=0.2))
    env.reset(seed=0)
    ends = 0
    for _ in range(40):
        _, _, terminated, truncated, info = env.step(np.where(rng.random(3) < 0.2, EOS, rng.integers(2, 40, 3)))
        ended = terminated | truncated
        final = info["final_info"] if mode is AutoresetMode.SAME_STEP and ended.any() else info
        for row in np.flatnonzero(ended):
            statistics = final["episode"] if "episode" in final else info["episode"]
            assert statistics["l"][row] == final["length"][row]
            assert statistics["r"][row] == pytest.approx(final["score"][row] - 0.2 * final["kl"][row], abs=1e-4)
            ends += 1
        if mode is AutoresetMode.DISABLED and ended.any():
            env.reset(options={"reset_mask": ended})
    assert ends > 10


def test_a_time_limit_truncates(text, oracle):
    env = gym.make("TextRLHF-v0", max_episode_steps=3, **text_env(kl_coef=1.0))
    batch = gym.make_vec("TextRLHF-v0", num_envs=2, max_episode_steps=3, **text_env(kl_coef=1.0))
    env.reset(seed=0)
    batch.reset(seed=0)
    for t in range(3):
        _, reward, terminated, truncated, info = env.step(5)
        _, rewards, terminations, truncations, infos = batch.step(np.array([5, 5]))
        assert rewards[0] == pytest.approx(reward, abs=1e-5)
        assert (terminated, truncated) == (False, t == 2) == (terminations[0], truncations[0])
    assert "score" not in info
    assert "score" not in infos["final_info"]
    assert infos["final_info"]["finish_reason"].tolist() == ["time_limit"] * 2


@pytest.mark.parametrize("kl_penalty", ["token", "deferred"])
def test_a_truncated_text_pays_its_penalties(kl_penalty):
    env = gym.make_vec("TextRLHF-v0", num_envs=2, max_episode_steps=3, **text_env(kl_coef=1.0, kl_penalty=kl_penalty))
    env.reset(seed=0)
    total = sum(env.step(np.array([5, 6]))[1] for _ in range(2))
    _, rewards, *_, info = env.step(np.array([5, 6]))
    np.testing.assert_allclose(total + rewards, -info["final_info"]["kl"], atol=1e-5)


def test_gymnasium_wrappers(text):
    env = gym.wrappers.TransformReward(text(min_new_tokens=1), lambda reward: 2 * reward)
    env.reset(seed=0)
    env.get_wrapper_attr("settle")()
    assert env.get_wrapper_attr("action_masks")().sum() == 39
    env.set_wrapper_attr("kl_coef", 0.5)
    env.set_wrapper_attr("policy_logprob", -1.0)
    _, reward, *_, info = env.step(5)
    assert reward == pytest.approx(2 * 0.5 * (1.0 + info["ref_logprob"]))


def test_vectorization_modes_by_name(saved):
    envs = [
        gym.make_vec("TextRLHF-v0", 2, mode, **text_env(model=saved)) for mode in ("sync", "vector_entry_point", None)
    ]
    firsts = [env.reset(seed=0)[0] for env in envs]
    for first in firsts:
        np.testing.assert_array_equal(first, firsts[0])
    assert {type(env.unwrapped).__name__ for env in envs} == {"SyncVectorEnv", "TextVectorEnv"}
    for env in envs:
        env.close()
        env.close()
