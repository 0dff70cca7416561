"""The wrappers: strings, and inputs of Hugging Face models."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from textrlhf.envs.text.wrappers import ModelInputs, ModelInputsBatch, Strings, model_inputs
from tiny_envs import text_env
from tiny_models import tiny_lm


def make(**changes):
    return gym.make("TextRLHF-v0", **text_env(**changes))


class TestStrings:
    def test_text_in_text_out(self):
        env = Strings(make(max_new_tokens=8))
        prompt, info = env.reset(seed=3)
        assert prompt == info["prompt"]
        assert env.observation_space.contains(prompt)
        text, reward, terminated, truncated, _ = env.step(" a4 a6")
        assert text == f"{prompt} a4 a6"
        assert not terminated
        assert not truncated
        text, last, terminated, _, info = env.step(f" a3{env.end}")
        assert terminated
        assert info["response"] == " a4 a6 a3"
        assert reward + last == pytest.approx(info["score"] - 0.05 * info["kl"], abs=1e-6)

    def test_the_reward_is_summed_over_tokens(self):
        strings, plain = Strings(make()), make()
        strings.reset(seed=5)
        plain.reset(seed=5)
        _, total, *_ = strings.step(" a7 a9 a11")
        assert total == pytest.approx(sum(plain.step(token)[1] for token in (7, 9, 11)), abs=1e-6)

    def test_words_after_the_end_are_returned(self):
        env = Strings(make(max_new_tokens=3))
        env.reset(seed=0)
        *_, info = env.step(" a4 a5 a6 a7 a8")
        assert info["finish_reason"] == "length"
        assert info["unwritten"] == "a7 a8"

    def test_unknown_words_are_refused(self):
        env = Strings(make())
        env.reset(seed=0)
        with pytest.raises(ValueError, match="unknown to"):
            env.step(" hippopotamus")

    @pytest.mark.parametrize(("action", "error"), [(7, TypeError), ("", ValueError)])
    def test_invalid_actions(self, action, error):
        env = Strings(make())
        env.reset(seed=0)
        with pytest.raises(error, match="expected text"):
            env.step(action)

    def test_only_around_a_text_environment(self):
        with pytest.raises(TypeError, match="no text environment"):
            Strings(gym.make("CartPole-v1"))


class TestModelInputs:
    @pytest.mark.parametrize("side", ["left", "right"])
    def test_the_model_reads_the_same_text(self, side):
        """Guards against a mask or a shift that is off by one."""
        lm, env, plain = tiny_lm(), ModelInputs(make(), side), make()
        inputs, _ = env.reset(seed=2)
        tokens, _ = plain.reset(seed=2)
        for action in (5, 6):
            inputs, *_ = env.step(action)
            tokens, *_ = plain.step(action)
        mask = torch.from_numpy(inputs["attention_mask"])[None]
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        ids = torch.from_numpy(inputs["input_ids"])[None]
        logits = lm.model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[0]
        real = torch.from_numpy(tokens[tokens >= 0])[None]
        expected = lm.model(input_ids=real, attention_mask=torch.ones_like(real)).logits[0, -1]
        last = -1 if side == "left" else int(mask.sum()) - 1
        torch.testing.assert_close(logits[last], expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_check_env(self, side):
        env = ModelInputs(make(), side)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is different from the unwrapped version")
            check_env(env, skip_render_check=True)

    @pytest.mark.parametrize("mode", list(AutoresetMode))
    def test_a_batch_equals_singles(self, mode):
        batch = ModelInputsBatch(gym.make_vec("TextRLHF-v0", num_envs=3, autoreset_mode=mode, **text_env()), "left")
        plain = gym.make_vec("TextRLHF-v0", num_envs=3, autoreset_mode=mode, **text_env())
        rng = np.random.default_rng(0)
        seen, _ = batch.reset(seed=1)
        tokens, _ = plain.reset(seed=1)
        for _ in range(20):
            same(seen, model_inputs(tokens, 1, "left"))
            assert batch.observation_space.contains(seen)
            actions = np.where(rng.random(3) < 0.2, 1, rng.integers(2, 40, 3))
            seen, *_, info = batch.step(actions)
            tokens, _, terminated, truncated, expected = plain.step(actions)
            for row in np.flatnonzero(expected.get("_final_obs", np.zeros(3, bool))):
                same(info["final_obs"][row], model_inputs(expected["final_obs"][row], 1, "left"))
            if mode is AutoresetMode.DISABLED and (terminated | truncated).any():
                options = {"reset_mask": terminated | truncated}
                seen, _ = batch.reset(options=options)
                tokens, _ = plain.reset(options=options)

    def test_padding_side_is_checked(self):
        with pytest.raises(ValueError, match="padding_side is 'middle'"):
            ModelInputs(make(), "middle")


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key])
