"""Several reward models of one thing: three ways to combine them, their names, and their folder."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

from textrlhf.reward_models import RewardFunctionError
from textrlhf.reward_models.ensemble import FILE, Ensemble, EnsembleError, combined

PROMPTS, RESPONSES = ["a", "b"], [" x", " y z"]
SCORES = np.array([[1.0, 0.0], [3.0, 0.0], [2.0, 6.0]])  # three members, two texts
LOST = {"format": 1, "members": ["member-0"], "combine": "mean", "penalty": 1.0}


class Fixed:
    """A reward model that gives the same scores whatever it is asked, and writes them into a file."""

    def __init__(self, *scores, shift=0.0):
        self.scores, self.shift = np.array(scores, float), shift

    def __call__(self, prompts, responses):
        return self.scores[: len(responses)]

    def raw(self, prompts, responses):
        return self(prompts, responses) + self.shift

    def save(self, path):
        path.mkdir()
        (path / "scores.json").write_text(json.dumps([self.scores.tolist(), self.shift]))

    @classmethod
    def load(cls, path):
        scores, shift = json.loads((path / "scores.json").read_text())
        return cls(*scores, shift=shift)


def ensemble(combine="mean", penalty=1.0, shift=0.0):
    return Ensemble([Fixed(*row, shift=shift) for row in SCORES], combine, penalty)


class TestCombined:
    def test_by_hand(self):
        """The variance is that of the members themselves (over k, not k − 1): 2/3, and 8."""
        assert combined(SCORES, "mean").tolist() == [2, 2]
        assert combined(SCORES, "worst").tolist() == [1, 0]
        np.testing.assert_allclose(combined(SCORES, "cautious"), [2 - 2 / 3, 2 - 8], rtol=1e-15)
        np.testing.assert_allclose(combined(SCORES, "cautious", 0.25), [2 - 1 / 6, 0], rtol=1e-15)

    def test_without_a_penalty_the_cautious_is_the_mean(self):
        np.testing.assert_array_equal(combined(SCORES, "cautious", 0.0), combined(SCORES, "mean"))

    def test_one_member_alone_is_itself(self):
        for how in ("mean", "worst", "cautious"):
            np.testing.assert_array_equal(combined(SCORES[:1], how, 5.0), SCORES[0])

    def test_where_all_agree_nothing_is_taken_off(self):
        agreed = np.repeat([[1.5, -2.0]], 4, 0)
        for how in ("mean", "worst", "cautious"):
            np.testing.assert_array_equal(combined(agreed, how, 5.0), agreed[0])

    def test_members_have_no_order(self):
        for how in ("mean", "worst", "cautious"):
            np.testing.assert_allclose(combined(SCORES[::-1], how), combined(SCORES, how), rtol=1e-15)


class TestScores:
    @pytest.mark.parametrize("how", ["mean", "worst", "cautious"])
    def test_are_the_combined_ones(self, how):
        model = ensemble(how, 0.5)
        for scores in (model(PROMPTS, RESPONSES), model.score(PROMPTS, RESPONSES)):
            np.testing.assert_array_equal(scores, combined(SCORES, how, 0.5))

    def test_of_members_come_by_number(self):
        model = ensemble()
        np.testing.assert_array_equal(model.members(PROMPTS, RESPONSES), SCORES)
        parts = model.parts(PROMPTS, RESPONSES)
        assert list(parts) == ["member_0", "member_1", "member_2"]
        assert parts["member_2"].tolist() == [2, 6]

    def test_parts_are_combined_by_their_names(self):
        """Guards against reading the parts in whatever order they come, which eleven sorted names would change."""
        model = Ensemble([Fixed(float(i)) for i in range(11)], "worst")
        parts = dict(sorted(model.parts(["a"], [" x"]).items()))
        assert list(parts)[2] == "member_10"
        assert model.combine(parts).tolist() == [0]
        del parts["member_0"]
        with pytest.raises(KeyError, match="member_0"):
            model.combine(parts)

    def test_raw_ones_are_averaged_however_the_others_are_combined(self):
        for how in ("mean", "worst", "cautious"):
            assert ensemble(how, shift=10.0).raw(PROMPTS, RESPONSES).tolist() == [12, 12]

    def test_raw_ones_need_members_that_have_some(self):
        model = Ensemble([Fixed(1.0), lambda prompts, responses: [0.0]])
        assert not hasattr(model, "raw")
        with pytest.raises(AttributeError, match=r"no raw score: member_1, <function .*expected reward models"):
            model.raw(["a"], [" x"])
        assert hasattr(Ensemble([Ensemble([Fixed(1.0)])]), "raw")
        assert not hasattr(Ensemble([model]), "raw")

    def test_a_member_that_fails_is_named(self):
        with pytest.raises(RewardFunctionError, match=r"^member_1 returned nan for the response ' x'"):
            Ensemble([Fixed(1.0, 1.0), Fixed(np.nan, 1.0)])(PROMPTS, RESPONSES)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, "reward models is empty: expected at least one reward model"),
        (
            ([Fixed(1.0), "runs/reward-model"],),
            TypeError,
            r"reward models\[1\] is 'runs/reward-model': expected a callable",
        ),
        (([Fixed(1.0)], "median"), ValueError, "combine is 'median': expected one of 'mean', 'worst', 'cautious'"),
        (([Fixed(1.0)], "cautious", -1.0), ValueError, "penalty is -1.0: expected a finite number of at least 0"),
        (([Fixed(1.0)], "cautious", np.nan), ValueError, "penalty is nan"),
        (([Fixed(1.0)], "cautious", "1"), ValueError, "penalty is '1'"),
    ],
)
def test_what_is_no_ensemble(arguments, error, message):
    with pytest.raises(error, match=message):
        Ensemble(*arguments)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_judges_alike(how):
    model = ensemble("cautious", 0.5)
    other = how(model)
    np.testing.assert_array_equal(other(PROMPTS, RESPONSES), model(PROMPTS, RESPONSES))
    assert (other.how, other.penalty, other.name) == ("cautious", 0.5, None)


class TestFolder:
    def test_is_read_as_it_was_written(self, tmp_path):
        model = ensemble("cautious", 0.5, shift=3.0)
        model.save(tmp_path / "runs" / "model")
        assert sorted(file.name for file in (tmp_path / "runs" / "model").iterdir()) == [
            FILE,
            "member-0",
            "member-1",
            "member-2",
        ]
        again = Ensemble.load(tmp_path / "runs" / "model", Fixed.load)
        np.testing.assert_array_equal(again(PROMPTS, RESPONSES), model(PROMPTS, RESPONSES))
        np.testing.assert_array_equal(again.raw(PROMPTS, RESPONSES), model.raw(PROMPTS, RESPONSES))
        assert (again.how, again.penalty) == ("cautious", 0.5)
        assert again.name == str(tmp_path / "runs" / "model")

    def test_says_what_it_holds(self, tmp_path):
        ensemble("worst", 2).save(tmp_path / "model")
        assert json.loads((tmp_path / "model" / FILE).read_text()) == {
            "format": 1,
            "members": ["member-0", "member-1", "member-2"],
            "combine": "worst",
            "penalty": 2.0,
        }

    def test_may_hold_ensembles(self, tmp_path):
        model = Ensemble([ensemble("worst"), Fixed(4.0, 4.0)])
        model.save(tmp_path / "model")
        again = Ensemble.load(tmp_path / "model", Fixed.load)
        assert again(PROMPTS, RESPONSES).tolist() == model(PROMPTS, RESPONSES).tolist() == [2.5, 2.0]

    def test_of_members_that_cannot_be_saved_is_not_begun(self, tmp_path):
        with pytest.raises(TypeError, match=r"member_1 is <built-in function len>, which has no save\(folder\)"):
            Ensemble([Fixed(1.0), len]).save(tmp_path / "model")
        assert not list(tmp_path.iterdir())

    def test_stays_as_it_was_when_a_member_fails_to_be_saved(self, tmp_path):
        class Full(Fixed):
            def save(self, path):
                raise OSError("no space left")

        ensemble().save(tmp_path / "model")
        with pytest.raises(OSError, match="no space left"):
            Ensemble([Fixed(9.0), Full(9.0)]).save(tmp_path / "model")
        assert [file.name for file in tmp_path.iterdir()] == ["model"]
        assert Ensemble.load(tmp_path / "model", Fixed.load)(PROMPTS, RESPONSES).tolist() == [2, 2]

    def test_replaces_an_ensemble_and_nothing_else(self, tmp_path):
        """Guards against a run, or somebody's work, that lies where an ensemble is to be saved."""
        ensemble().save(tmp_path / "model")
        Ensemble([Fixed(9.0)]).save(tmp_path / "model")
        assert not (tmp_path / "model" / "member-1").exists()
        (tmp_path / "model" / "report.html").write_text("seen")
        (tmp_path / "work").mkdir()
        (tmp_path / "work" / "member-0").write_text("mine")
        (tmp_path / "file").write_text("mine")
        for name, seen in (("model", "it holds report.html"), ("work", f"it has no {FILE}"), ("file", "it is a file")):
            with pytest.raises(FileExistsError, match=f"is not an ensemble .{seen}"):
                ensemble().save(tmp_path / name)
        assert (tmp_path / "model" / "report.html").read_text() == "seen"
        assert (tmp_path / "work" / "member-0").read_text() == "mine"

    def test_that_a_writer_died_in_is_taken_back(self, tmp_path):
        ensemble().save(tmp_path / "model")
        (tmp_path / "model").rename(tmp_path / ".model.previous")
        assert len(Ensemble.load(tmp_path / "model", Fixed.load).models) == 3

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "cannot be read .*: copy the ensemble again, or save it anew"),
            (b"\xff\xfe\x00", "cannot be read"),
            ("[" * 100_000, "cannot be read"),
            ("[]", r"it holds \[\], not an object"),
            ('{"architectures": ["GPT2"]}', "its format is None, and this version reads 1"),
            (LOST | {"format": 2}, "its format is 2, and this version reads 1"),
            (LOST | {"members": []}, r"its members are \[\], not a list of folders' names"),
            (LOST | {"members": "member-0"}, "its members are 'member-0'"),
            (LOST | {"members": [0]}, r"its members are \[0\]"),
            (LOST | {"members": ["../elsewhere"]}, r"its members are \['../elsewhere'\]"),
            (LOST | {"members": [".."]}, r"its members are \['..'\]"),
            (LOST | {"combine": "median"}, "its combine is 'median': expected one of 'mean'"),
            (LOST | {"penalty": None}, "its penalty is None: expected a finite number"),
            ({k: v for k, v in LOST.items() if k != "penalty"}, "its penalty is None"),
            (LOST, "names the member 'member-0', but .*member-0 is no folder: copy the ensemble again"),
        ],
    )
    def test_that_is_damaged_or_foreign_is_refused(self, tmp_path, content, message):
        file = tmp_path / FILE
        content = json.dumps(content) if isinstance(content, dict) else content
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(EnsembleError, match=f"(?s){FILE} .*{message}") as caught:
            Ensemble.load(tmp_path, Fixed.load)
        assert str(file) in str(caught.value)

    def test_that_is_none(self, tmp_path):
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(EnsembleError, match=rf"no ensemble at {folder}: expected a folder with {FILE}"):
                Ensemble.load(folder, Fixed.load)


def test_the_repr_names_its_members():
    assert repr(Ensemble([len], "worst")) == "Ensemble([<built-in function len>], combine='worst', penalty=1.0)"
