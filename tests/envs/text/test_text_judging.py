"""Who judges: the task's gold, any callable, or a composite whose parts are told by name."""

import numpy as np
import pytest
import torch

from textrlhf.reward_models import Composite
from tiny_worlds import Counting

EOS = 1


def lengths(prompts, responses):
    return [float(len(response.split())) for response in responses]


def constant(value):
    return lambda prompts, responses: np.full(len(responses), value)


@pytest.mark.parametrize("judge", [None, "gold"])
def test_gold_is_the_tasks_own_score(text, judge):
    env = text(reward_model=judge, kl_coef=0.0)
    env.reset(seed=0)
    env.step(4)
    env.step(5)
    _, reward, *_, info = env.step(EOS)
    assert reward == info["score"] == info["gold"] == 0.5
    assert info["words"] == 2.0


def test_a_callable_judges_and_gold_is_told_beside_it(text):
    env = text(reward_model=lengths, kl_coef=0.0)
    env.reset(seed=0)
    env.step(4)
    _, reward, *_, info = env.step(EOS)
    assert reward == info["score"] == 1.0
    assert info["gold"] == 1.0
    assert info["words"] == 1.0


@pytest.mark.parametrize(
    "answer",
    [
        lambda n: np.zeros(n, np.float32),
        lambda n: [0] * n,
        lambda n: tuple([0.0] * n),
        lambda n: torch.zeros(n, requires_grad=True),
        lambda n: np.zeros(n, int),
    ],
)
def test_scores_come_in_any_form(text, answer):
    env = text(reward_model=lambda prompts, responses: answer(len(responses)), kl_coef=0.0)
    env.reset(seed=0)
    assert env.step(EOS)[1] == 0.0


@pytest.mark.parametrize("num_envs", [None, 3])
def test_a_composite_is_a_weighted_sum_told_by_name(text, num_envs):
    judge = Composite({"truth": ("gold", 2.0), "size": (lengths, -0.25), "luck": (constant(4.0), 0.5)})
    env = text(num_envs, reward_model=judge, kl_coef=0.0, missing_eos_penalty=0.5, max_new_tokens=3)
    act = (lambda *tokens: tokens[0]) if num_envs is None else (lambda *tokens: np.array(tokens))
    env.reset(seed=0)
    env.step(act(4, 4, 5))
    env.step(act(5, 5, 5))
    _, reward, *_, info = env.step(act(EOS, 6, EOS))
    if num_envs is None:
        reward, told = [reward], [info]
    else:
        final = info["final_info"]
        told = [{key: final[key][row] for key in ("gold", "truth", "size", "luck", "score")} for row in range(3)]
    for row, one in enumerate(told):
        words, gold = ((2, 0.5), (3, 2 / 3), (2, 0.0))[row]
        penalty = 0.5 if row == 1 else 0.0
        assert one["truth"] == one["gold"] == pytest.approx(gold)
        assert (one["size"], one["luck"]) == (words, 4.0)
        assert one["score"] == reward[row] == pytest.approx(2 * gold - 0.25 * words + 2.0 - penalty)


def test_gold_inside_a_composite_needs_a_task_that_has_it(text):
    class Blind(Counting):
        has_gold = False

        def measure(self, prompts, responses):
            return {}

    for judge in ("gold", None, Composite({"truth": ("gold", 1.0)})):
        with pytest.raises(ValueError, match=r"(reward_model|truth) is missing: expected a callable"):
            text(task=Blind(), reward_model=judge)
    env = text(task=Blind(), reward_model=constant(1.0), kl_coef=0.0)
    env.reset(seed=0)
    _, reward, *_, info = env.step(EOS)
    assert reward == 1.0
    assert "gold" not in info


@pytest.mark.parametrize("name", ["score", "length", "kl", "prompt", "response", "finish_reason"])
def test_no_part_of_a_composite_hides_what_info_tells(text, name):
    with pytest.raises(ValueError, match=f"part of the Composite is named '{name}'"):
        text(reward_model=Composite({name: (constant(1.0), 1.0)}))


@pytest.mark.parametrize(
    ("judges", "message"),
    [
        ({}, "judges is empty"),
        ({"a": constant(1.0)}, r"judges\['a'\] is .*expected \(judge, weight\)"),
        ({"a": (constant(1.0), np.nan)}, "the weight a finite number"),
    ],
)
def test_composites_that_are_none(judges, message):
    with pytest.raises(ValueError, match=message):
        Composite(judges)


def test_a_part_that_cannot_judge_is_named(text):
    with pytest.raises(TypeError, match=r"polite is 3: expected a callable"):
        text(reward_model=Composite({"polite": (3, 1.0)}))
    with pytest.raises(ValueError, match=r"polite is 'nice': expected a callable"):
        text(reward_model=Composite({"polite": ("nice", 1.0)}))


def test_what_is_told_of_a_text_depends_on_no_other_text(text):
    """Rows with and without a reference end in the same step: the former are measured either way."""

    class Needy(Counting):
        needs = ("reference",)

    rows = [{"prompt": "a3", "reference": "a4"}, {"prompt": "a5"}, {"prompt": "a6", "reference": "a4"}]
    kwargs = {"task": Needy(), "prompts": rows, "reward_model": constant(2.0), "kl_coef": 0.0}
    env, single = text(3, **kwargs), text(**kwargs)
    env.reset(seed=0, options={"prompt": [0, 1, 2]})
    env.step(np.array([4, 4, 5]))
    told = env.step(np.array([EOS, EOS, EOS]))[4]["final_info"]
    np.testing.assert_array_equal(told["_gold"], [True, False, True])
    np.testing.assert_array_equal(told["gold"][[0, 2]], [1.0, 0.0])
    np.testing.assert_array_equal(told["score"], [2.0, 2.0, 2.0])
    for row, token in enumerate((4, 4, 5)):
        single.reset(seed=0, options={"prompt": row})
        single.step(token)
        assert ("gold" in single.step(EOS)[4]) == (row != 1)


def test_a_tasks_own_prompt_without_what_its_score_needs(text):
    class Needy(Counting):
        needs = ("reference",)

    env = text(task=Needy())
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="gold score returned nan"):
        env.step(EOS)
