"""Stable-Baselines3, unchanged, on text environments: it runs, and solves a small one."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import DQN, PPO

from textrlhf.envs.text import Prompt, Task
from textrlhf.language import CausalLM
from tiny_models import tiny_model, word_tokenizer

pytestmark = pytest.mark.slow

V, EOS, BETA = 8, 1, 0.02
WANTED = ("a3", "a5", "a2", "a7")


@pytest.mark.parametrize(
    ("agent", "settings", "options"),
    [
        (PPO, {"n_steps": 64, "n_epochs": 1}, {}),
        (DQN, {"learning_starts": 32, "buffer_size": 256, "train_freq": 8}, {}),
        (MaskablePPO, {"n_steps": 64, "n_epochs": 1}, {"min_new_tokens": 4}),
    ],
)
def test_agents_run_on_the_shipped_environment(agent, settings, options):
    env = gym.make("TextRLHF-v0", **options)
    model = agent("MlpPolicy", env, seed=0, device="cpu", **settings)
    model.learn(128)
    assert model.num_timesteps >= 128
    if options:
        lengths = [episode["l"] for episode in model.ep_info_buffer]
        assert min(lengths) >= 5  # four tokens and eos: the masks were obeyed


class FourWords(Task):
    """One prompt; gold is the share of the four places that hold the wanted word."""

    name = "four words"
    max_new_tokens = 4

    def prompts(self, split):
        return [Prompt("a4 a6")]

    def measure(self, prompts, responses):
        hits = [[a == b for a, b in zip(r.split(), WANTED, strict=False)] for r in responses]
        return {"gold": np.array([sum(row) / 4 for row in hits])}


class OneHot(gym.ObservationWrapper):
    """Which token is at which position, for a small network."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gym.spaces.Box(0, 1, (env.observation_space.shape[0] * V,), np.float32)

    def observation(self, observation):
        return (observation[:, None] == np.arange(V)).astype(np.float32).ravel()


def best_return(lm, prompt):
    """The maximum over all texts of score + β · log π_ref, the return of an agent that sets no log-probability."""
    best = -np.inf
    for length in range(5):
        for words in itertools.product([t for t in range(V) if t != EOS], repeat=length):
            text = [*prompt, *words, *([EOS] if length < 4 else [])]
            with torch.no_grad():
                logits = lm.model(torch.tensor([text]), attention_mask=torch.ones(1, len(text))).logits[0]
            logp = logits.log_softmax(-1)
            total = sum(float(logp[i - 1, text[i]]) for i in range(len(prompt), len(text)))
            score = sum(f"a{a}" == b for a, b in zip(words, WANTED, strict=False)) / 4
            best = max(best, score + BETA * total)
    return best


@pytest.mark.slow
def test_ppo_reaches_nine_tenths_of_the_optimum_on_eight_tokens():
    """Guards against rewards, ends or observations that another library cannot learn from."""
    torch.manual_seed(0)
    lm = CausalLM(tiny_model("gpt2", vocab_size=V), word_tokenizer(V))
    text_env = {"task": FourWords(), "model": lm, "context": 6, "kl_coef": BETA, "kl_penalty": "deferred"}
    optimum = best_return(lm, lm.encode("a4 a6").tolist())
    env = OneHot(gym.make("TextRLHF-v0", **text_env))
    settings = {"n_steps": 256, "batch_size": 64, "learning_rate": 1e-3, "ent_coef": 0.03, "gamma": 1.0}
    agent = PPO("MlpPolicy", env, seed=0, device="cpu", **settings)
    agent.learn(5_000)
    observation, _ = env.reset(seed=1)
    total, ended = 0.0, False
    while not ended:
        action, _ = agent.predict(observation, deterministic=True)
        observation, reward, terminated, truncated, _ = env.step(action)
        total, ended = total + reward, terminated or truncated
    assert optimum > 0.5
    assert total >= 0.9 * optimum
