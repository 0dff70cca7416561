"""What design §7 promises, on a real model: 30 layers, grouped heads, 49,152 tokens, a chat template."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from real_models import GGUF, needs_material, smollm2
from textrlhf import PPO
from textrlhf.language import load
from textrlhf.language.logprobs import Choices, choice_logprobs
from textrlhf.records.progress import Stopwatch

pytestmark = [needs_material, pytest.mark.slow]

CHATS = [
    [{"role": "user", "content": "Name a colour."}],
    [{"role": "system", "content": "Answer in one word."}, {"role": "user", "content": "What is the capital of Peru?"}],
]
ENV = {"prompts": [{"messages": chat, "split": "train"} for chat in CHATS], "max_new_tokens": 6, "context": 64}
HOW = {"n_envs": 3, "n_steps": 7, "n_epochs": 1, "batch_size": 21, "seed": 0, "torch_threads": 1}


def reward(prompts, responses):
    """One that reads the conversation, not the template."""
    assert all(prompt.messages[-1]["role"] == "user" for prompt in prompts)
    return np.array([float(len(response)) for response in responses])


def learner(**options) -> PPO:
    env = {**ENV, "model": str(smollm2()), "reward_model": reward, "kl_coef": 0.1}
    return PPO("TextRLHF-v0", env_kwargs=env, **HOW, **options)


def test_a_gguf_file_is_the_model_that_it_says() -> None:
    lm = load(GGUF)
    assert (lm.vocab_size, lm.context, len(lm.model.model.layers)) == (49152, 8192, 30)
    assert lm.fingerprint() == load(smollm2()).fingerprint()
    ids = torch.tensor([lm.encode("The capital of France is").tolist()])
    assert "Paris" in lm.decode(lm.model.generate(ids, max_new_tokens=8, do_sample=False)[0].tolist())


@pytest.mark.parametrize("options", [{}, {"lora_rank": 8}], ids=["all weights", "adapters"])
def test_ratio_and_kl_begin_where_they_must(options) -> None:
    """Invariants 1 to 3: first ratio 1, KL 0, rewards that add up to the score less the penalty."""
    agent = learner(**options)
    engine = agent.env.vector_env.unwrapped.engine
    template = engine.lm.tokenizer.apply_chat_template
    for chat, ids in zip(CHATS, engine.prompts.tokens, strict=True):
        assert ids.tolist() == template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
    agent.cut(None)
    rollout = agent.collect(Stopwatch())
    assert np.abs(rollout.kl).max() < 1e-4
    scores = [info["score"] for info in agent.episodes.recent if "score" in info]
    assert scores
    agent.estimate_advantages(rollout)
    assert agent.update(rollout, 1.0)["train/first_ratio_error"] < 5e-5
    agent.collector.memory = agent.policy.after_update(agent.collector.memory)
    moved = agent.collect(Stopwatch())
    assert np.abs(moved.kl).max() > 1e-4  # a policy that has learned pays


def test_rewards_add_up_in_one_environment_and_a_batch() -> None:
    """Invariants 3 and 4, with actions of neither model, and texts that end with the template's end of turn."""
    env = {**ENV, "model": str(smollm2()), "reward_model": reward, "kl_coef": 0.1}
    batch = gym.make_vec("TextRLHF-v0", 2, **env)
    singles = [gym.make("TextRLHF-v0", **env) for _ in range(2)]
    lm = batch.unwrapped.engine.lm
    batch.reset(seed=5)
    for i, single in enumerate(singles):
        single.reset(seed=5 + i)
    actions = lm.encode("Blue and green").tolist() + [lm.tokenizer.convert_tokens_to_ids("<|im_end|>")]
    logprobs, totals = np.linspace(-3, -1, 2), np.zeros(2)
    for action in actions:
        batch.unwrapped.policy_logprob = logprobs
        _, rewards, terminated, _, info = batch.step(np.full(2, action))
        totals += rewards
        for i, single in enumerate(singles):
            single.unwrapped.policy_logprob = logprobs[i]
            _, own, over, _, own_info = single.step(action)
            assert own == pytest.approx(rewards[i], abs=1e-4)
            assert over == terminated[i]
    assert terminated.all()
    final = info["final_info"]
    np.testing.assert_allclose(totals, final["score"] - 0.1 * final["kl"], atol=1e-5)
    assert (final["score"] == len("Blue and green")).all()
    assert own_info["finish_reason"] == "eos"


def test_stepped_tokens_are_as_likely_as_in_one_forward() -> None:
    """Invariant 5: rounding over 30 layers stays rounding, alone and beside longer texts."""
    lm = load(smollm2())
    from textrlhf.language import generate

    written = generate(lm, lm.encode_all(["The film", "It was a long and rather cold day in the north and"]), 8, seed=0)
    texts = [np.array([*one.prompt, *one.tokens]) for one in written]
    choices = [Choices.after(text, len(one.prompt)) for text, one in zip(texts, written, strict=True)]
    together = choice_logprobs(lm, choices)
    for one, choice, found in zip(written, choices, together, strict=True):
        np.testing.assert_allclose(found, one.logprobs, atol=2e-4)
        np.testing.assert_allclose(found, choice_logprobs(lm, [choice])[0], atol=2e-4)


@pytest.mark.long
def test_bfloat16_keeps_to_what_the_docs_state() -> None:
    """docs/agents/ppo_on_text.md: a ratio off by .19 at most."""
    agent = learner(bf16=True)
    agent.cut(None)
    assert agent.advance(1.0, Stopwatch())["train/first_ratio_error"] < 0.3
