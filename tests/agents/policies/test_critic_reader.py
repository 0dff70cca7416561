"""Values known from acting are those of whole texts, however a text came to be read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from textrlhf import PPO
from textrlhf.agents.policies.text_memory import TextMemory
from textrlhf.records.progress import Stopwatch
from tiny_models import tiny_lm, word_tokenizer

pytestmark = pytest.mark.slow

ENV = {"reward_model": lambda prompts, responses: np.zeros(len(prompts)), "max_new_tokens": 9, "context": 24}
WORDS = word_tokenizer().convert_ids_to_tokens(range(2, 18))
PROMPTS = [{"prompt": " ".join(WORDS[i : i + 1 + i % 5]), "split": "train"} for i in range(10)]


@pytest.mark.parametrize("family", ["gpt2", "llama", "bloom", "gemma2"])  # the last two on the column cache
def test_values_from_acting_are_those_of_whole_texts(family: str) -> None:
    """Texts end, begin, are cut by updates and read again: a sum that misses a token or has one twice shows."""
    env = {**ENV, "model": tiny_lm(family), "prompts": PROMPTS}
    agent = PPO("TextRLHF-v0", env_kwargs=env, n_envs=5, n_steps=14, n_epochs=1, batch_size=70, seed=0)
    with torch.no_grad():
        for parameter in agent.policy.network["critic"].parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    agent.cut(None)
    for update in range(3):
        rollout = agent.collect(Stopwatch())
        assert rollout.terminated.any()
        texts, steps = rollout.log.whole()
        expected = torch.zeros(rollout.log.shape).view(-1)
        expected[torch.from_numpy(steps)] = agent.policy._values(texts)
        whole = expected.view(rollout.log.shape)
        np.testing.assert_allclose(rollout.values, whole[:-1], rtol=1e-3, atol=1e-4)
        goes_on = ~rollout.ended[-1]
        np.testing.assert_allclose(rollout.next_values[-1][goes_on], whole[-1][goes_on], rtol=1e-3, atol=1e-4)
        if update != 1:  # once without an update between: the memory is kept
            agent.collector.memory = agent.policy.after_update(agent.collector.memory)


def test_a_token_read_twice_counts_once() -> None:
    policy = PPO("TextRLHF-v0", env_kwargs={**ENV, "model": tiny_lm(), "prompts": PROMPTS}, n_envs=2, seed=0).policy
    with torch.no_grad():
        for parameter in policy.network["critic"].parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    memory: TextMemory = policy.initial_memory(2)
    policy.new_log(memory)
    tokens = np.full((2, 24), -1, np.int64)
    tokens[0, :3], tokens[1, :6] = [3, 4, 5], [3, 4, 5, 6, 7, 8]
    once = memory.values(tokens, np.arange(2))
    twice = memory.values(tokens, np.arange(2))
    torch.testing.assert_close(once, twice)
    torch.testing.assert_close(once, policy.value((tokens,), memory))
