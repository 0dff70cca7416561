import re

import numpy as np
import pytest

from textrlhf.envs.text.tasks.reviews import corpus, grammatical, sentiment, words, write_review
from textrlhf.envs.text.tasks.reviews.domains import DOMAINS

PIECES = re.compile(r" ?[A-Za-z']+|[.,]")
REVIEW = "The film was slow, but the acting was not bad. I would watch it again."


@pytest.fixture(scope="module")
def reviews():
    return [prompt + response for prompt, response in corpus(11, 1500)]


def test_written_reviews_are_grammatical(reviews):
    assert all(map(grammatical, reviews))


def test_a_review_written_by_hand_is_recognised():
    assert grammatical(REVIEW)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        " ",
        "The",
        REVIEW[:-1],
        REVIEW + " ",
        " " + REVIEW,
        REVIEW + " The",
        REVIEW.lower(),
        REVIEW.replace(", ", " , "),
        REVIEW.replace(" was", "  was", 1),
        REVIEW.replace(" was", "\nwas", 1),
        REVIEW.replace("acting", "soup"),
        REVIEW.replace("acting", "jokes"),
        REVIEW.replace("watch", "read"),
        REVIEW.replace("not bad", "not tasty"),
        REVIEW.replace("The film", "An film"),
        REVIEW.replace("slow", "slow slow"),
        REVIEW.replace("slow", "delicious"),
        REVIEW + "\x00",
        "The beer was well acted. I loved it.",
        "This was an great film. I loved it.",
        "This was a excellent film. I loved it.",
        "great great great great",
        "é",
    ],
)
def test_other_texts_are_rejected(wrong):
    assert not grammatical(wrong)


def test_corrupted_reviews_are_rejected(reviews):
    rng = np.random.default_rng(0)
    rejected = {"dropped": [], "swapped": [], "repeated": [], "unfinished": [], "any word": []}
    vocabulary = words()
    for review in reviews:
        parts = PIECES.findall(review)
        at = int(rng.integers(1, len(parts) - 2))
        other = " " + vocabulary[int(rng.integers(len(vocabulary)))]
        wrong = {
            "dropped": parts[:at] + parts[at + 1 :],
            "swapped": parts[:at] + [parts[at + 1], parts[at]] + parts[at + 2 :],
            "repeated": parts[: at + 1] + parts[at:],
            "unfinished": parts[:at],
            "any word": parts[:at] + [other] + parts[at + 1 :],
        }
        for kind, text in wrong.items():
            if text != parts:
                rejected[kind].append(not grammatical("".join(text)))
    assert {kind: float(np.mean(was)) >= 0.93 for kind, was in rejected.items()} == dict.fromkeys(rejected, True)


def test_but_separates_opposites(reviews):
    pairs = [line.split(", but ") for review in reviews for line in review.split(".") if line.count(", but ") == 1]
    values = np.array([[sentiment("", part) for part in pair] for pair in pairs])
    assert (values.prod(axis=1) > 0).mean() < 0.02


def test_a_review_keeps_to_one_domain(reviews):
    aspects = [{thing.noun for thing in domain.aspects} for domain in DOMAINS.values()]
    for review in reviews:
        named = set(re.findall("[a-z]+", review)) & set.union(*aspects)
        assert any(named <= of_one for of_one in aspects), review


def test_words_cover_the_reviews(reviews):
    written = {piece.strip() for review in reviews for piece in PIECES.findall(review)}
    assert written <= set(words())
    assert 250 <= len(words()) <= 350
    assert all(re.fullmatch(r"[A-Za-z']+|[.,]", word) for word in words())


def test_prompts_and_responses_of_reviews():
    rng = np.random.default_rng(3)
    lengths = []
    for _ in range(500):
        prompt, response = write_review(rng)
        assert "".join(PIECES.findall(prompt + response)) == prompt + response
        assert response[0] in " .,"
        assert prompt[0].isupper()
        assert response.endswith(".")
        assert 3 <= len(PIECES.findall(prompt)) <= 14
        lengths.append(len(PIECES.findall(response)))
    assert max(lengths) <= 28
    assert 12 < np.mean(lengths) < 20
