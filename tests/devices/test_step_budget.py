"""What a step of a rollout may cost a GPU: one copy there and one copy back for each model that is asked."""

from __future__ import annotations

import copy
import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch

from pretend_gpu import Counts, PretendGPU, pretend_gpu
from text_learner import ENVS, learner
from textrlhf.agents import PPO
from textrlhf.agents.policies import LanguageModelPolicy
from textrlhf.language import CausalLM
from textrlhf.language.device_copies import PackedUpload, to_host
from textrlhf.language.generation import generate
from textrlhf.records.progress import Stopwatch
from tiny_envs import text_env
from tiny_models import V, tiny_model, word_tokenizer

pytestmark = pytest.mark.slow

N = 6


@pytest.fixture
def gpu():
    with pretend_gpu() as device:
        yield device


def handle(family: str) -> CausalLM:
    return CausalLM(tiny_model(family).to("gpu"), word_tokenizer())


def costs(agent: PPO, gpu: PretendGPU) -> dict[bool, list[Counts]]:
    """What each step of a rollout costs, from one return of the environment to the next; by whether a text begins."""
    seen: list[Counts] = []  # what had been counted when a step was over
    begins, step = [True], agent.env.step

    def watched(*given):
        turn = step(*given)
        seen.append(copy.deepcopy(gpu.counts))
        begins.append(bool(turn.starts.any()))
        return turn

    agent.env.step = watched
    agent.collect(Stopwatch())
    found: dict[bool, list[Counts]] = {False: [], True: []}
    for (before, after), begin in zip(itertools.pairwise(seen), begins[1:-1], strict=True):
        found[begin].append(Counts(*(getattr(after, name) - getattr(before, name) for name in vars(after))))
    assert min(map(len, found.values())) >= 2
    return found


def check(agent: PPO, gpu: PretendGPU, models: int) -> None:
    """One upload and one sync for each model; where a text begins its prompt is read by a forward of its own."""
    for begins, steps in costs(agent, gpu).items():
        for step in steps:
            assert step.uploads.total() <= (2 * models if begins else models), str(step)
            assert step.syncs.total() <= models, str(step)
            assert step.kernels.total() > 0


def make(kind: str, family: str, kl_penalty: str, agent: type[PPO] = PPO) -> PPO:
    options = {**ENVS[kind], "device": "gpu", "kl_penalty": kl_penalty}
    env = gym.make_vec("TextRLHF-v0", N, **text_env(**{**options, "model": handle(family)}))
    return learner(env, agent, device="gpu", n_steps=24)


@pytest.mark.parametrize(
    ("kind", "family", "kl_penalty", "models"),
    [
        ("plain", "gpt2", "deferred", 1),
        ("masks", "llama", "deferred", 1),
        ("masks", "gpt2", "token", 2),
    ],
)
def test_a_step_makes_one_copy_each_way_for_each_model(
    kind: str, family: str, kl_penalty: str, models: int, gpu: PretendGPU
) -> None:
    check(make(kind, family, kl_penalty), gpu, models)


class Waits(LanguageModelPolicy):
    """Looks at a number in the middle of a step."""

    def act(self, *given, **more):
        act = super().act(*given, **more)
        assert float(act.log_prob.sum()) <= 0
        return act


class SendsTwice(LanguageModelPolicy):
    """Copies the observation itself as well."""

    def act(self, observation, *given, **more):
        torch.from_numpy(np.array(observation[0])).to("gpu")
        return super().act(observation, *given, **more)


@pytest.mark.parametrize("sabotage", [Waits, SendsTwice])
def test_sabotage_is_caught(sabotage: type, gpu: PretendGPU) -> None:
    class Sabotaged(PPO):
        def make_policy(self):
            policy = super().make_policy()
            policy.__class__ = sabotage
            return policy

    with pytest.raises(AssertionError, match="outside the library|copy"):
        check(make("plain", "gpt2", "deferred", Sabotaged), gpu, 1)


def test_generation_makes_one_copy_each_way_a_token(gpu: PretendGPU) -> None:
    prompts, lm = [np.arange(2, 6)] * 5, handle("gpt2")
    generate(lm, prompts, 1)  # which memory is right for the model has been tried
    with gpu.counting() as counts:
        texts = generate(lm, prompts, 10)
    steps = max(len(text.tokens) for text in texts)
    assert counts.uploads.total() == counts.syncs.total() == steps


def test_what_is_copied_together_arrives_as_it_was(gpu: PretendGPU) -> None:
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(0, V, 3),
        rng.random((3, 5)) < 0.5,
        rng.random(7).astype(np.float32),
        rng.integers(0, V, (4, 6))[:, ::2],
        np.zeros((0, 3), np.int64),
        rng.random((2, 1, 3)),
    ]
    for device, copies in (("cpu", 0), ("gpu", 1)):
        upload = PackedUpload(torch.device(device))
        with gpu.counting() as counts:
            keys = [upload.add(array) for array in arrays]
            tensors = [upload[key] for key in reversed(keys)][::-1]
            later = upload[upload.add(arrays[0])]
            assert upload[keys[0]] is tensors[0]
        assert counts.uploads.total() == 2 * copies
        assert {tensor.device.type for tensor in (*tensors, later)} == {device}
        with gpu.counting() as counts:
            back = to_host(*tensors)
        assert counts.syncs.total() == copies
        for array, other in zip(arrays, back, strict=True):
            assert array.dtype == other.dtype
            np.testing.assert_array_equal(array, other)
