from math import isfinite, tanh

import numpy as np
import pytest

from textrlhf.envs.text.tasks.reviews import automaton, clauses, corpus, grammar, sentiment, words
from textrlhf.envs.text.tasks.reviews.domains import DOMAINS, THINGS
from textrlhf.envs.text.tasks.reviews.lexicon import WORTH
from textrlhf.envs.text.tasks.splits import data_file


def test_one_adjective_by_hand():
    assert sentiment("The film was", " good.") == pytest.approx(tanh(0.75 * 0.55))
    assert sentiment("The film was not", " good.") == pytest.approx(tanh(-0.75 * 0.55 * 0.7))
    assert sentiment("The film was really", " good.") == pytest.approx(tanh(0.75 * (0.55 + 0.45 * 0.3)))


@pytest.mark.parametrize(
    ("prompt", "better", "worse"),
    [
        ("The film", " was not bad.", " was not good."),
        ("The film", " was never boring.", " was boring."),
        ("The film was", " hardly dull.", " hardly funny."),
        ("The film was", " anything but dull.", " anything but funny."),
        ("The film was", " far from dull.", " far from funny."),
        ("The film was", " really good.", " good."),
        ("The film was", " a bit slow.", " extremely slow."),
        ("The film was", " not very good.", " not good."),
        ("The film was", " really not bad.", " not bad."),
        ("The film was", " neither slow nor dull.", " neither clever nor funny."),
        ("The film was not", " slow or dull.", " slow and dull."),
        ("The film was", " not only funny but also clever.", " not funny but clever."),
        ("The film", " could not have been better.", " could have been better."),
        ("The film", " could have been worse.", " could not have been worse."),
        ("The film", " never failed to surprise me.", " failed to surprise me."),
        ("The film", " never made me yawn.", " never made me laugh."),
        ("It", " had no flaws.", " lacked charm."),
        ("I", " could not stop laughing.", " soon stopped laughing."),
        ("I", " could not put it down.", " put it down."),
        ("I", " did not regret it.", " did not like it."),
        ("I", " would recommend it.", " would not recommend it."),
        ("There was nothing", " wrong with the soup.", " good in the soup."),
        ("It was", " worth the wait.", " not worth the wait."),
        ("The beer was", " cold.", " warm."),
        ("The soup was", " warm.", " cold."),
        ("The dessert was", " sweet.", " too sweet."),
        ("The film was slow, but the", " acting was good.", " acting was bad."),
    ],
)
def test_the_first_is_better(prompt, better, worse):
    assert sentiment(prompt, better) > sentiment(prompt, worse)


@pytest.mark.parametrize("word", ["good", "bad", "dull", "superb"])
def test_a_negation_in_the_prompt_reverses_the_first_word(word):
    assert sentiment("The film was not", f" {word}.") * sentiment("The film was", f" {word}.") < 0


def test_only_the_response_counts():
    assert sentiment("The film was superb. I loved it. It", " was on Friday.") == 0
    assert sentiment("The film was superb. It was", " good.") == sentiment("The film was dull. It was", " good.")


def test_weights_of_but_and_although():
    assert sentiment("The", " plot was bad, but the cast was good.") > 0 > sentiment("The", " plot was bad.")
    assert sentiment("The", " plot was good, but the cast was bad.") < 0
    assert sentiment("", "Although the plot was bad, the cast was good.") > 0
    assert sentiment("", "The cast was good, although the plot was bad.") > 0
    assert sentiment("Although the film", " was bad.") > sentiment("The film", " was bad.")


def test_a_negation_ends_with_its_clause():
    assert sentiment("", "The plot was not dull, and the cast was good.") > sentiment("", "The plot was not dull.")
    assert sentiment("The film was not.", " Good.") > 0


def test_repetition_gains_nothing():
    once = sentiment("It was", " great.")
    assert sentiment("It was", " great great great great.") == once
    assert sentiment("It was", " great. It was great. It was great.") == once
    assert sentiment("It was", " great superb wonderful excellent perfect.") < sentiment(
        "It was", " great. I loved it."
    )


def test_strong_praise_is_near_one():
    assert (
        sentiment("The film was", " superb, and the cast was brilliant. I loved the plot. I would recommend it.") > 0.95
    )


def test_an_empty_response_has_0():
    assert sentiment("The film was", "") == 0
    assert sentiment("", "") == 0


def test_any_text_has_a_finite_score():
    rng = np.random.default_rng(0)
    pieces = [*words(), "but", "only", "from", "or", "nor", "too", "also", "\n", "?", ";", "12", "é", "'", "\x00"]
    for _ in range(3000):
        prompt, response = (" ".join(rng.choice(pieces, rng.integers(0, 12)).tolist()) for _ in range(2))
        value = sentiment(prompt, response)
        assert isfinite(value)
        assert -1 <= value <= 1


def test_no_word_has_two_roles():
    lexicon = data_file("reviews/lexicon")
    roles = [set(WORTH), set(THINGS), {"too"}, *(set(lexicon[kind]) for kind in ("strengthen", "soften", "negate"))]
    assert sum(map(len, roles)) == len(set.union(*roles))


def written(node, rng):
    state = automaton.State(node, automaton.State())
    return "".join(automaton.write(state, int(rng.integers(4)), iter(rng.random(60).tolist()), 60)[0])


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("sign", [1, -1])
def test_grammar_and_sentiment_agree(name, sign):
    rng, domain = np.random.default_rng(0), DOMAINS[name]
    clause = [(f"The {thing.noun}", clauses.verb_phrase(thing, sign, domain.moves)) for thing in domain.aspects]
    clause += [
        ("It", clauses.is_one(domain, sign)),
        ("I", clauses.feels(sign, True)),
        ("I was", clauses.felt_like(sign)),
    ]
    clause += [("", part(domain, sign, True)) for part in (grammar.verdict, grammar.feeling, grammar.aspect)]
    clause += [("", grammar.there(domain, sign))]
    for prompt, node in clause:
        for _ in range(25):
            response = written(node, rng)
            assert sentiment(prompt, response) * sign > 0, prompt + response


def test_reviews_cover_the_whole_scale():
    gold = np.array([sentiment(prompt, response) for prompt, response in corpus(7, 2000)])
    assert abs(gold.mean()) < 0.08
    assert gold.std() > 0.5
    assert len(set(gold.tolist())) > 1000
