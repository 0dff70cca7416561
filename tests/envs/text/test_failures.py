"""Failures within a step, and other faults that must not pass silently."""

import copy
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from textrlhf.language import CausalLM
from textrlhf.reward_models import Composite, RewardFunctionError
from tiny_envs import Chatting, Counting, text_env
from tiny_models import tiny_lm, tiny_model, word_tokenizer

EOS = 1


def make(**changes):
    return gym.make("TextRLHF-v0", **text_env(**changes))


def make_vec(n, **changes):
    return gym.make_vec("TextRLHF-v0", num_envs=n, **text_env(**changes))


def failing_once():
    state = {"calls": 0}

    def reward_model(prompts, responses):
        state["calls"] += 1
        if state["calls"] == 1:
            raise RuntimeError("out of memory")
        return np.ones(len(prompts))

    return reward_model


class TestTheReference:
    def test_is_frozen_without_changing_the_callers_model(self):
        """Guards against training the reference (its KL would stay 0) and against freezing the caller's model."""
        model = tiny_model("gpt2").requires_grad_(True).train()
        activation = type(model.transformer.h[0].mlp.act)
        env = make(model=CausalLM(model, word_tokenizer()))
        reference = env.unwrapped.reference_model.model
        assert not any(module.training for module in reference.modules())
        assert not any(parameter.requires_grad for parameter in reference.parameters())
        assert all(module.training for module in model.modules())
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert type(model.transformer.h[0].mlp.act) is activation

    @pytest.mark.parametrize("kl_penalty", ["token", "deferred"])
    def test_with_nan_weights_is_refused(self, kl_penalty):
        model = tiny_model("gpt2")
        broken = CausalLM(copy.deepcopy(model), word_tokenizer())
        env = make(model=broken, kl_penalty=kl_penalty, max_new_tokens=2)
        env.reset(seed=0)
        broken.model.transformer.ln_f.weight.data.fill_(math.nan)
        with pytest.raises(FloatingPointError, match="token 5 .* is nan"):
            env.step(5)
            env.step(5)

    def test_on_another_device_is_refused(self):
        with pytest.raises(ValueError, match="device is 'meta'.*is on cpu"):
            make(model=tiny_lm("gpt2"), device="meta")


class TestFailingReward:
    def test_ends_the_single_text(self):
        env = make(reward_model=failing_once())
        env.reset(seed=0)
        with pytest.raises(RewardFunctionError, match="out of memory"):
            env.step(EOS)
        with pytest.raises(ResetNeeded):
            env.step(5)
        env.reset()
        assert env.step(EOS)[4]["score"] == 1

    def test_ends_the_batch(self):
        env = make_vec(3, reward_model=failing_once())
        env.reset(seed=0)
        with pytest.raises(RewardFunctionError, match="out of memory"):
            env.step(np.full(3, EOS))
        with pytest.raises(ResetNeeded):
            env.step(np.full(3, 5))
        env.reset()
        assert env.step(np.full(3, EOS))[4]["final_info"]["score"].tolist() == [1, 1, 1]

    def test_in_a_task(self):
        class Broken(Counting):
            def measure(self, prompts, responses):
                raise KeyError("oops")

        env = make(task=Broken())
        env.reset(seed=0)
        with pytest.raises(RewardFunctionError, match="measures of the task 'counting' raised KeyError"):
            env.step(EOS)

    def test_in_feedback(self):
        def feedback(prompt, turns):
            raise OSError("offline")

        env = make(task=Chatting(), feedback=feedback)
        env.reset(seed=0)
        with pytest.raises(RewardFunctionError, match="feedback raised OSError: offline"):
            env.step(EOS)

    def test_a_reply_must_be_text(self):
        class Mute(Chatting):
            def reply(self, prompt, turns, rng):
                return None

        env = make(task=Mute())
        env.reset(seed=0)
        with pytest.raises(TypeError, match="returned None: expected a string"):
            env.step(EOS)

    def test_a_part_may_not_be_named_gold(self):
        with pytest.raises(ValueError, match='named "gold"'):
            make(reward_model=Composite({"gold": (lambda p, r: [0.0] * len(p), 1.0)}))


def test_the_action_of_a_restarting_row_is_ignored():
    env = make_vec(2, autoreset_mode=AutoresetMode.NEXT_STEP)
    env.reset(seed=0)
    env.step(np.array([EOS, 5]))
    env.step(np.array([-1, 5]))


def test_a_state_of_another_environment_is_refused():
    class Fewer(Counting):
        def prompts(self, split):
            return super().prompts(split)[:2]

    state = make().unwrapped.get_state()
    env = make(task=Fewer())
    with pytest.raises(ValueError, match="23 prompts, and this one has 2"):
        env.unwrapped.set_state(state)
    with pytest.raises(ValueError, match=r"not one of get_state\(\)"):
        env.unwrapped.set_state({"rng": 1})


def test_a_character_of_several_tokens_is_rendered_whole():
    """Guards against question marks for emoji and accents that a byte-level tokenizer splits."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: i + 1 for i, letter in enumerate(letters)} | {"<eos>": 0}
    backend = Tokenizer(models.BPE(vocab, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")
    lm = CausalLM(tiny_model("gpt2", vocab_size=257, eos_token_id=0, bos_token_id=0, pad_token_id=0), tokenizer)
    env = gym.make(
        "TextRLHF-v0",
        model=lm,
        prompts=["so"],
        reward_model=lambda p, r: [0.0] * len(p),
        context=48,
        render_mode="ansi",
    )
    env.reset(seed=0)
    for token in lm.encode("é好!"):
        env.step(token)
    shown = env.render()
    assert "\ufffd" not in shown
    assert all(letter in shown for letter in "é好!")


def test_a_replaced_text_needs_a_reset():
    from textrlhf.language import make_memory

    memory, texts = make_memory(tiny_lm("gpt2"), 1), np.full((1, 8), 5)
    memory.catch_up(np.zeros(1, int), texts, np.array([6]))
    with pytest.raises(ValueError, match=r"row 0 holds 6 tokens, its text has 3: reset\(\)"):
        memory.catch_up(np.zeros(1, int), texts, np.array([3]))


def test_environments_share_encoded_prompts():
    """Guards against encoding the same prompts for each of a hundred environments."""
    one, other = (gym.make("TextQA-v0").unwrapped.engine.prompts.tokens for _ in range(2))
    assert one is other


def test_a_model_saved_under_a_shipped_name(tmp_path, monkeypatch):
    import pickle

    monkeypatch.chdir(tmp_path)
    mine = CausalLM(tiny_model("gpt2"), word_tokenizer()).save("tasks")
    monkeypatch.chdir("/")
    again = pickle.loads(pickle.dumps(mine))
    assert again.vocab_size == mine.vocab_size
    torch.testing.assert_close(again.model.lm_head.weight, mine.model.lm_head.weight)
