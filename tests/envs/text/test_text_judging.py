"""Who reward functions: the task's gold, any callable, or a composite whose parts are told by name."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from textrlhf import reward_models
from textrlhf.reward_models import Composite, RewardFunctionError
from textrlhf.reward_models.composite import AtLeast, AtMost
from textrlhf.reward_models.ensemble import Ensemble
from tiny_envs import Counting, text_env

EOS = 1


def lengths(prompts, responses):
    return [float(len(response.split())) for response in responses]


def constant(value):
    return lambda prompts, responses: np.full(len(responses), value)


@pytest.fixture
def asked(monkeypatch):
    """Saved reward functions in place of those on disk: which were asked for, and on which device."""
    found = []

    def load_reward_model(name, device="auto"):
        found.append((name, device))
        if "reward_function" not in str(name):
            raise ValueError(f"no reward function at {name}: expected a folder that textrlhf reward train wrote")
        return constant(float(len(str(name))))

    monkeypatch.setattr(reward_models, "load_reward_model", load_reward_model, raising=False)
    return found


def ended(env, *tokens):
    """The information at the end of a text."""
    env.reset(seed=0)
    for token in tokens:
        env.step(token)
    return env.step(EOS)[4]


@pytest.mark.parametrize("reward_function", [None, "gold"])
def test_gold_is_the_tasks_own_score(text, reward_function):
    env = text(reward_model=reward_function, kl_coef=0.0)
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
    reward_function = Composite({"truth": ("gold", 2.0), "size": (lengths, -0.25), "luck": (constant(4.0), 0.5)})
    env = text(num_envs, reward_model=reward_function, kl_coef=0.0, missing_eos_penalty=0.5, max_new_tokens=3)
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

    for reward_function in ("gold", None, Composite({"truth": ("gold", 1.0)})):
        with pytest.raises(ValueError, match=r"(reward_model|truth) is missing: expected a callable"):
            text(task=Blind(), reward_model=reward_function)
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
    ("reward_functions", "message"),
    [
        ({}, "reward_functions is empty"),
        ({"a": constant(1.0)}, r"reward_functions\['a'\] is "),
        ({"a": (constant(1.0), np.nan)}, "the weight a finite number"),
    ],
)
def test_composites_that_are_none(reward_functions, message):
    with pytest.raises(ValueError, match=message):
        Composite(reward_functions)


def test_a_part_that_cannot_judge_is_named(text, asked):
    with pytest.raises(TypeError, match=r"'polite' is 3"):
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


def test_constraints_are_told_by_name_and_priced(text):
    reward_function = Composite(
        {
            "truth": ("gold", 1.0),
            "gold": AtLeast("gold", 0.75, 4.0),
            "size": AtMost(lengths, 1.5, 2.0),
            "luck": (constant(1.0), 0.5),
        }
    )
    told = ended(text(reward_model=reward_function, kl_coef=0.0), 4, 5)
    assert (told["gold"], told["truth"], told["size"], told["luck"]) == (0.5, 0.5, 2.0, 1.0)
    assert told["score"] == 0.5 - 4 * 0.25 - 2 * 0.5 + 0.5


def test_gold_within_a_composite_within_is_the_true_score(text):
    reward_function = Composite({"inner": (Composite({"truth": ("gold", 2.0), "size": (lengths, 1.0)}), 3.0)})
    told = ended(text(reward_model=reward_function, kl_coef=0.0), 4, 5)
    assert told["inner"] == 2 * 0.5 + 2
    assert told["score"] == 3 * told["inner"]


@pytest.mark.parametrize("num_envs", [None, 2])
def test_an_ensembles_members_are_told_by_name(text, num_envs):
    reward_function = Ensemble([lengths, constant(5.0)], "worst")
    env = text(num_envs, reward_model=reward_function, kl_coef=0.0)
    act = (lambda token: token) if num_envs is None else (lambda token: np.full(2, token))
    env.reset(seed=0)
    env.step(act(4))
    info = env.step(act(EOS))[4]
    told = info if num_envs is None else {key: values[1] for key, values in info["final_info"].items()}
    assert (told["member_0"], told["member_1"], told["score"], told["gold"]) == (1.0, 5.0, 1.0, 1.0)


class Halves:
    """A reward function of two parts that knows nothing of this library."""

    names = ("left", "right")

    def __call__(self, prompts, responses):
        raise AssertionError("a reward function that has parts is asked for these")

    def parts(self, prompts, responses):
        return dict.fromkeys(self.names, lengths(prompts, responses))

    def combine(self, parts):
        return sum(parts.values())


def test_anything_with_parts_has_them_told(text):
    told = ended(text(reward_model=Halves(), kl_coef=0.0), 4, 5)
    assert (told["left"], told["right"], told["score"]) == (2.0, 2.0, 4.0)


@pytest.mark.parametrize("name", ["gold", "kl"])
def test_none_of_which_may_pass_for_something_else(text, name):
    reward_function = Halves()
    reward_function.names = ("left", name)
    with pytest.raises(ValueError, match=f"part of the reward_model is named .{name}."):
        ended(text(reward_model=reward_function), 4)


def test_what_parts_add_up_to_must_be_a_score(text):
    reward_function = Halves()
    reward_function.combine = lambda parts: [np.nan]
    with pytest.raises(RewardFunctionError, match="reward_model returned nan for the response ' a4'"):
        ended(text(reward_model=reward_function), 4)


@pytest.mark.parametrize("name", ["runs/reward-model", Path("runs/reward-model")])
def test_a_saved_judge_is_found_by_its_name(text, asked, name):
    told = ended(text(reward_model=name, kl_coef=0.0, device="cpu"), 4)
    assert asked == [(name, "cpu")]
    assert told["score"] == 10.0
    assert told["gold"] == 1.0


def test_saved_judges_are_found_within_a_composite(text, asked):
    reward_function = Composite(
        {
            "quality": ("runs/reward-model", 1.0),
            "safety": AtLeast("my-reward-model", 9.0, 2.0),
            "inner": (Composite({"deep": (Path("reward_function"), 1.0)}), 1.0),
            "truth": ("gold", 1.0),
        }
    )
    told = ended(text(reward_model=reward_function, kl_coef=0.0), 4)
    assert asked == [
        ("runs/reward-model", "auto"),
        ("my-reward-model", "auto"),
        (Path("reward_function"), "auto"),
    ]
    assert [told[name] for name in ("quality", "safety", "inner", "truth")] == [10.0, 8.0, 5.0, 1.0]
    assert told["score"] == 10.0 - 2.0 + 5.0 + 1.0
    assert reward_function.reward_functions["quality"] == ("runs/reward-model", 1.0)  # the user's own is as it was


def test_a_judge_that_is_not_there_says_what_was_looked_for(text, asked):
    seen = r"expected a callable .*, or the name of a saved reward function, or \"gold\".* no reward "
    seen += "model at runs/nowhere: expected a fol"
    with pytest.raises(ValueError, match=f"reward_model is 'runs/nowhere': {seen}"):
        text(reward_model="runs/nowhere")
    with pytest.raises(ValueError, match=f"safety is .*runs/nowhere.*: {seen}"):
        text(reward_model=Composite({"safety": AtLeast(Path("runs/nowhere"), 0.0, 1.0)}))


class JudgementDataset(Counting):
    reward_function = "the-usual-reward function"


def test_a_task_may_have_a_usual_judge(text, asked):
    told = ended(text(task=JudgementDataset(), kl_coef=0.0), 4, 5)
    assert asked == [("the-usual-reward function", "auto")]
    assert told["score"] == 15.0
    assert told["gold"] == 0.5


def test_which_gives_way_to_the_users_choice(text, asked):
    assert ended(text(task=JudgementDataset(), reward_model="gold", kl_coef=0.0), 4, 5)["score"] == 0.5
    assert ended(text(task=JudgementDataset(), reward_model=lengths, kl_coef=0.0), 4, 5)["score"] == 2.0
    assert asked == []


def test_where_it_judges_prompts_need_no_true_score(text, asked):
    class Needy(JudgementDataset):
        needs = ("reference",)

    told = ended(text(task=Needy(), prompts=["a3", "a4"], kl_coef=0.0), 4)
    assert told["score"] == 15.0
    assert "gold" not in told


def test_a_spec_keeps_the_name_and_not_the_judge(asked):
    env = gym.make("TextRLHF-v0", **text_env(reward_model="runs/reward-model"))
    assert env.spec.kwargs["reward_model"] == "runs/reward-model"
    env.close()
