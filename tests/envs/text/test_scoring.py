"""Scores: the task's gold score, any callable, saved reward models, and composites with reported parts."""

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
from tiny_models import tiny_lm

EOS = 1


def lengths(prompts, responses):
    return [float(len(response.split())) for response in responses]


def constant(value):
    return lambda prompts, responses: np.full(len(responses), value)


@pytest.fixture
def loaded(monkeypatch):
    """Saved reward models in place of those on disk; the list has every name loaded, with its device."""
    calls = []
    saved = {"runs/quality": 10.0, "my-safety": 8.0, "deep": 5.0, "usual": 15.0}

    def load_reward_model(name, device="auto"):
        calls.append((name, device))
        if str(name) not in saved:
            raise ValueError(f"no reward model at {name}: expected a folder")
        return constant(saved[str(name)])

    monkeypatch.setattr(reward_models, "load_reward_model", load_reward_model)
    return calls


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


def test_a_callable_scores_and_gold_is_reported(text):
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
def test_scores_of_any_type(text, answer):
    env = text(reward_model=lambda prompts, responses: answer(len(responses)), kl_coef=0.0)
    env.reset(seed=0)
    assert env.step(EOS)[1] == 0.0


@pytest.mark.parametrize("num_envs", [None, 3])
def test_a_composite_is_a_weighted_sum_with_reported_parts(text, num_envs):
    reward_function = Composite({"truth": ("gold", 2.0), "size": (lengths, -0.25), "luck": (constant(4.0), 0.5)})
    env = text(num_envs, reward_model=reward_function, kl_coef=0.0, missing_eos_penalty=0.5, max_new_tokens=3)
    act = (lambda *tokens: tokens[0]) if num_envs is None else (lambda *tokens: np.array(tokens))
    env.reset(seed=0)
    env.step(act(4, 4, 5))
    env.step(act(5, 5, 5))
    _, reward, *_, info = env.step(act(EOS, 6, EOS))
    if num_envs is None:
        reward, reported = [reward], [info]
    else:
        final = info["final_info"]
        reported = [{key: final[key][row] for key in ("gold", "truth", "size", "luck", "score")} for row in range(3)]
    for row, one in enumerate(reported):
        words, gold = ((2, 0.5), (3, 2 / 3), (2, 0.0))[row]
        penalty = 0.5 if row == 1 else 0.0
        assert one["truth"] == one["gold"] == pytest.approx(gold)
        assert (one["size"], one["luck"]) == (words, 4.0)
        assert one["score"] == reward[row] == pytest.approx(2 * gold - 0.25 * words + 2.0 - penalty)


def test_gold_needs_a_task_that_has_it(text):
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
def test_reserved_names_of_parts(text, name):
    with pytest.raises(ValueError, match=f"part of the Composite is named '{name}'"):
        text(reward_model=Composite({name: (constant(1.0), 1.0)}))


def test_an_invalid_part_is_named(text, loaded):
    with pytest.raises(TypeError, match=r"polite.* is 3: expected a callable"):
        text(reward_model=Composite({"polite": (3, 1.0)}))
    with pytest.raises(ValueError, match=r"polite is 'nice': expected a callable"):
        text(reward_model=Composite({"polite": ("nice", 1.0)}))


def test_info_does_not_depend_on_other_texts(text):
    """Rows with and without a reference end in the same step: the former are measured either way."""

    class Needy(Counting):
        needs = ("reference",)

    rows = [{"prompt": "a3", "reference": "a4"}, {"prompt": "a5"}, {"prompt": "a6", "reference": "a4"}]
    kwargs = {"task": Needy(), "prompts": rows, "reward_model": constant(2.0), "kl_coef": 0.0}
    env, single = text(3, **kwargs), text(**kwargs)
    env.reset(seed=0, options={"prompt": [0, 1, 2]})
    env.step(np.array([4, 4, 5]))
    info = env.step(np.array([EOS, EOS, EOS]))[4]["final_info"]
    np.testing.assert_array_equal(info["_gold"], [True, False, True])
    np.testing.assert_array_equal(info["gold"][[0, 2]], [1.0, 0.0])
    np.testing.assert_array_equal(info["score"], [2.0, 2.0, 2.0])
    for row, token in enumerate((4, 4, 5)):
        single.reset(seed=0, options={"prompt": row})
        single.step(token)
        assert ("gold" in single.step(EOS)[4]) == (row != 1)


def test_a_task_prompt_without_a_needed_field(text):
    class Needy(Counting):
        needs = ("reference",)

    env = text(task=Needy())
    env.reset(seed=0)
    with pytest.raises(RuntimeError, match="gold score returned nan"):
        env.step(EOS)


def test_constraints_are_reported_and_scored(text):
    reward_function = Composite(
        {
            "truth": ("gold", 1.0),
            "gold": AtLeast("gold", 0.75, 4.0),
            "size": AtMost(lengths, 1.5, 2.0),
            "luck": (constant(1.0), 0.5),
        }
    )
    info = ended(text(reward_model=reward_function, kl_coef=0.0), 4, 5)
    assert (info["gold"], info["truth"], info["size"], info["luck"]) == (0.5, 0.5, 2.0, 1.0)
    assert info["score"] == 0.5 - 4 * 0.25 - 2 * 0.5 + 0.5


def test_gold_in_a_nested_composite(text):
    reward_function = Composite({"inner": (Composite({"truth": ("gold", 2.0), "size": (lengths, 1.0)}), 3.0)})
    info = ended(text(reward_model=reward_function, kl_coef=0.0), 4, 5)
    assert info["inner"] == 2 * 0.5 + 2
    assert info["score"] == 3 * info["inner"]


@pytest.mark.parametrize("num_envs", [None, 2])
def test_ensemble_members_are_reported(text, num_envs):
    reward_function = Ensemble([lengths, constant(5.0)], "worst")
    env = text(num_envs, reward_model=reward_function, kl_coef=0.0)
    act = (lambda token: token) if num_envs is None else (lambda token: np.full(2, token))
    env.reset(seed=0)
    env.step(act(4))
    info = env.step(act(EOS))[4]
    last = info if num_envs is None else {key: values[1] for key, values in info["final_info"].items()}
    assert (last["member_0"], last["member_1"], last["score"], last["gold"]) == (1.0, 5.0, 1.0, 1.0)


class Halves:
    """A reward function of two parts, not of this library."""

    names = ("left", "right")

    def __call__(self, prompts, responses):
        raise AssertionError("parts() is called instead")

    def parts(self, prompts, responses):
        return dict.fromkeys(self.names, lengths(prompts, responses))

    def combine(self, parts):
        return sum(parts.values())


def test_any_object_with_parts(text):
    info = ended(text(reward_model=Halves(), kl_coef=0.0), 4, 5)
    assert (info["left"], info["right"], info["score"]) == (2.0, 2.0, 4.0)


@pytest.mark.parametrize("name", ["gold", "kl"])
def test_reserved_names_of_a_reward_functions_parts(text, name):
    reward_function = Halves()
    reward_function.names = ("left", name)
    with pytest.raises(ValueError, match=f"part of the reward_model is named .{name}."):
        ended(text(reward_model=reward_function), 4)


def test_combined_scores_are_checked(text):
    reward_function = Halves()
    reward_function.combine = lambda parts: [np.nan]
    with pytest.raises(RewardFunctionError, match="reward_model returned nan for the response ' a4'"):
        ended(text(reward_model=reward_function), 4)


@pytest.mark.parametrize("name", ["runs/quality", Path("runs/quality")])
def test_a_saved_reward_model_by_name(text, loaded, name):
    info = ended(text(reward_model=name, kl_coef=0.0, device="cpu"), 4)
    assert loaded == [(name, "cpu")]
    assert info["score"] == 10.0
    assert info["gold"] == 1.0


def test_saved_reward_models_in_a_composite(text, loaded):
    reward_function = Composite(
        {
            "quality": ("runs/quality", 1.0),
            "safety": AtLeast("my-safety", 9.0, 2.0),
            "inner": (Composite({"deep": (Path("deep"), 1.0)}), 1.0),
            "truth": ("gold", 1.0),
        }
    )
    info = ended(text(reward_model=reward_function, kl_coef=0.0), 4)
    assert loaded == [("runs/quality", "auto"), ("my-safety", "auto"), (Path("deep"), "auto")]
    assert [info[name] for name in ("quality", "safety", "inner", "truth")] == [10.0, 8.0, 5.0, 1.0]
    assert info["score"] == 10.0 - 2.0 + 5.0 + 1.0
    assert reward_function.reward_functions["quality"] == ("runs/quality", 1.0)  # not changed


def test_a_missing_reward_model_is_named(text, loaded):
    seen = r"expected a callable .*saved reward model.* no reward model at runs/nowhere"
    with pytest.raises(ValueError, match=f"reward_model is 'runs/nowhere': {seen}"):
        text(reward_model="runs/nowhere")
    with pytest.raises(ValueError, match=f"safety is .*runs/nowhere.*: {seen}"):
        text(reward_model=Composite({"safety": AtLeast(Path("runs/nowhere"), 0.0, 1.0)}))


class WithDefault(Counting):
    reward_model = "usual"


def test_a_task_may_have_a_default_reward_model(text, loaded):
    info = ended(text(task=WithDefault(), kl_coef=0.0), 4, 5)
    assert loaded == [("usual", "auto")]
    assert info["score"] == 15.0
    assert info["gold"] == 0.5


def test_the_users_reward_replaces_the_default(text, loaded):
    assert ended(text(task=WithDefault(), reward_model="gold", kl_coef=0.0), 4, 5)["score"] == 0.5
    assert ended(text(task=WithDefault(), reward_model=lengths, kl_coef=0.0), 4, 5)["score"] == 2.0
    assert loaded == []


def test_none_scores_nothing(text, loaded):
    """Guards against supervised fine-tuning that needs a reward model: there are no scores to make up."""
    env = text(task=WithDefault(), reward_model="none", kl_penalty="none")
    info = ended(env, 4, 5)
    assert "score" not in info
    assert info["gold"] == 0.5  # a measure of the task, as ever
    assert loaded == []
    env.reset()
    assert env.step(EOS)[1] == 0.0
    gym.make("TextRLHF-v0", model=tiny_lm(), prompts=["a3"], reward_model="none").close()


def test_a_default_reward_model_needs_no_fields(text, loaded):
    class Needy(WithDefault):
        needs = ("reference",)

    info = ended(text(task=Needy(), prompts=["a3", "a4"], kl_coef=0.0), 4)
    assert info["score"] == 15.0
    assert "gold" not in info


def test_a_spec_keeps_the_name(loaded):
    env = gym.make("TextRLHF-v0", **text_env(reward_model="runs/quality"))
    assert env.spec.kwargs["reward_model"] == "runs/quality"
    env.close()
