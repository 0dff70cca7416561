"""Ensembles: how members are combined, their names, saving and loading."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

from textrlhf.reward_models import RewardFunctionError
from textrlhf.reward_models.ensemble import Ensemble, EnsembleError, combined
from textrlhf.reward_models.text.config import ENSEMBLE_FILE as FILE

PROMPTS, RESPONSES = ["a", "b"], [" x", " y z"]
SCORES = np.array([[1.0, 0.0], [3.0, 0.0], [2.0, 6.0]])  # three members, two texts
STORED = {"format": 1, "members": ["member-0"], "combine": "mean", "penalty": 1.0}


class Fixed:
    """A reward model with fixed scores, which it saves in a file."""

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

    def test_cautious_without_penalty_is_the_mean(self):
        np.testing.assert_array_equal(combined(SCORES, "cautious", 0.0), combined(SCORES, "mean"))

    def test_single_member(self):
        for how in ("mean", "worst", "cautious"):
            np.testing.assert_array_equal(combined(SCORES[:1], how, 5.0), SCORES[0])

    def test_order_of_members(self):
        for how in ("mean", "worst", "cautious"):
            np.testing.assert_allclose(combined(SCORES[::-1], how), combined(SCORES, how), rtol=1e-15)


class TestScores:
    @pytest.mark.parametrize("how", ["mean", "worst", "cautious"])
    def test_combined(self, how):
        model = ensemble(how, 0.5)
        for scores in (model(PROMPTS, RESPONSES), model.score(PROMPTS, RESPONSES)):
            np.testing.assert_array_equal(scores, combined(SCORES, how, 0.5))

    def test_parts_by_name(self):
        """Guards against combining parts in their order: eleven sorted names are not in order of the members."""
        model = Ensemble([Fixed(float(i)) for i in range(11)], "worst")
        parts = dict(sorted(model.parts(["a"], [" x"]).items()))
        assert list(parts)[2] == "member_10"
        assert model.combine(parts).tolist() == [0]
        del parts["member_0"]
        with pytest.raises(KeyError, match="member_0"):
            model.combine(parts)

    def test_raw_scores_are_averaged(self):
        for how in ("mean", "worst", "cautious"):
            assert ensemble(how, shift=10.0).raw(PROMPTS, RESPONSES).tolist() == [12, 12]

    def test_raw_scores_need_raw_members(self):
        model = Ensemble([Fixed(1.0), lambda prompts, responses: [0.0]])
        assert not hasattr(model, "raw")
        with pytest.raises(AttributeError, match=r"no raw scores: member_1, <function"):
            model.raw(["a"], [" x"])
        assert hasattr(Ensemble([Ensemble([Fixed(1.0)])]), "raw")
        assert not hasattr(Ensemble([model]), "raw")

    def test_error_names_the_member(self):
        with pytest.raises(RewardFunctionError, match=r"^member_1 returned nan for the response ' x'"):
            Ensemble([Fixed(1.0, 1.0), Fixed(np.nan, 1.0)])(PROMPTS, RESPONSES)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, "models is empty"),
        (
            ([Fixed(1.0), "runs/reward-model"],),
            TypeError,
            r"models\[1\] is 'runs/reward-model': expected a callable",
        ),
        (([Fixed(1.0)], "median"), ValueError, "combine is 'median': expected one of 'mean', 'worst', 'cautious'"),
        (([Fixed(1.0)], "cautious", -1.0), ValueError, "penalty is -1.0: expected a finite number of at least 0"),
        (([Fixed(1.0)], "cautious", np.nan), ValueError, "penalty is nan"),
        (([Fixed(1.0)], "cautious", "1"), ValueError, "penalty is '1'"),
    ],
)
def test_invalid_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Ensemble(*arguments)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copy(how):
    model = ensemble("cautious", 0.5)
    other = how(model)
    np.testing.assert_array_equal(other(PROMPTS, RESPONSES), model(PROMPTS, RESPONSES))
    assert (other.how, other.penalty, other.name) == ("cautious", 0.5, None)


class TestFolder:
    def test_save_and_load(self, tmp_path):
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

    def test_stored_settings(self, tmp_path):
        ensemble("worst", 2).save(tmp_path / "model")
        assert json.loads((tmp_path / "model" / FILE).read_text()) == {
            "format": 1,
            "members": ["member-0", "member-1", "member-2"],
            "combine": "worst",
            "penalty": 2.0,
        }

    def test_nested_ensemble(self, tmp_path):
        model = Ensemble([ensemble("worst"), Fixed(4.0, 4.0)])
        model.save(tmp_path / "model")
        again = Ensemble.load(tmp_path / "model", Fixed.load)
        assert again(PROMPTS, RESPONSES).tolist() == model(PROMPTS, RESPONSES).tolist() == [2.5, 2.0]

    def test_member_without_save(self, tmp_path):
        with pytest.raises(TypeError, match=r"member_1 is <built-in function len>, which has no save"):
            Ensemble([Fixed(1.0), len]).save(tmp_path / "model")
        assert not list(tmp_path.iterdir())

    def test_failed_save_keeps_the_old_one(self, tmp_path):
        class Full(Fixed):
            def save(self, path):
                raise OSError("no space left")

        ensemble().save(tmp_path / "model")
        with pytest.raises(OSError, match="no space left"):
            Ensemble([Fixed(9.0), Full(9.0)]).save(tmp_path / "model")
        assert [file.name for file in tmp_path.iterdir()] == ["model"]
        assert Ensemble.load(tmp_path / "model", Fixed.load)(PROMPTS, RESPONSES).tolist() == [2, 2]

    def test_replaces_ensembles_only(self, tmp_path):
        ensemble().save(tmp_path / "model")
        Ensemble([Fixed(9.0)]).save(tmp_path / "model")
        assert not (tmp_path / "model" / "member-1").exists()
        (tmp_path / "model" / "other").mkdir()
        (tmp_path / "work").mkdir()
        (tmp_path / "work" / "member-0").write_text("mine")
        (tmp_path / "file").write_text("mine")
        for name in ("model", "work", "file"):
            with pytest.raises(FileExistsError, match=f"{name} (exists and contains|is a file)"):
                ensemble().save(tmp_path / name)
        assert (tmp_path / "work" / "member-0").read_text() == "mine"

    def test_recovers_from_an_interrupted_save(self, tmp_path):
        ensemble().save(tmp_path / "model")
        (tmp_path / "model").rename(tmp_path / ".model.previous")
        assert len(Ensemble.load(tmp_path / "model", Fixed.load).models) == 3

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "cannot be read .*: copy the ensemble again"),
            (b"\xff\xfe\x00", "cannot be read"),
            ("[" * 100_000, "cannot be read"),
            ("[]", "cannot be read"),
            ('{"architectures": ["GPT2"]}', "cannot be read .*format"),
            (STORED | {"format": 2}, "format is 2"),
            (STORED | {"members": []}, r"members is \[\]: expected a list of folder names"),
            (STORED | {"members": "member-0"}, "members is 'member-0'"),
            (STORED | {"members": [0]}, r"members is \[0\]"),
            (STORED | {"members": ["../elsewhere"]}, r"members is \['../elsewhere'\]"),
            (STORED | {"members": [".."]}, r"members is \['..'\]"),
            (STORED | {"combine": "median"}, "combine is 'median': expected one of 'mean'"),
            (STORED | {"penalty": None}, "penalty is None"),
            ({k: v for k, v in STORED.items() if k != "penalty"}, "cannot be read .*penalty"),
            (STORED, "names the member 'member-0'"),
        ],
    )
    def test_damaged_or_foreign_file(self, tmp_path, content, message):
        file = tmp_path / FILE
        content = json.dumps(content) if isinstance(content, dict) else content
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(EnsembleError, match=f"(?s){FILE} .*{message}") as caught:
            Ensemble.load(tmp_path, Fixed.load)
        assert str(file) in str(caught.value)

    def test_no_ensemble(self, tmp_path):
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(EnsembleError, match=rf"no ensemble at {folder}: expected a folder with {FILE}"):
                Ensemble.load(folder, Fixed.load)


def test_repr():
    assert repr(Ensemble([len], "worst")) == "Ensemble([<built-in function len>], combine='worst', penalty=1.0)"
