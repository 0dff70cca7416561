"""Pretraining on halves: where texts are cut, whose score labels which half, and what is learned."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from textrlhf.reward_models import Ensemble, RewardFunctionError, RewardModel, TrainConfig, pretrain_on_halves
from textrlhf.reward_models.training import pretrain
from tiny_models import tiny_lm

QUICK = TrainConfig(epochs=4, batch_size=16, dropout=0.0, token_learning_rate=0.05)
KNOWN, UNKNOWN = {1: "a2", -1: "a3"}, {1: "a4", -1: "a5"}  # words of each sentiment, to the teacher below


class Teacher:
    """Knows one word of each sentiment."""

    def __init__(self, times=1.0, plus=0.0):
        self.times, self.plus = times, plus

    def raw(self, prompts, responses):
        words = [response.split() for response in responses]
        return np.array([self.plus + self.times * (some.count("a2") - some.count("a3")) for some in words])


def texts(n, known=1.0, seed=0):
    """Two sentences of one sentiment, each with a word for it that the teacher may or may not know."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(n):
        sentiment = int(rng.choice([1, -1]))
        sentences = []
        for word in (KNOWN[sentiment], KNOWN[sentiment] if rng.random() < known else UNKNOWN[sentiment]):
            some = [word, *(f"a{i}" for i in rng.integers(8, 30, 2))]
            sentences.append(" ".join(rng.permutation(some)))
        found.append(" ! ".join(rng.permutation(sentences)))
    return ["a20 a21 "] * n, found


def reward_model(seed=0):
    return RewardModel.new(tiny_lm(), seed=seed)


def weights(one):
    return {name: tensor.clone() for name, tensor in one.network.state_dict().items()}


def same(one, other):
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.fixture
def learned(monkeypatch):
    """Record what pretraining would train on, instead of training."""
    found = []
    monkeypatch.setattr(
        pretrain, "train", lambda reward_model, cases, config, **more: found.append((cases, config, more))
    )
    return found


def test_cuts_between_sentences():
    prompt, response = "It cost 3.50. We", ' sat down (at last!) and "ate." Was it good? Yes!\nNo end'
    cuts = set()
    for seed in range(60):
        first, second = pretrain.halved([prompt], [response], np.random.default_rng(seed))
        assert first[0] == second[0] == " "
        assert re.sub(r"\s", "", first + second) == re.sub(r"\s", "", prompt + response)
        cuts.add(first.strip())
    whole = prompt + response
    assert cuts == {whole[: whole.index(end) + len(end)] for end in ("3.50.", '"ate."', "good?", "Yes!")}


def test_sentences_without_spaces():
    cut = pretrain.halved(["", ""], ["房间很脏。服务不好。", "one line\nanother"], np.random.default_rng(0))
    assert cut == [" 房间很脏。", " 服务不好。", " one line", " another"]


@pytest.mark.parametrize(
    "text", ["", " ", "One sentence.", "One sentence. ", "no end", "One.\n", "... and so on.", "\n\nOne. ", "v1.2"]
)
def test_texts_of_one_sentence_are_left_out(text):
    cut = pretrain.halved(["", "", ""], ["A b. C d.", text, "E f. G h."], np.random.default_rng(0))
    assert cut == [" A b.", " C d.", " E f.", " G h."]


def test_half_is_labelled_by_the_score_of_the_other(learned):
    mixed = ["a2 a9 ! a3 a9"] * 100  # the first half good, the second bad
    pretrain_on_halves(reward_model(), Teacher(), [""] * 100, mixed, QUICK)
    ((cases, *_),) = learned
    assert {case.response for case in cases} == {" a2 a9 !", " a3 a9"}
    assert all(case.prompt == pretrain.PROMPT for case in cases)
    good = [case.good for case in cases if "a2" in case.response]
    bad = [case.good for case in cases if "a3" in case.response]
    assert len(good) == len(bad) == 100
    assert np.mean(good) < 0.25
    assert np.mean(bad) > 0.75


def test_probability_good():
    sure = pretrain.probability_good(np.array([-1e9, 1e9, 0.0, 0.0]))
    assert 0.9 < sure[0] < 1
    assert 0 < sure[1] < 0.1
    assert sure[2:].tolist() == [0.5, 0.5]


def test_invariant_to_the_scale_of_the_teacher(learned):
    for teacher in (Teacher(), Teacher(times=40.0, plus=-500.0)):
        pretrain_on_halves(reward_model(), teacher, *texts(64), QUICK)
    (plain, *_), (shifted, *_) = learned
    assert plain == shifted
    assert 0.3 < np.mean([case.good for case in plain]) < 0.7


def test_seed(learned):
    teacher, many = Teacher(), (["", ""] * 20, ["a2 ! a2 ! a9 ! a3", "a3 ! a9 ! a2"] * 20)
    for seed in (0, 0, 1):
        pretrain_on_halves(reward_model(), teacher, *many, dataclasses.replace(QUICK, seed=seed))
    (first, *_), (again, *_), (other, *_) = learned
    assert first == again
    assert [case.response for case in first] != [case.response for case in other]
    pretrain_on_halves(reward_model(), teacher, [""] * 40, ["a2 ! a9"] * 40, QUICK)  # a single place to cut
    pretrain_on_halves(reward_model(), teacher, [""] * 40, ["a2 ! a9"] * 40, dataclasses.replace(QUICK, seed=1))
    labels = [[case.good for case in cases] for cases, *_ in learned[3:]]
    assert labels[0] != labels[1]


def test_config(learned):
    pretrain_on_halves(reward_model(), Teacher(), *texts(64), title="halves")
    pretrain_on_halves(reward_model(), Teacher(), *texts(64), QUICK)
    (_, default, more), (_, own, _) = learned
    assert default == dataclasses.replace(pretrain.PRETRAIN_CONFIG, lapse=0.0)
    assert own == dataclasses.replace(QUICK, lapse=0.0)
    assert more == {"title": "halves"}


def test_learns_words_unknown_to_the_teacher():
    student = pretrain_on_halves(reward_model(), Teacher(), *texts(300, known=0.2), QUICK, show=False)
    good, bad = student.raw([pretrain.PROMPT] * 2, [" a4", " a5"])
    assert good > 0.3
    assert bad < -0.3
    assert not Teacher().raw([""] * 2, [" a4", " a5"]).any()


def test_reproducible_and_leaves_the_teachers_unchanged():
    teachers = [reward_model(seed) for seed in (1, 2)]
    for teacher, word in zip(teachers, (2, 3), strict=True):
        with torch.no_grad():
            teacher.network.values.values[word] = 5 - 2 * word
    before, configs = [weights(one) for one in teachers], [one.config for one in teachers]
    quick = dataclasses.replace(QUICK, epochs=0.5)
    first, again, other = (
        weights(
            pretrain_on_halves(
                reward_model(), Ensemble(teachers), *texts(64), dataclasses.replace(quick, seed=seed), show=False
            )
        )
        for seed in (0, 0, 1)
    )
    assert same(first, again)
    assert not same(first, other)
    assert not same(first, weights(reward_model()))
    assert all(same(weights(one), was) for one, was in zip(teachers, before, strict=True))
    assert [one.config for one in teachers] == configs


def test_own_teacher():
    one = reward_model()
    for teacher in (one, Ensemble([reward_model(1), one])):
        with pytest.raises(ValueError, match="teacher is the reward_model itself"):
            pretrain_on_halves(one, teacher, *texts(64), QUICK)


def test_too_few_texts():
    prompts, responses = texts(5)
    with pytest.raises(ValueError, match=r"8 texts have 10 halves \(3 have one sentence.*a batch of 16"):
        pretrain_on_halves(reward_model(), Teacher(), [*prompts, "", "", ""], [*responses, "a2", "", "a3 !"], QUICK)
    with pytest.raises(ValueError, match=r"0 texts have 0 halves"):
        pretrain_on_halves(reward_model(), Teacher(), [], [])


def test_mismatched_lengths():
    with pytest.raises(ValueError, match="2 prompts and 1 responses"):
        pretrain_on_halves(reward_model(), Teacher(), ["", ""], ["a2 ! a3"])


def test_constant_or_failing_teacher():
    with pytest.raises(ValueError, match="teacher gives all 128 halves the same score"):
        pretrain_on_halves(reward_model(), Teacher(times=0.0, plus=0.1), *texts(64), QUICK)
    with pytest.raises(RewardFunctionError, match="teacher returned nan"):
        pretrain_on_halves(reward_model(), Teacher(plus=np.nan), *texts(64), QUICK)
