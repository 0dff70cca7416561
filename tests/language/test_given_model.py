"""A model that a user passes in is not changed, whatever is made with it."""

from __future__ import annotations

import gymnasium as gym
import pytest
import torch

import textrlhf  # noqa: F401  (registers the environments)
from textrlhf.agents import PPO, Clone
from textrlhf.language import CausalLM, generate
from textrlhf.reward_models import Ranked, RewardModel, TrainConfig, train_reward_model
from tiny_envs import Counting
from tiny_models import tiny_model, word_tokenizer

PAIRS = [Ranked(f"a{i} a{i + 1}", (" a5", " a7")) for i in range(8, 16)]


def given():
    """A model as `from_pretrained` and a training of the user's left it, and its tokenizer."""
    model, tokenizer = tiny_model("gpt2", activation_function="gelu_new"), word_tokenizer()
    model.train().requires_grad_(True)
    next(model.parameters()).requires_grad_(False)
    model.generation_config.temperature, model.generation_config.do_sample = 0.7, True
    tokenizer.padding_side, tokenizer.pad_token = "left", "<eos>"
    return model, tokenizer


def state(model, tokenizer):
    """Everything about a model and a tokenizer that someone could change."""
    modules = [(name, type(one), one.training, len(one._forward_hooks)) for name, one in model.named_modules()]
    parameters = [(name, id(one), one.requires_grad, one.grad is None) for name, one in model.named_parameters()]
    configs = model.config.to_dict(), model.generation_config.to_dict(), dict(tokenizer.init_kwargs)
    texts = tokenizer.backend_tokenizer.to_str(), tokenizer.padding_side, tokenizer.special_tokens_map
    return modules, parameters, configs, texts


def environment(lm):
    return gym.make("TextRLHF-v0", task=Counting(), model=lm, context=24)


def ppo(lm):
    PPO(environment(lm), n_steps=8, batch_size=8, n_epochs=1, seed=0).learn(8)


def clone(lm):
    Clone(environment(lm), demonstrations=[{"prompt": "a2", "completion": " a3"}], heldout=0.0, seed=0).learn(2)


def train(lm):
    config = TrainConfig(epochs=1, batch_size=8, checkpoints=1)
    train_reward_model(PAIRS, lm, config=config, reference_texts=16, max_new_tokens=4, show=False)


def play(lm):
    env = environment(lm)
    env.reset(seed=0)
    env.step(5)
    env.close()


USES = {
    "CausalLM": lambda lm: lm.encode("a2"),
    "generate": lambda lm: generate(lm, [[2, 3]], 4),
    "gym.make": play,
    "PPO": ppo,
    "Clone": clone,
    "RewardModel.new, last": lambda lm: RewardModel.new(lm, "last", end=True).score(["a2"], [" a3"]),
    "RewardModel.new, tokens": lambda lm: RewardModel.new(lm, "tokens").score(["a2"], [" a3"]),
    "train_reward_model": train,
}


@pytest.mark.parametrize("use", USES)
def test_nothing_changes(use):
    """Guards against another activation, eval mode, frozen weights or padding in the user's own model."""
    model, tokenizer = given()
    before, weights = state(model, tokenizer), {name: one.clone() for name, one in model.state_dict().items()}
    USES[use](CausalLM(model, tokenizer))
    assert state(model, tokenizer) == before
    assert all(torch.equal(one, weights[name]) for name, one in model.state_dict().items())
