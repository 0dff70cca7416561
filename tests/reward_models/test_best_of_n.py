"""Best of n: which texts are sampled and kept, the KL, the expected value."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from textrlhf.language import generate
from textrlhf.reward_models import RewardFunctionError, RewardModel, best_of_n
from textrlhf.reward_models.best_of_n import best_of, best_of_kl, expected_best
from tiny_models import tiny_lm

PROMPTS = ["a3 a4", "a5", "a6 a7 a8"]


def last_word(prompts, responses):
    """The number of the last word: many different scores."""
    return [float(response.split()[-1].strip("a<eosunk>") or 0) if response.split() else -1.0 for response in responses]


class TestBestOf:
    def test_a_reward_model_that_reads_less_is_refused_before_anything_is_sampled(self, monkeypatch):
        monkeypatch.setattr(best_of_n, "generate", None)
        with pytest.raises(ValueError, match=r"has 130 tokens, 3 of its prompt and max_new_tokens=127, .* at most 128"):
            best_of(2, tiny_lm("bloom"), RewardModel.new(tiny_lm(), "tokens"), PROMPTS, max_new_tokens=127)

    def test_keeps_the_best(self):
        asked = []

        def reward_function(prompts, responses):
            asked.append((list(prompts), list(responses)))
            return last_word(prompts, responses)

        found = best_of(5, tiny_lm(), reward_function, PROMPTS, max_new_tokens=6, seed=3)
        assert [best.prompt for best in found] == PROMPTS
        assert len(asked) == 1  # in one go
        assert asked[0][0] == [prompt for prompt in PROMPTS for _ in range(5)]
        assert asked[0][1] == [response for best in found for response in best.responses]
        for best in found:
            assert len(best.responses) == 5
            assert list(best.scores) == last_word([best.prompt] * 5, best.responses)
            assert best.score == max(best.scores)
            assert best.response == best.responses[best.scores.index(best.score)]  # of equal ones the first
        assert len({best.scores.index(best.score) for best in found}) > 1
        assert any(len(set(best.responses)) > 1 for best in found)

    def test_same_texts_as_generate(self):
        """Guards against texts of another prompt, and the finish reason of another text."""
        lm = tiny_lm()
        found = best_of(4, lm, last_word, PROMPTS, max_new_tokens=12, seed=1, temperature=0.8, slots=3)
        ids = [lm.encode(prompt).tolist() for prompt in PROMPTS for _ in range(4)]
        texts = generate(lm, ids, 12, temperature=0.8, seed=1, slots=5)
        written = [lm.continuation(text.prompt, text.tokens) for text in texts]
        assert [response for best in found for response in best.responses] == written
        for i, best in enumerate(found):
            pick = best.scores.index(best.score)
            assert best.finish_reason == texts[4 * i + pick].finish_reason
        assert {text.finish_reason for text in texts} == {"eos", "length"}

    def test_reproducible_and_independent_of_later_prompts(self):
        first = best_of(3, tiny_lm(), last_word, PROMPTS[:2], max_new_tokens=8, seed=7)
        assert best_of(3, tiny_lm(), last_word, PROMPTS, max_new_tokens=8, seed=7)[:2] == first
        assert best_of(3, tiny_lm(), last_word, PROMPTS[:2], max_new_tokens=8, seed=8) != first

    def test_model_by_name(self, tmp_path):
        name = tiny_lm().save(tmp_path / "tiny").name
        named = best_of(2, name, last_word, PROMPTS, max_new_tokens=4)
        assert named == best_of(2, tiny_lm(), last_word, PROMPTS, max_new_tokens=4)

    def test_no_prompts(self):
        assert best_of(2, tiny_lm(), last_word, [], max_new_tokens=4) == []

    @pytest.mark.parametrize(
        ("changes", "error", "message"),
        [
            ({"n": 0}, ValueError, "n is 0"),
            ({"n": 1.5}, ValueError, "n is 1.5"),
            ({"n": True}, ValueError, "n is True"),
            (
                {"reward_function": "runs/reward-model"},
                TypeError,
                "reward_function is 'runs/reward-model'",
            ),
            ({"prompts": "a3 a4"}, TypeError, "prompts is 'a3 a4': expected a list of strings"),
            ({"prompts": ["a3", 4]}, TypeError, r"prompts is \['a3', 4\]"),
            ({"prompts": ["a3", ""]}, ValueError, r"prompts\[1\] is '', which has no tokens"),
            ({"prompts": ["a3"] + [" a4" * 125]}, ValueError, r"prompts\[1\] has 125 tokens, .* exceeds the 128"),
            ({"max_new_tokens": 0}, ValueError, "max_new_tokens is 0"),
            ({"temperature": -1.0}, ValueError, "temperature is -1.0"),
            (
                {"reward_function": lambda p, r: [math.nan] * len(r)},
                RewardFunctionError,
                "reward_function returned nan for the response",
            ),
            ({"reward_function": lambda p, r: [1.0]}, RewardFunctionError, r"shape \(1,\): expected \(6,\)"),
        ],
    )
    def test_invalid_arguments(self, changes, error, message):
        kwargs = {"n": 3, "model": tiny_lm(), "reward_function": last_word, "prompts": PROMPTS[:2], "max_new_tokens": 4}
        with pytest.raises(error, match=message):
            best_of(**{**kwargs, **changes})


def exact_kl(odds, scores, n):
    """KL of best-of-n from the odds, all n-tuples of texts drawn: of equal scores the first drawn is kept."""
    chosen = np.zeros(len(odds))
    for drawn in itertools.product(range(len(odds)), repeat=n):
        chosen[drawn[int(np.argmax(scores[list(drawn)]))]] += odds[list(drawn)].prod()
    assert chosen.sum() == pytest.approx(1)
    seen = chosen > 0
    return float((chosen[seen] * np.log(chosen[seen] / odds[seen])).sum())


class TestKL:
    @pytest.mark.parametrize("n", [1, 2, 3, 5])
    @pytest.mark.parametrize("scores", [[0, 1, 2, 3], [3, 1, 0, 2], [0, 0, 1, 1], [1, 1, 1, 1]])
    def test_upper_bound_for_few_texts(self, n, scores):
        odds = np.array([0.1, 0.2, 0.3, 0.4])
        kl = exact_kl(odds, np.array(scores), n)
        assert kl <= best_of_kl(n) + 1e-12
        if n > 1:
            assert kl < best_of_kl(n)  # with so few texts the same one is drawn twice

    @pytest.mark.parametrize("n", [1, 2, 4, 16])
    def test_limit_of_many_texts(self, n):
        """Every text different in score and as likely as the others: P(the r-th is best) = (r/M)^n − ((r − 1)/M)^n."""
        gaps = []
        for many in (100, 1_000, 10_000):
            below = np.arange(many + 1) / many
            chosen = np.diff(below**n)
            kl = float((chosen[chosen > 0] * np.log(chosen[chosen > 0] * many)).sum())
            gaps.append(best_of_kl(n) - kl)
        assert min(gaps) >= -1e-12
        assert gaps[-1] < 2e-3
        if n > 1:
            assert gaps[0] > gaps[1] > gaps[2] > 0

    def test_known_values(self):
        assert best_of_kl(1) == 0
        assert best_of_kl(4) == pytest.approx(math.log(4) - 0.75)
        assert best_of_kl(np.int64(64)) == pytest.approx(3.1745, abs=1e-4)

    @pytest.mark.parametrize("n", [0, -1, 2.0, True, "4"])
    def test_invalid_n(self, n):
        with pytest.raises(ValueError, match="n is .*: expected a whole number of at least 1"):
            best_of_kl(n)


def brute_force(scores, values, n):
    """The mean over all choices of n, of equal scores each taken evenly."""
    worth = []
    for chosen in itertools.combinations(range(len(scores)), n):
        top = max(scores[i] for i in chosen)
        worth.append(np.mean([values[i] for i in chosen if scores[i] == top]))
    return np.mean(worth)


class TestExpectedBest:
    @pytest.mark.parametrize("ties", [False, True])
    def test_mean_over_all_subsets(self, ties):
        rng = np.random.default_rng(0)
        scores = rng.integers(0, 3, (4, 7)).astype(float) if ties else rng.normal(size=(4, 7))
        values = rng.normal(size=(4, 7))
        for n in range(1, 8):
            expected = [brute_force(*rows, n) for rows in zip(scores, values, strict=True)]
            np.testing.assert_allclose(expected_best(scores, values, n=n), expected, rtol=1e-12)
            expected = [brute_force(row, row, n) for row in scores]
            np.testing.assert_allclose(expected_best(scores, n=n), expected, rtol=1e-12)

    def test_no_ties_across_prompts(self):
        """Guards against the last score of a prompt being grouped with the first of the next."""
        scores, values = np.array([[0.0, 1.0], [1.0, 2.0]]), np.array([[1.0, 2.0], [3.0, 4.0]])
        np.testing.assert_allclose(expected_best(scores, values, n=2), [2.0, 4.0])

    def test_mean_and_maximum(self):
        scores = np.random.default_rng(1).normal(size=(3, 50))
        np.testing.assert_allclose(expected_best(scores, n=1), scores.mean(1), atol=1e-12)
        np.testing.assert_allclose(expected_best(scores, n=50), scores.max(1), atol=1e-12)

    def test_several_n(self):
        rng = np.random.default_rng(2)
        scores, values = rng.normal(size=(2, 3, 20))
        every = expected_best(scores, values, n=range(1, 21))
        assert every.shape == (3, 20)
        for n in range(1, 21):
            np.testing.assert_allclose(every[:, n - 1], expected_best(scores, values, n=n), rtol=1e-12)
        np.testing.assert_allclose(expected_best(scores[1], values[1], n=[2, 5]), every[1, [1, 4]], rtol=1e-12)
        assert expected_best(scores[1], values[1], n=2).shape == ()
        assert float(expected_best(scores[1], values[1], n=2)) == pytest.approx(every[1, 1])

    def test_increases_with_n(self):
        every = expected_best(np.random.default_rng(3).normal(size=40), n=range(1, 41))
        assert (np.diff(every) > 0).all()

    @pytest.mark.parametrize("n", [1, 2, 17, 1_000, 4_999, 5_000])
    def test_thousands_of_texts(self, n):
        """Of the scores 1 … N the best of n is n (N + 1) / (n + 1) on average, where C(N, n) has 1,500 digits."""
        scores = np.random.default_rng(0).permutation(5_000) + 1.0
        assert float(expected_best(scores, n=n)) == pytest.approx(n * 5_001 / (n + 1), rel=1e-11)

    def test_unbiased(self):
        """The mean estimate from 6 draws is the best of 3 of the whole distribution: fair dice, 1 − (k/6)³ above k."""
        rolls = np.random.default_rng(4).integers(1, 7, (40_000, 6))
        truth = sum(1 - (k / 6) ** 3 for k in range(6))
        estimates = expected_best(rolls, n=3)
        error = estimates.std() / math.sqrt(len(estimates))
        assert abs(estimates.mean() - truth) < 4 * error
        assert error < 0.005

    @pytest.mark.parametrize(
        ("scores", "values", "n", "message"),
        [
            ([1.0, 2.0], None, 3, "n is 3: expected integers from 1 to 2"),
            ([1.0, 2.0], None, 0, "n is 0"),
            ([1.0, 2.0], None, [1, 3], r"n is \[1, 3\]"),
            ([1.0, 2.0], None, 1.0, "n is 1.0"),
            ([1.0, 2.0], None, [], r"n is \[\]"),
            ([1.0, 2.0], [1.0], 1, r"values has the shape \(1,\): expected \(2,\)"),
            ([], None, 1, r"scores has the shape \(0,\)"),
            (1.0, None, 1, r"scores has the shape \(\)"),
            ([[[1.0]]], None, 1, r"scores has the shape \(1, 1, 1\)"),
            ([1.0, math.nan], None, 1, "scores holds nan: expected finite numbers"),
            ([1.0, 2.0], [1.0, math.inf], 1, "values holds inf"),
        ],
    )
    def test_invalid_arguments(self, scores, values, n, message):
        with pytest.raises(ValueError, match=message):
            expected_best(scores, values, n=n)
