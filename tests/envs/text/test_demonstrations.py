"""Demonstrations of tasks: readable rows, from the right prompts, the same for the same seed."""

from __future__ import annotations

from collections import Counter

import gymnasium as gym
import numpy as np
import pytest

from textrlhf.envs.text.demonstrations import demonstrations
from textrlhf.envs.text.tasks import make_task
from textrlhf.language import load
from textrlhf.language.sft_examples import read_sft_examples
from tiny_envs import Chatting, Counting, text_env

TASKS = ["reviews", "dialogue", "summarize", "translate", "qa", "arithmetic"]


@pytest.mark.parametrize("name", TASKS)
def test_demonstrations_of_every_task_are_good(name: str) -> None:
    task = make_task(name, False)
    rows = demonstrations(name, 30, seed=3)
    lm = load(task.model)
    assert len(read_sft_examples(rows, lm, 96)) == 30
    prompts = {prompt.text: prompt for prompt in task.prompts("train")}
    responses = ["".join(row.get("turns") or [row["completion"]]) for row in rows]
    measured = task.measure([prompts[row["prompt"]] for row in rows], responses)
    quality = "grammatical" if name == "reviews" else "gold"  # a demonstrated review may be negative
    assert np.mean(measured[quality]) > 0.95


def test_a_longer_list_begins_equally() -> None:
    assert demonstrations("reviews", 20, seed=1) == demonstrations("reviews", 50, seed=1)[:20]
    assert demonstrations("reviews", 20, seed=1) != demonstrations("reviews", 20, seed=2)


def test_every_prompt_comes_once_before_any_comes_again() -> None:
    task = make_task("qa", False)
    n = len(task.prompts("heldout"))
    found = Counter(row["prompt"] for row in demonstrations(task, 2 * n, split="heldout"))
    assert found == Counter({prompt.text: 2 for prompt in task.prompts("heldout")})


def test_an_environments_own_prompts() -> None:
    mine = [{"prompt": "a2 a3", "reference": " a4"}, {"prompt": "a5", "reference": " a6"}]
    expected = {("a2 a3", " a4"), ("a5", " a6")}
    single = gym.make("TextRLHF-v0", **text_env(), prompts=mine, reward_model=len_of)
    batch = gym.make_vec("TextRLHF-v0", num_envs=2, **text_env(), prompts=mine, reward_model=len_of)
    for env in (single, batch):
        assert {(row["prompt"], row["completion"]) for row in demonstrations(env, 4)} == expected
        env.close()


def len_of(prompts, responses):
    return [float(len(response)) for response in responses]


def test_an_id_names_its_task() -> None:
    assert demonstrations("TextQA-v0", 5) == demonstrations("qa", 5)
    assert demonstrations("TextRLHF-v0", 5) == demonstrations("reviews", 5)


def test_a_demonstrated_dialogue_ends_as_in_the_environment() -> None:
    """At its last turn or where the task says that it is over, and never with the user's turn."""

    class Polite(Chatting):
        stop_at = 9

        def demonstrate_turn(self, prompt, turns, rng):
            return f" a{len(turns) + 2}"

        def is_over(self, prompt, turns):
            return len(turns) == self.stop_at

    (row,) = demonstrations(Polite(), 1)
    assert row["turns"][::2] == [" a2", " a3", " a4"]
    Polite.stop_at = 2
    (row,) = demonstrations(Polite(), 1)
    assert row["turns"][::2] == [" a2", " a3"]
    assert len(row["turns"]) == 3


def test_errors() -> None:
    with pytest.raises(NotImplementedError, match="has no reference for"):
        demonstrations(Counting(), 1)
    with pytest.raises(NotImplementedError, match="a dialogue without demonstrate_turn"):
        demonstrations(Chatting(), 1)
    with pytest.raises(ValueError, match="'CartPole-v1', which is no text environment"):
        demonstrations("CartPole-v1", 1)
    with pytest.raises(ValueError, match="task is 'review': expected one of"):
        demonstrations("review", 1)
    with pytest.raises(TypeError, match="source is 7: expected a task"):
        demonstrations(7, 1)
    with pytest.raises(ValueError, match="split is 'test'"):
        demonstrations("qa", 1, split="test")
    for n in (0, True, 1.5):
        with pytest.raises(ValueError, match="n is "):
            demonstrations("qa", n)
