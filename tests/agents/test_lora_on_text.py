"""PPO on text with adapters: the reference's own weights, design §7's invariants, resuming, and what is written."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import textrlhf
from interrupted import Interrupt
from real_models import needs_material, smollm2
from text_learner import batch, learner, rollouts
from textrlhf.agents import PPO, REINFORCE, Clone
from textrlhf.agents.policies import LanguageModelPolicy
from textrlhf.language import CausalLM, load
from textrlhf.language.learning_rate import fine_tuning_rate
from textrlhf.records.progress import Stopwatch
from textrlhf.records.run import Run
from tiny_models import tiny_model, word_tokenizer

pytest.importorskip("peft", reason="the extra lora is not installed")
pytestmark = pytest.mark.slow

LORA = {"lora_rank": 4}
IDS = torch.arange(2, 12)[None]


def logits(lm: CausalLM, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.no_grad():
        return lm.model(ids).logits


@pytest.mark.parametrize("critic", [False, True], ids=["shared", "separate"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "bloom"])
def test_the_policy_is_the_reference_and_adapters(family: str, critic: bool) -> None:
    """A second copy in memory, a policy that begins elsewhere, a reference that is trained."""
    agent = learner(batch("plain", family), separate_critic=critic, **LORA)
    reference, before = agent.env.reference_model, agent.env.reference_model.fingerprint()
    assert torch.equal(logits(agent.policy.lm), logits(reference))
    places = {tensor.data_ptr() for tensor in reference.model.parameters()}
    for lm in (agent.policy.lm, agent.policy.critic_lm):
        own = {} if lm is None else {n: p for n, p in lm.model.named_parameters() if p.data_ptr() not in places}
        assert all(".lora_" in name and parameter.requires_grad for name, parameter in own.items())
    trained = {name.split(".")[0] for name, _ in agent.policy.network.named_parameters()}
    assert trained == {"model", "critic"} | ({"critic_trunk"} if critic else set())
    assert not {name for name in agent.tensors()["model"] if ".lora_" not in name and not name.startswith("critic.")}
    for _ in range(2):
        agent.advance(1.0, Stopwatch())
    assert (logits(agent.policy.lm) - logits(reference)).abs().max() > 1e-3
    assert reference.fingerprint() == before


@pytest.mark.parametrize("kind", ["plain", "masks", "dialogue"])
def test_first_ratio_is_one(kind: str) -> None:
    agent = learner(batch(kind, "llama"), moved=0.05, **LORA)
    assert 0 < max(agent.advance(1.0, Stopwatch())["train/first_ratio_error"] for _ in range(3)) < 1e-5


@pytest.mark.parametrize("penalty", ["token", "deferred"])
def test_penalties_are_zero_while_the_policy_is_the_reference(penalty: str) -> None:
    """A reference that is not the base, or that the adapter reaches."""

    def largest(moved: float) -> float:
        agent = learner(batch("plain", "llama", kl_penalty=penalty, reward_model="none"), moved=moved, **LORA)
        return max(float(np.abs(rollout.rewards).max()) for rollout in rollouts(agent, 3, learn=False))

    assert largest(0.0) < 1e-5
    assert largest(0.1) > 1e-3


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[PPO, Path]:
    run = tmp_path_factory.mktemp("lora") / "run"
    return tiny_run(run), run


def test_resumed_run_ends_with_the_same_bits(trained, tmp_path: Path) -> None:
    """Something a checkpoint lacks, now that it holds adapters, their moments and the critic only."""
    with pytest.raises(KeyboardInterrupt):
        tiny_run(tmp_path / "cut", callbacks=Interrupt(5))
    before = Run(tmp_path / "cut").last_checkpoint()
    assert not {name for name in before.tensors["model"] if ".lora_" not in name and not name.startswith("critic.")}
    resumed = PPO.resume(tmp_path / "cut", progress=False)
    assert torch.equal(resumed.optimizer.flat, trained[0].optimizer.flat)
    assert resumed.config.tokens_at_once == trained[0].config.tokens_at_once is not None
    with pytest.raises(ValueError, match="lora_rank is part of what"):
        PPO.load(tmp_path / "cut", lora_rank=2)


def tiny_run(run: Path, callbacks=(), **changes) -> PPO:
    how = {"n_envs": 4, "n_steps": 8, "batch_size": 16, "n_epochs": 1, "checkpoint_every": 64, "torch_threads": 1}
    how |= {"seed": 5, "learning_rate": 3e-3, "env_kwargs": {"reward_model": "gold", "max_new_tokens": 6}}
    agent = PPO("TextRLHF-v0", **{**how, **LORA, **changes})
    return agent.learn(192, run=run, callbacks=callbacks, progress=False)


def test_exports(trained) -> None:
    """A folder that only textrlhf can read, or an adapter that means something else elsewhere."""
    import peft

    (agent, found) = trained
    lm = agent.policy.lm
    plain = AutoModelForCausalLM.from_pretrained(found / "model")
    torch.testing.assert_close(plain(IDS).logits, logits(lm), atol=1e-4, rtol=0)
    assert (logits(lm) - logits(load("reviews"))).abs().max() > 1e-2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
        base = AutoModelForCausalLM.from_pretrained(
            Path(textrlhf.__file__).parent / "language/assets/reviews", dtype="float32"
        )
        by_peft = peft.PeftModel.from_pretrained(base, found / "adapter")
    torch.testing.assert_close(by_peft(IDS).logits, logits(lm), atol=1e-6, rtol=0)
    torch.testing.assert_close(logits(load(found / "adapter")), logits(lm), atol=1e-4, rtol=0)
    again = PPO("TextRLHF-v0", env_kwargs={"model": str(found / "adapter"), "reward_model": "none"}, n_envs=2)
    assert torch.equal(logits(again.policy.lm), logits(load(found / "adapter")))


def test_other_algorithms_take_adapters() -> None:
    """Weights that an algorithm trains beside the adapters."""
    agents = [
        REINFORCE(batch("plain", "llama"), n_steps=7, seed=3, **LORA),
        Clone(batch("plain", "llama"), demonstrations=[{"prompt": "a3", "response": "a4 a5"}] * 4, heldout=0.0, **LORA),
    ]
    for agent in agents:
        before = agent.env.reference_model.fingerprint()
        agent.cut(None)
        agent.advance(1.0, Stopwatch())
        assert agent.env.reference_model.fingerprint() == before
        moved = logits(agent.policy.lm) - logits(agent.env.reference_model)
        assert 0 < moved.abs().max() < 1


def test_base_in_bfloat16() -> None:
    """Adapters that are rounded to bfloat16, where small steps are lost; a KL of the rounding."""
    base = CausalLM(tiny_model("llama").bfloat16(), word_tokenizer())
    agent = learner(batch("plain", "llama", model=base, reward_model="none"), **LORA)
    assert agent.policy.lm.model.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in agent.policy.network.parameters()} == {torch.float32}
    assert max(float(np.abs(rollout.rewards).max()) for rollout in rollouts(agent, 2, learn=False)) < 1e-5
    before = agent.optimizer.flat.clone()
    agent.advance(1.0, Stopwatch())
    assert not torch.equal(agent.optimizer.flat, before)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"lora_rank": -1}, "lora_rank=-1"),
        ({"lora_alpha": 8.0}, "set lora_rank too"),
        ({**LORA, "lora_target_modules": ("q_proj", "nothing")}, "'nothing', which is no linear layer.*q_proj"),
        ({**LORA, "lora_target_modules": ()}, "lora_target_modules"),
    ],
)
def test_wrong_settings(wrong: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        learner(batch("plain", "llama"), **wrong)


def test_settings_of_language_models_are_refused_elsewhere() -> None:
    """Settings that another policy would ignore."""
    for given in ({"lora_rank": 4}, {"gradient_checkpointing": True}, {"tokens_at_once": 64}):
        with pytest.raises(ValueError, match="is for language models"):
            PPO("CartPole-v1", **given)


def test_default_learning_rate_is_by_size() -> None:
    envs = batch("plain")
    model = envs.unwrapped.reference_model.model
    rates = [PPO(envs, **given).config.learning_rate for given in ({}, LORA, {**LORA, "learning_rate": 1.0})]
    assert rates == [fine_tuning_rate(model), fine_tuning_rate(model, adapters=True), 1.0]


@pytest.mark.long
@needs_material
def test_on_smollm2(tmp_path: Path) -> None:
    """30 layers, grouped heads, 49,152 tokens: rounding that adds up, names of layers, a merge that is not exact."""
    env = {"model": str(smollm2()), "prompts": ["The film was", "I think that"], "max_new_tokens": 8}
    env |= {"reward_model": "none", "context": 16}
    how = {"n_envs": 4, "n_steps": 9, "batch_size": 18, "n_epochs": 1, "seed": 1, "gradient_checkpointing": True}
    agent = PPO("TextRLHF-v0", env_kwargs=env, lora_rank=8, **how)
    reference, before = agent.env.reference_model, agent.env.reference_model.fingerprint()
    assert torch.equal(logits(agent.policy.lm), logits(reference))
    agent.cut(None)
    rewards = next(rollouts(agent, 1, learn=False)).rewards
    assert np.abs(rewards).max() < 5e-5
    assert agent.advance(1.0, Stopwatch())["train/first_ratio_error"] < 5e-5
    assert reference.fingerprint() == before
    agent.export(tmp_path)
    ids = torch.tensor([reference.encode("The film was better than I had expected").tolist()])
    plain = load(tmp_path / "model")
    torch.testing.assert_close(logits(plain, ids), logits(agent.policy.lm, ids), atol=1e-4, rtol=0)
    assert (logits(plain, ids) - logits(reference, ids)).abs().max() > 1e-3


class OwnPolicy(LanguageModelPolicy):
    """As a user may write it."""

    def __init__(self, *spaces, reference_model, separate_critic, **shape) -> None:
        super().__init__(*spaces, reference_model, separate_critic=separate_critic)


def test_policies_of_ones_own(tmp_path: Path) -> None:
    """Adapters that are asked for and not made; a number of tokens that is recorded, and then refused."""
    agent = learner(batch("plain", "llama"), policy=OwnPolicy, tokens_at_once=512)
    assert agent.policy.tokens_at_once == 512
    agent.save(tmp_path / "saved")
    again = PPO.load(tmp_path / "saved", batch("plain", "llama"), policy=OwnPolicy)
    assert again.policy.tokens_at_once == 512
    with pytest.raises(ValueError, match="lora_rank=4 is for language models"):
        learner(batch("plain", "llama"), policy=OwnPolicy, **LORA)
