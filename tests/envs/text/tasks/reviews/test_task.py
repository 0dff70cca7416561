import re
from hashlib import sha256

import numpy as np
import pytest

from textrlhf.envs.text.task import Prompt
from textrlhf.envs.text.tasks.reviews import Reviews, corpus, grammatical, sentiment


@pytest.fixture(scope="module")
def task():
    return Reviews()


def digest(texts):
    return sha256("\n".join(texts).encode()).hexdigest()[:16]


def test_splits_are_large_and_disjoint(task):
    train, heldout = ([prompt.text for prompt in task.prompts(split)] for split in ("train", "heldout"))
    assert len(set(train)) == len(train) >= 4000
    assert len(set(heldout)) == len(heldout) >= 500
    assert not set(train) & set(heldout)


def test_prompts_are_the_same_in_every_process(task):
    # a change of the grammar changes these, and needs new shipped models
    assert digest(prompt.text for prompt in task.prompts("train")) == "4b4309fd4a959934"
    assert digest(prompt.text for prompt in task.prompts("heldout")) == "be244883d4ee26dd"


def test_the_corpus_is_the_same_in_every_process():
    assert digest(prompt + response for prompt, response in corpus(1, 50)) == "80444210a0b6aa20"
    assert list(corpus(1, 5)) != list(corpus(2, 5))


def test_prompts_are_three_to_fourteen_words(task):
    lengths = [len(re.findall(r"[A-Za-z']+|[.,]", prompt.text)) for prompt in task.prompts("train")]
    assert (min(lengths), max(lengths)) == (3, 14)


def test_a_demonstration_completes_its_prompt(task):
    rng = np.random.default_rng(0)
    prompts = [*task.prompts("heldout"), *task.prompts("train")[:500]]
    responses = [task.demonstrate(prompt, rng) for prompt in prompts]
    scores = task.measure(prompts, responses)
    assert scores["grammatical"].mean() == 1
    assert abs(scores["gold"].mean()) < 0.12  # prompts are neutral on average
    assert scores["gold"].std() > 0.45
    assert max(len(re.findall(r"[A-Za-z']+|[.,]", response)) for response in responses) <= task.max_new_tokens - 1


def test_one_prompt_has_many_demonstrations(task):
    rng = np.random.default_rng(0)
    prompt = Prompt("The film was not")
    responses = [task.demonstrate(prompt, rng) for _ in range(60)]
    gold = [sentiment(prompt.text, response) for response in responses]
    assert len(set(responses)) > 50
    assert min(gold) < -0.4
    assert max(gold) > 0.4
    assert all(grammatical(prompt.text + response) for response in responses)


def test_demonstrations_depend_on_the_generator(task):
    prompt = task.prompts("train")[0]
    assert task.demonstrate(prompt, np.random.default_rng(5)) == task.demonstrate(prompt, np.random.default_rng(5))


@pytest.mark.parametrize("text", ["The soup film", "the film", "The film ", "The  film", "I loved it. And"])
def test_a_prompt_outside_the_grammar_is_refused(task, text):
    with pytest.raises(ValueError, match=f"prompt is '{re.escape(text)}'"):
        task.demonstrate(Prompt(text), np.random.default_rng(0))


def test_an_empty_prompt_is_continued_with_a_whole_review(task):
    assert grammatical(task.demonstrate(Prompt(""), np.random.default_rng(0)))


def test_measure_returns_floats(task):
    prompts = [Prompt("The film was")] * 4
    scores = task.measure(prompts, ["", " good. I loved it.", " ?? great \x00", "great"])
    assert scores["gold"].dtype == scores["grammatical"].dtype == np.float64
    assert scores["grammatical"].tolist() == [0, 1, 0, 0]
    assert scores["gold"][0] == 0
    assert (scores["gold"][1:] > 0).all()


def test_prompts_and_responses_must_match(task):
    with pytest.raises(ValueError, match="argument"):
        task.measure([Prompt("The film")], [])


def test_an_unknown_split_is_named(task):
    with pytest.raises(ValueError, match="split is 'test'.*'train', 'heldout'"):
        task.prompts("test")
