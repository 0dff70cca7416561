"""Practice on halves: where texts are cut, whose score labels which half, and what a reward model learns of it."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from textrlhf.reward_models import Ensemble, RewardFunctionError, RewardModel, TrainConfig, pretrain_on_halves
from textrlhf.reward_models.training import pretrain as halves
from tiny_models import tiny_lm

QUICK = TrainConfig(epochs=4, batch_size=16, dropout=0.0, token_learning_rate=0.05)
KNOWN, UNKNOWN = {1: "a2", -1: "a3"}, {1: "a4", -1: "a5"}  # words of each mood, to the teacher below


class Teacher:
    """Knows one word of each mood; keeps what it was asked."""

    def __init__(self, times=1.0, plus=0.0):
        self.times, self.plus, self.asked = times, plus, []

    def raw(self, prompts, responses):
        self.asked += responses
        words = [response.split() for response in responses]
        return np.array([self.plus + self.times * (some.count("a2") - some.count("a3")) for some in words])


def texts(n, known=1.0, seed=0):
    """Two sentences of one mood: the first has a word that tells it, the second perhaps another that does."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(n):
        mood = int(rng.choice([1, -1]))
        sentences = []
        for word in (KNOWN[mood], KNOWN[mood] if rng.random() < known else UNKNOWN[mood]):
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
    """What practice would have learned from, in place of learning it."""
    found = []
    monkeypatch.setattr(
        halves, "train", lambda reward_model, cases, config, **more: found.append((cases, config, more))
    )
    return found


def test_a_text_is_cut_between_any_two_of_its_sentences_and_nothing_is_lost():
    prompt, response = "It cost 3.50. We", ' sat down (at last!) and "ate." Was it good? Yes!\nNo end'
    cuts = set()
    for seed in range(60):
        first, second = halves.halved([prompt], [response], np.random.default_rng(seed)).texts
        assert first[0] == second[0] == " "  # each goes on from what it is read after
        assert re.sub(r"\s", "", first + second) == re.sub(r"\s", "", prompt + response)
        cuts.add(first.strip())
    whole = prompt + response
    assert cuts == {whole[: whole.index(end) + len(end)] for end in ("3.50.", '"ate."', "good?", "Yes!")}


def test_sentences_may_end_without_a_space_behind_them():
    cut = halves.halved(["", ""], ["房间很脏。服务不好。", "one line\nanother"], np.random.default_rng(0))
    assert cut.texts == [" 房间很脏。", " 服务不好。", " one line", " another"]


@pytest.mark.parametrize(
    "text", ["", " ", "One sentence.", "One sentence. ", "no end", "One.\n", "... and so on.", "\n\nOne. ", "v1.2"]
)
def test_a_text_without_two_halves_is_left_out_and_counted_and_the_others_stay_in_pairs(text):
    cut = halves.halved(["", "", ""], ["A b. C d.", text, "E f. G h."], np.random.default_rng(0))
    assert cut.texts == [" A b.", " C d.", " E f.", " G h."]
    assert cut.left_out == 1


def test_a_half_is_labelled_by_the_score_of_the_other_and_not_by_its_own(learned):
    mixed = ["a2 a9 ! a3 a9"] * 100  # the first half good, the second bad
    pretrain_on_halves(reward_model(), Teacher(), [""] * 100, mixed, QUICK)
    ((cases, *_),) = learned
    assert {case.response for case in cases} == {" a2 a9 !", " a3 a9"}
    assert all(case.prompt == halves.BEFORE for case in cases)
    good = [case.good for case in cases if "a2" in case.response]
    bad = [case.good for case in cases if "a3" in case.response]
    assert len(good) == len(bad) == 100
    assert np.mean(good) < 0.25
    assert np.mean(bad) > 0.75


def test_labels_are_drawn_and_none_is_certain():
    sure = halves.likely_good(np.array([-1e9, 1e9, 0.0, 0.0]))
    assert 0.9 < sure[0] < 1
    assert 0 < sure[1] < 0.1
    assert sure[2:].tolist() == [0.5, 0.5]


def test_how_high_and_how_far_apart_the_teacher_scores_is_all_one(learned):
    for teacher in (Teacher(), Teacher(times=40.0, plus=-500.0)):
        pretrain_on_halves(reward_model(), teacher, *texts(64), QUICK)
    (plain, *_), (shifted, *_) = learned
    assert plain == shifted
    assert 0.3 < np.mean([case.good for case in plain]) < 0.7


def test_the_seed_draws_cuts_and_labels(learned):
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


def test_settings_reach_training_and_the_lapse_of_choices_does_not(learned):
    pretrain_on_halves(reward_model(), Teacher(), *texts(64), title="practice")
    pretrain_on_halves(reward_model(), Teacher(), *texts(64), QUICK)
    (_, default, more), (_, own, _) = learned
    assert default == dataclasses.replace(halves.PRACTICE, lapse=0.0)
    assert own == dataclasses.replace(QUICK, lapse=0.0)
    assert more == {"title": "practice"}


def test_a_judge_learns_words_that_its_teacher_does_not_know():
    pupil = pretrain_on_halves(reward_model(), Teacher(), *texts(300, known=0.2), QUICK, show=False)
    good, bad = pupil.raw([halves.BEFORE] * 2, [" a4", " a5"])
    assert good > 0.3
    assert bad < -0.3
    assert not Teacher().raw([""] * 2, [" a4", " a5"]).any()


def test_practice_is_the_same_each_time_and_its_teachers_stay_as_they_are():
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


def test_a_judge_cannot_teach_itself():
    one = reward_model()
    for teacher in (one, Ensemble([reward_model(1), one])):
        with pytest.raises(ValueError, match=r"reward model is its own teacher.*RewardModel.new"):
            pretrain_on_halves(one, teacher, *texts(64), QUICK)


def test_too_few_texts_with_two_halves():
    prompts, responses = texts(5)
    with pytest.raises(ValueError, match=r"8 texts have 10 halves \(3 texts have no two .*fewer than a batch of 16"):
        pretrain_on_halves(reward_model(), Teacher(), [*prompts, "", "", ""], [*responses, "a2", "", "a3 !"], QUICK)
    with pytest.raises(ValueError, match=r"0 texts have 0 halves"):
        pretrain_on_halves(reward_model(), Teacher(), [], [])


def test_prompts_and_responses_that_do_not_match():
    with pytest.raises(ValueError, match="2 prompts and 1 responses"):
        pretrain_on_halves(reward_model(), Teacher(), ["", ""], ["a2 ! a3"])


def test_a_teacher_that_knows_nothing_or_fails():
    with pytest.raises(ValueError, match="teacher scores all 128 halves alike"):
        pretrain_on_halves(reward_model(), Teacher(times=0.0, plus=0.1), *texts(64), QUICK)
    with pytest.raises(RewardFunctionError, match="teacher returned nan"):
        pretrain_on_halves(reward_model(), Teacher(plus=np.nan), *texts(64), QUICK)
