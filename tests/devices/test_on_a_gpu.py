"""The library on a GPU that is pretended: nothing mixes devices, and results are those of the CPU.

Whatever forgets to move a tensor raises here as it would on any GPU (see `pretend_gpu`), so these tests need only make
every part run, and compare what it gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from clone_envs import ROWS, some_episodes
from pretend_gpu import PretendGPU, pretend_gpu
from text_learner import batch, learner
from textrlhf.agents import PPO, Agent, Clone, evaluate, record
from textrlhf.agents.training.learner import pick_device as agents_device
from textrlhf.envs.text.scoring import Scorer
from textrlhf.language import CausalLM, load, make_memory
from textrlhf.language.causal_lm import pick_device
from textrlhf.language.fit import FitConfig, NextTokens, fit
from textrlhf.language.generation import generate
from textrlhf.language.logprobs import Choices, choice_logprobs, logprobs_and_entropy, read_whole
from textrlhf.language.sampling import sample
from textrlhf.language.slot_cache import SlotCache
from textrlhf.records.progress import Stopwatch
from textrlhf.reward_models import Labelled, Ranked, Rated, RewardModel, TrainConfig, train
from tiny_envs import Counting, text_env
from tiny_models import V, noisy, tiny_model, word_tokenizer

pytestmark = pytest.mark.slow

DEVICES = ("cpu", "gpu")
AFTER_ADAM = 5e-4  # whose first steps are of one size however small the gradient, and be it nothing but rounding


@pytest.fixture
def gpu():
    with pretend_gpu() as device:
        yield device


def handle(device: str, family: str = "gpt2") -> CausalLM:
    return CausalLM(tiny_model(family).to(device), word_tokenizer())


def host(x: Any) -> Any:
    """The same on the host; tensors alone."""
    return x.detach().cpu() if isinstance(x, torch.Tensor) else torch.as_tensor(np.asarray(x))


def on_both(run: Callable[[str], Any], tolerance: float = 1e-5) -> None:
    """The same results on the CPU and on the GPU."""
    of_cpu, of_gpu = run("cpu"), run("gpu")
    assert len(of_cpu) == len(of_gpu) > 0
    for a, b in zip(of_cpu, of_gpu, strict=True):
        torch.testing.assert_close(host(b), host(a), rtol=tolerance, atol=tolerance)


# Devices by name


def test_any_name_of_a_device_is_one_device(gpu: PretendGPU) -> None:
    here = handle("gpu")
    for name in ("gpu", "gpu:0", gpu.device):
        assert pick_device(name) == gpu.device == here.device
        env = gym.make_vec("TextRLHF-v0", 2, **text_env(model=here, device=str(name)))
        agent = PPO(env, device=str(name), n_steps=2)
        assert agent.device == agents_device(str(name), agent.env) == gpu.device
    assert load("tasks", "gpu") is load("tasks", "gpu:0") is not load("tasks", "cpu")
    assert pick_device("cpu") == pick_device("cpu:0") == torch.device("cpu")
    with pytest.raises(ValueError, match="is on gpu:0: move it first"):
        gym.make_vec("TextRLHF-v0", 2, **text_env(model=here, device="cpu"))


def test_a_device_that_is_not_there_is_refused() -> None:
    for name in ("gpu", "gpu:0"):
        assert pick_device(name) == torch.device(name)
        with pytest.raises(ValueError, match=f"device='{name}': accepted is 'auto', 'cpu'"):
            PPO("CartPole-v1", device=name)


def test_a_judge_has_its_own_precision_on_any_device(gpu: PretendGPU) -> None:
    seen = []

    def reward_model(prompts: Any, responses: Any) -> list[float]:
        seen.append(torch.is_autocast_enabled("gpu"))
        return [0.0] * len(responses)

    task = Counting()
    with torch.autocast("gpu", torch.bfloat16):
        Scorer(reward_model, task)(task.prompts("train")[:2], ["a2", "a3"])
        assert torch.is_autocast_enabled("gpu")
    assert seen == [False]


# Language


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt", "bloom", "gemma2"])
def test_memories_read_as_on_the_cpu(family: str, gpu: PretendGPU) -> None:
    """The first three have the slot cache, the others the column cache."""

    def states(device: str) -> list[torch.Tensor]:
        memory, rng, found = make_memory(handle(device, family), 5), np.random.default_rng(0), []
        assert isinstance(memory, SlotCache) == (family not in ("bloom", "gemma2"))
        for _ in range(25):
            gone = np.flatnonzero((rng.random(5) < 0.1) | (memory.lengths > 50))
            memory.reset(gone)
            rows = np.flatnonzero(rng.random(5) < 0.6) if rng.random() < 0.5 else np.arange(5)
            if len(rows):
                several = rng.random() < 0.4
                new = [rng.integers(2, V, rng.integers(1, 7) if several else 1) for _ in rows]
                found.append(memory.read(rows, new))
        return found

    on_both(states)


def test_sabotage_of_a_memory_is_caught(gpu: PretendGPU, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten `.to(device)` works on the CPU, and raises here."""
    to = torch.Tensor.to
    forgetful = lambda x, *where, **kinds: x if not x.is_floating_point() else to(x, *where, **kinds)  # noqa: E731
    lms = {device: handle(device) for device in DEVICES}
    memories = {device: make_memory(lm, 2) for device, lm in lms.items()}
    monkeypatch.setattr(torch.Tensor, "to", forgetful)
    memories["cpu"].read(np.arange(2), [np.array([3, 4]), np.array([5])])
    with pytest.raises(RuntimeError, match="same device"):
        memories["gpu"].read(np.arange(2), [np.array([3, 4]), np.array([5])])


def test_log_probabilities_and_their_gradients(gpu: PretendGPU, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = torch.rand(12, V, generator=torch.Generator().manual_seed(0)) < 0.5
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, V, (2, 6)))
    allowed[torch.arange(12), tokens.flatten()] = True

    def found(device: str) -> list[torch.Tensor]:
        lm = handle(device)
        weight = lm.model.get_input_embeddings().weight.requires_grad_(True)
        ids, held = tokens.to(device), allowed.to(device)
        states = read_whole(lm, ids).flatten(0, 1)
        both = logprobs_and_entropy(lm, states, ids.flatten(), lambda rows: held[rows])
        (both[0].sum() + both[1].square().sum()).backward()
        return [*both, weight.grad]

    on_both(found)
    monkeypatch.setattr("textrlhf.language.logprobs.LOGITS_AT_ONCE", {"cpu": 5 * V})  # in chunks, made again
    monkeypatch.setattr("textrlhf.language.logprobs.LOGITS_KEPT", {"cpu": 5 * V})
    on_both(found)


def test_log_probabilities_of_choices(gpu: PretendGPU) -> None:
    rng = np.random.default_rng(1)
    texts = [Choices.after(rng.integers(2, V, n), 2) for n in (5, 9, 4, 14)]

    def found(device: str) -> list[np.ndarray]:
        table = torch.ones(sum(len(text.tokens) for text in texts), V, dtype=torch.bool).to(device)
        lm = handle(device)
        return choice_logprobs(lm, texts) + choice_logprobs(lm, texts, lambda rows: table[rows])

    on_both(found)


def test_sampling_draws_the_tokens_that_the_cpu_draws(gpu: PretendGPU) -> None:
    draws = torch.Generator().manual_seed(3)
    logits, allowed = 3 * torch.randn(64, V, generator=draws), torch.rand(64, V, generator=draws) < 0.7

    def found(device: str) -> list[torch.Tensor]:
        here, held = logits.to(device), allowed.to(device)
        every = []
        for settings in ({}, {"temperature": 0.5}, {"top_k": 5}, {"top_p": 0.8}, {"allowed": held}, {"temperature": 0}):
            generator = torch.Generator(device).manual_seed(4)
            every += sample(here, **settings, generator=generator)
        return every

    on_both(found)
    with pytest.raises(ValueError, match="row 2 of the logits is no distribution"):
        sample(torch.where(torch.arange(4)[:, None] == 2, torch.nan, logits[:4]).to("gpu"))


@pytest.mark.parametrize("family", ["llama", "bloom"])
def test_generation_writes_what_the_cpu_writes(family: str, gpu: PretendGPU) -> None:
    rng = np.random.default_rng(2)
    prompts = [rng.integers(2, V, n) for n in (3, 1, 6, 2, 4)]

    def found(device: str) -> list[Any]:
        texts = generate(handle(device, family), prompts, 8, top_p=0.9, slots=3)
        return [x for text in texts for x in (text.tokens, text.logprobs)]

    on_both(found)


def test_fitting_and_saving_a_language_model(gpu: PretendGPU, tmp_path: Any) -> None:
    texts = [np.arange(2, 2 + n) for n in (4, 9, 6, 7)]

    def found(device: str) -> list[Any]:
        lm = handle(device)
        loss = fit(lm.model, NextTokens(lm, texts), FitConfig(steps=3, batch_size=2), show=False)["loss"]
        saved = lm.save(tmp_path / device)
        assert load(saved.name, device).fingerprint() == lm.fingerprint()
        return [loss, lm.head(read_whole(lm, torch.arange(2, 12)[None].to(device)))]

    on_both(found, AFTER_ADAM)


# Environments


@pytest.mark.parametrize(
    "name",
    ["TextRLHF-v0", "TextDialogue-v0", "TextSummarize-v0", "TextTranslate-v0", "TextQA-v0", "TextArithmetic-v0"],
)
def test_an_episode_of_every_text_environment(name: str, gpu: PretendGPU) -> None:
    def found(device: str) -> list[Any]:
        every = []
        for kl_penalty in ("token", "deferred"):
            env = gym.make_vec(name, 2, device=device, kl_penalty=kl_penalty, max_new_tokens=5)
            assert env.unwrapped.reference_model.device == pick_device(device)
            observation, _ = env.reset(seed=1)
            rng, seen = np.random.default_rng(0), []
            env.unwrapped.settle()
            for _ in range(5):
                env.unwrapped.policy_logprob = np.full(2, -2.5)
                observation, reward, *_, info = env.step(rng.integers(2, env.single_action_space.n, 2))
                seen += [observation, reward]
            assert "final_info" in info, "the episode is over"
            settled = env.unwrapped.settle()
            scores = [info["score"] for slot in env.unwrapped.settled_info() for info in slot.values()]
            every += [*seen, *settled, *scores]
            env.close()
        return every

    on_both(found)


def test_a_single_environment_with_rules(gpu: PretendGPU) -> None:
    def found(device: str) -> list[Any]:
        options = text_env(model=handle(device), device=device, min_new_tokens=2, allowed_tokens=range(2, 30))
        env = gym.make("TextRLHF-v0", **options)
        env.reset(seed=0)
        rewards = []
        for token in (3, 4, 1):
            env.unwrapped.policy_logprob = torch.tensor(-1.5).to(device)
            rewards.append(env.step(token)[1])
        return rewards

    on_both(found)


# Agents


def control(name: str) -> gym.Env:
    class Some(gym.Env):
        """Pictures or numbers at random; the first action is paid."""

        observation_space = spaces.Box(0, 255, (12, 12, 3), np.uint8) if name == "pictures" else spaces.Box(-1, 1, (3,))
        action_space = {"box": spaces.Box(-1, 1, (2,)), "several": spaces.MultiDiscrete([2, 3])}.get(
            name, spaces.Discrete(3)
        )

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            self.t = 0
            return self.see(), {}

        def see(self) -> Any:
            if name == "pictures":
                return self.np_random.integers(0, 256, (12, 12, 3), np.uint8)
            return self.np_random.uniform(-1, 1, 3).astype(np.float32)

        def step(self, action: Any) -> Any:
            self.t += 1
            return self.see(), float(np.sum(action) + self.t % 3), self.t % 7 == 0, self.t % 5 == 0, {}

    return Some()


SETTINGS: dict[str, dict[str, Any]] = {
    "discrete": {"normalize_observation": True, "normalize_reward": True},
    "box": {},
    "several": {},
    "pictures": {},
    "memory": {"policy": "gru", "memory_size": 8},
}


def slots(name: str) -> gym.vector.SyncVectorEnv:
    return gym.vector.SyncVectorEnv([lambda: control(name)] * 3)


@pytest.mark.parametrize("name", SETTINGS)
def test_ppo_learns_control_as_on_the_cpu(name: str, gpu: PretendGPU) -> None:
    def found(device: str) -> list[Any]:
        agent = PPO(slots(name), n_steps=16, batch_size=20, n_epochs=2, seed=1, device=device, **SETTINGS[name])
        agent.learn(2 * 48, progress=False)
        observation = np.stack([agent.env.observation_space.sample() for _ in range(3)]) * 0
        actions, memory = agent.predict(observation, deterministic=True)
        return [agent.optimizer.flat, actions, agent.value(observation, memory)]

    on_both(found)


@pytest.mark.parametrize(
    ("kind", "family", "kl_penalty", "critic", "rank"),
    [
        ("plain", "gpt2", "token", False, 0),
        ("masks", "gpt2", "deferred", False, 0),
        ("dialogue", "llama", "deferred", True, 0),
        ("cut", "opt", "none", False, 0),
        ("dialogue", "bloom", "token", False, 0),
        ("masks", "gemma2", "deferred", True, 0),
        ("dialogue", "llama", "deferred", True, 3),
    ],
)
def test_ppo_learns_texts_as_on_the_cpu(
    kind: str, family: str, kl_penalty: str, critic: bool, rank: int, gpu: PretendGPU
) -> None:
    if rank:
        pytest.importorskip("peft", reason="the extra lora is not installed")

    def found(device: str) -> list[Any]:
        env = batch(kind, model=handle(device, family), device=device, kl_penalty=kl_penalty)
        agent = learner(env, moved=0.05, device=device, separate_critic=critic, lora_rank=rank)
        metrics = [agent.advance(1.0, Stopwatch()) for _ in range(2)]
        assert max(one["train/first_ratio_error"] for one in metrics) < 1e-4
        assert agent.optimizer.flat.device == pick_device(device)
        return [agent.optimizer.flat, metrics[1]["train/policy_loss"], metrics[1]["train/entropy"]]

    on_both(found)


@pytest.mark.parametrize("policy", ["mlp", "gru"])
def test_clone_learns_control_as_on_the_cpu(policy: str, gpu: PretendGPU) -> None:
    def found(device: str) -> list[Any]:
        agent = Clone(
            "CartPole-v1", demonstrations=some_episodes(masks=True), seed=0, batch_size=8, policy=policy, device=device
        )
        agent.learn(3 * agent.epoch_steps, progress=False)
        return [agent.optimizer.flat, *agent.heldout_metrics().values()]

    on_both(found)


def test_clone_learns_texts_as_on_the_cpu(gpu: PretendGPU) -> None:
    def found(device: str) -> list[Any]:
        env = gym.make_vec("TextRLHF-v0", 1, **text_env(model=handle(device), device=device))
        agent = Clone(env, demonstrations=ROWS, seed=0, heldout=0.4, batch_size=4, device=device)
        agent.learn(2 * agent.epoch_steps, progress=False)
        return [agent.optimizer.flat, *agent.heldout_metrics().values()]

    on_both(found)


def test_playing_and_recording(gpu: PretendGPU) -> None:
    def found(device: str) -> list[Any]:
        env = batch(model=handle(device), device=device)
        agent = learner(env, device=device)
        scores = evaluate(agent, env, 6, deterministic=False)
        made = record(agent, batch(model=handle(device), device=device), 6, deterministic=False)
        observation, _ = env.reset(seed=0)
        return [scores.returns, *(episode.actions for episode in made.episodes), agent.predict(observation)[0]]

    on_both(found)


@pytest.mark.parametrize("there", DEVICES)
def test_an_agent_is_saved_on_one_device_and_goes_on_on_another(there: str, gpu: PretendGPU, tmp_path: Any) -> None:
    def env(device: str) -> gym.vector.VectorEnv:
        return batch(model=handle(device), device=device)

    agent = learner(env("gpu"), moved=0.05, device="gpu")
    agent.advance(1.0, Stopwatch())
    agent.save(tmp_path / "saved")
    loaded = Agent.load(tmp_path / "saved", env(there), device=there)
    assert loaded.device == pick_device(there)
    for name, group in agent.tensors().items():
        for key, tensor in group.items():
            assert torch.equal(loaded.tensors()[name][key].cpu(), tensor.cpu()), key
    assert loaded.random.state_dict()["device"] == loaded.device.type
    if there == "gpu":  # elsewhere the generator is another
        assert loaded.random.state_dict() == agent.random.state_dict()
    loaded.learn(28, progress=False)
    assert loaded.num_timesteps == 56


# Reward models

PROMPTS, RESPONSES = ["a9 a10 a11", "a5 a6", "a9 a10 a11", "a12"], [" a7 a8", " a9", " a13 a14 a15", " a16 a17"]


@pytest.mark.parametrize("head", ["last", "tokens"])
def test_a_reward_model_scores_learns_and_is_saved(head: str, gpu: PretendGPU, tmp_path: Any) -> None:
    judgements = [
        Ranked("a9 a10", (" a7 a8", " a5")),
        Ranked("a9", (" a7", " a5 a3", " a4")),
        Labelled("a11", " a7", True),
        Labelled("a9", " a5 a6", False),
        Rated("a9", " a7 a6", 4.0, (1.0, 5.0)),
        Rated("a2", " a5 a6", 2.0, (1.0, 5.0)),
    ]

    assert RewardModel.new(handle("cpu"), head, device="gpu").network.device == gpu.device
    untrained = RewardModel.new(handle("cpu"), head, device="cpu")
    noisy(untrained.network.values or untrained.network.model.score)
    untrained = untrained.save(tmp_path / "untrained")

    def found(device: str) -> list[Any]:
        reward_model = RewardModel.load(untrained.name, device=device)
        trained = train(reward_model, judgements, TrainConfig(epochs=2, batch_size=3, dropout=0.2), show=False)
        reward_model.normalise(PROMPTS, RESPONSES)
        saved = reward_model.save(tmp_path / f"{device}-{head}")
        again = RewardModel.load(saved.name, device=device)
        assert again.network.device == pick_device(device)
        np.testing.assert_allclose(again.score(PROMPTS, RESPONSES), reward_model.score(PROMPTS, RESPONSES), atol=1e-5)
        explained = [part for _, part in reward_model.explain("a9", " a7 a8")]
        return [trained.metrics["loss"], reward_model.raw(PROMPTS, RESPONSES), explained]

    on_both(lambda device: [RewardModel.load(untrained.name, device=device).score(PROMPTS, RESPONSES)])
    on_both(found, AFTER_ADAM)
