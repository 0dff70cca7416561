"""Rendering: the text so far, coloured by KL, with the score at its end."""

import re

import numpy as np
import pytest

from textrlhf.envs.text import TextEnv
from tiny_envs import Chatting, text_env

EOS = 1
GREEN, YELLOW, RED, DIM = "\033[32m", "\033[33m", "\033[31m", "\033[2m"


def bare(text):
    return re.sub(r"\033\[\d*m", "", text)


def test_ansi_renders_text_and_score(text):
    env = text(render_mode="ansi")
    prompt = env.reset(seed=0)[1]["prompt"]
    assert bare(env.render()) == prompt
    env.step(5)
    env.step(6)
    assert bare(env.render()) == f"{prompt} a5 a6"
    info = env.step(EOS)[4]
    shown = bare(env.render())
    assert shown.startswith(f"{prompt} a5 a6\n")
    figures = [f"{name} {info[name]:+.2f}" for name in ("score", "kl", "gold")]
    for part in (*figures, "eos", "3 tokens"):
        assert part in shown
    prompt = env.reset()[1]["prompt"]
    assert bare(env.render()) == prompt


def test_tokens_are_coloured_by_kl(text):
    env = text(render_mode="ansi")
    env.reset(seed=0)
    for kl in (0.0, 0.4, -0.4, 1.5, -1.5, 2.5):
        engine = env.unwrapped.engine  # its log-probabilities, to set one at a known distance
        hidden = engine.kl_penalty.memory.catch_up(np.zeros(1, int), engine.tokens, engine.lengths)
        best = int(engine.lm.head(hidden).argmax())
        logp = float(engine.lm.head(hidden).log_softmax(-1)[0, best])
        token = best if best > 1 else 5
        if token != best:
            logp = float(engine.lm.head(hidden).log_softmax(-1)[0, token])
        if logp + kl > 0:
            continue
        env.unwrapped.policy_logprob = logp + kl
        env.step(token)
        colour = GREEN if abs(kl) <= 0.5 else YELLOW if abs(kl) <= 2 else RED
        assert env.render().removesuffix("\033[0m").rpartition(f" a{token}")[0].endswith(colour)


def test_without_known_kl_there_is_no_colour(text):
    for kl_penalty in ("none", "deferred"):
        env = text(render_mode="ansi", kl_penalty=kl_penalty)
        env.reset(seed=0)
        env.step(5)
        assert not {GREEN, YELLOW, RED} & set(re.findall(r"\033\[\d*m", env.render()))
    env.step(EOS)
    assert {GREEN, YELLOW, RED} & set(re.findall(r"\033\[\d*m", env.render()))  # known at the end


def test_human_prints_token_by_token(text, capsys):
    env = text(render_mode="human")
    prompt = env.reset(seed=0)[1]["prompt"]
    assert bare(capsys.readouterr().out) == prompt
    env.step(5)
    assert bare(capsys.readouterr().out) == " a5"
    assert env.render() is None
    assert capsys.readouterr().out == ""
    env.step(6)
    assert bare(capsys.readouterr().out) == " a6"
    info = env.step(EOS)[4]
    shown = bare(capsys.readouterr().out)
    assert f"score {info['score']:+.2f}" in shown
    assert shown.endswith("\n")
    prompt = env.reset()[1]["prompt"]
    assert bare(capsys.readouterr().out) == prompt


def test_human_prints_replies(text, capsys):
    class Talkative(Chatting):
        def reply(self, prompt, turns, rng):
            return " a2 a3"

    env = text(render_mode="human", task=Talkative())
    env.reset(seed=0)
    env.step(5)
    capsys.readouterr()
    env.step(EOS)
    assert bare(capsys.readouterr().out) == " a2 a3"
    env.step(7)
    assert bare(capsys.readouterr().out) == " a7"


def test_without_a_render_mode_nothing_is_rendered(text, capsys):
    env = text()
    env.reset(seed=0)
    env.step(EOS)
    assert env.unwrapped.render() is None
    assert capsys.readouterr().out == ""


def test_a_batch_renders_one_string_per_slot(text):
    env = text(2, "NextStep", render_mode="ansi")
    prompts = env.reset(seed=0)[1]["prompt"]
    env.step(np.array([5, 6]))
    assert [bare(shown) for shown in env.render()] == [f"{prompts[0]} a5", f"{prompts[1]} a6"]
    env.step(np.array([EOS, 6]))
    shown = env.render()
    assert isinstance(shown, tuple)
    assert "score" in shown[0]
    assert "score" not in shown[1]
    info = env.step(np.array([5, 6]))[4]
    assert bare(env.render()[0]) == info["prompt"][0]
    assert text(2).render() is None


def test_forbidden_tokens_are_not_rendered(text):
    env = text(render_mode="ansi", allowed_tokens=[4, 6])
    prompt = env.reset(seed=0)[1]["prompt"]
    for token in (4, 5, 6):
        env.step(token)
    assert bare(env.render()) == f"{prompt} a4 a6"


def test_invalid_render_modes(text):
    with pytest.raises(ValueError, match=r"render_mode is 'human': expected None or 'ansi' for a batch"):
        text(2, render_mode="human")
    with pytest.raises(ValueError, match=r"render_mode is 'rgb_array': expected None, 'ansi' or 'human'"):
        TextEnv(render_mode="rgb_array", **text_env())
