"""The scores against values computed by hand, and the data and scores of all five tasks."""

import math
import re
import zlib

import numpy as np
import pytest

from textrlhf.envs.text.task import Prompt
from textrlhf.envs.text.tasks.arithmetic import TextArithmetic
from textrlhf.envs.text.tasks.dialogue import TextDialogue
from textrlhf.envs.text.tasks.qa import TextQA
from textrlhf.envs.text.tasks.scores import bleu, exact, normalised, overlap_f1, rouge_l, score_each, to_reference
from textrlhf.envs.text.tasks.splits import SeededTask
from textrlhf.envs.text.tasks.summarize import TextSummarize
from textrlhf.envs.text.tasks.translate import TextTranslate
from textrlhf.language.word_tokenizer import PIECE

pytestmark = pytest.mark.slow

TASKS = [TextSummarize, TextTranslate, TextQA, TextArithmetic, TextDialogue]
GARBAGE = [
    "",
    " ",
    "\n\n",
    "?",
    "<eos>",
    "\ud800\x00",
    "ß" * 3000,
    "1" * 5000,
    "-",
    "\nUser:\nAssistant:" * 9,
    "order ?",
]


def pieces(texts):
    return {piece for text in texts for piece in re.findall(PIECE, f" {text}")}


def n_pieces(text):
    return len(re.findall(PIECE, text))


def test_overlap_f1():
    # common: the twice (of 3 and 2), cat once; 4 and 4 words
    assert overlap_f1("The the the cat", "the cat saw the") == pytest.approx(2 * 3 / (4 + 4))
    assert overlap_f1("a b", "c d") == 0
    assert overlap_f1(" Anna, won!", "anna won") == 1
    assert overlap_f1("", "a") == overlap_f1("a", "") == 0
    assert overlap_f1("", "") == 1


def test_rouge_l():
    assert rouge_l("police killed the gunman", "police kill the gunman") == pytest.approx(0.75)  # Lin 2004
    assert rouge_l("the gunman police killed", "police kill the gunman") == pytest.approx(2 * 2 / 8)  # the gunman
    assert rouge_l("a b c b d a b", "b d c a b a") == pytest.approx(2 * 4 / 13)  # Cormen et al.: 4 of 7 and 6
    assert rouge_l("", "a") == 0


def test_rouge_l_of_texts_longer_than_a_machine_word():
    long = " ".join(f"w{i}" for i in range(300))
    assert rouge_l(long, long) == 1
    assert rouge_l(long, " ".join(reversed(long.split()))) == pytest.approx(1 / 300)


def test_bleu_by_hand():
    # n = 1: 5/6, 2: 3/5, 3: 1/4, 4: no match of 3, so 1/2 of a match
    response, reference = "the cat sat on the mat", "the cat is on the mat"
    assert bleu(response, reference) == pytest.approx((5 / 6 * 3 / 5 * 1 / 4 * (1 / 2) / 3) ** (1 / 4))


def test_bleu_halves_again_for_each_order_without_a_match():
    # n = 1: 4/4, then nothing of 3, 2 and 1
    assert bleu("d c b a", "a b c d") == pytest.approx((1 * (1 / 2) / 3 * (1 / 4) / 2 * (1 / 8) / 1) ** (1 / 4))


def test_bleu_leaves_out_orders_the_response_is_too_short_for():
    assert bleu("Der Hund", "Der Hund") == pytest.approx(1)
    assert bleu("Der Hund", "Der Hund schläft .") == pytest.approx(math.exp(1 - 4 / 2))  # brevity alone


def test_bleu_clips_a_repeated_word():
    # n = 1: 2 of 4; n = 2 to 4: no match of 3, 2, 1
    expected = (2 / 4 * (1 / 2) / 3 * (1 / 4) / 2 * (1 / 8) / 1) ** (1 / 4)
    assert bleu("the the the the", "the cat the dog") == pytest.approx(expected)


def test_bleu_minds_case_and_punctuation_but_not_spaces():
    assert bleu("  der Hund .", "der Hund.") == pytest.approx(1)
    assert bleu("der hund.", "der Hund.") < 1
    assert bleu("der Hund", "der Hund.") < 1


@pytest.mark.parametrize("response", ["", "  \n", "wrong"])
def test_bleu_without_a_match_is_0(response):
    assert bleu(response, "Der Hund schläft.") == 0
    assert bleu(response, "") == 0


def test_exact_ignores_case_spaces_and_a_full_stop():
    assert normalised("  In the\n Park . ") == "in the park"
    assert exact(" in  the park.", " In the park") == 1
    assert exact(" in the park!", " in the park") == 0
    assert exact(" the park", " in the park") == 0


def test_lengths_and_references_are_checked():
    with pytest.raises(ValueError, match="2 responses to 1 prompts"):
        score_each(lambda prompt, response: 0.0, [Prompt("a")], ["b", "c"])
    with pytest.raises(ValueError, match="has no reference"):
        score_each(to_reference(exact), [Prompt("a")], ["b"])


@pytest.mark.parametrize("kind", TASKS)
def test_thousands_of_different_prompts(kind):
    task = kind()
    train, heldout = ([prompt.text for prompt in task.prompts(split)] for split in ("train", "heldout"))
    assert len(set(train)) == len(train) >= 3000
    assert len(set(heldout)) == len(heldout) >= 300
    assert not set(train) & set(heldout)


@pytest.mark.parametrize("kind", TASKS)
def test_splits_do_not_depend_on_the_seed(kind):
    trained = {prompt.text for prompt in kind(1).prompts("train")}
    assert not trained & {prompt.text for prompt in kind(0).prompts("heldout")}
    assert trained != {prompt.text for prompt in kind(0).prompts("train")}


CHECKSUMS = {
    "summarize": 1982695728,
    "translate": 2209801500,
    "qa": 1582858522,
    "arithmetic": 122484101,
    "dialogue": 1950532038,
}


@pytest.mark.parametrize("kind", TASKS)
def test_the_data_is_the_same_in_every_process(kind):
    prompts = [*kind().prompts("train"), *kind().prompts("heldout")]
    assert zlib.crc32(repr([(p.text, p.reference, dict(p.facts)) for p in prompts]).encode()) == CHECKSUMS[kind.name]


@pytest.mark.parametrize("kind", TASKS)
def test_references_are_perfect_and_fit_the_budget(kind):
    task = kind()
    prompts = [*task.prompts("train"), *task.prompts("heldout")]
    references = [prompt.reference for prompt in prompts]
    assert (task.measure(prompts, references)["gold"] > 1 - 1e-12).all()
    assert all(reference.startswith(" ") for reference in references)
    assert not any(prompt.text.endswith(" ") for prompt in prompts)
    assert all(task.can_measure(prompt) for prompt in prompts)
    if task.turns == 1:
        assert max(map(n_pieces, references)) < task.max_new_tokens


@pytest.mark.parametrize("kind", TASKS)
def test_measures_are_from_0_to_1(kind):
    task = kind()
    prompts = [prompt for prompt in task.prompts("heldout")[:20] for _ in GARBAGE]
    measures = task.measure(prompts, GARBAGE * 20)
    for name, values in measures.items():
        assert values.dtype == np.float64
        assert values.shape == (len(prompts),)
        assert name == "turns" or ((values >= 0) & (values <= 1)).all()
    assert (measures["gold"] == 0).all()
    assert all(values.shape == (0,) for values in task.measure([], []).values())


@pytest.mark.parametrize("kind", TASKS)
def test_another_prompts_reference_is_not_perfect(kind):
    task = kind()
    prompts = task.prompts("heldout")
    shifted = [prompt.reference for prompt in prompts[1:]] + [prompts[0].reference]
    assert task.measure(prompts, shifted)["gold"].mean() < 0.5


@pytest.mark.parametrize("kind", TASKS)
def test_words_cover_any_seed(kind):
    task, rng = kind(7), np.random.default_rng(0)
    data = [prompt.text + task.demonstrate(prompt, rng) for s in ("train", "heldout") for prompt in task.prompts(s)]
    assert pieces(data) <= pieces(kind().words())


def test_the_tasks_share_a_small_vocabulary():
    assert len(pieces(text for kind in TASKS for text in kind().words())) <= 450


@pytest.mark.parametrize(("kind", "most"), list(zip(TASKS, (60, 40, 45, 20, 50), strict=True)))
def test_texts_are_short(kind, most):
    assert max(n_pieces(f" {prompt.text}{prompt.reference}") for prompt in kind().prompts("train")) <= most


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split is 'test': expected one of 'train', 'heldout'"):
        TextQA().prompts("test")


def test_too_few_different_prompts():
    class Few(SeededTask):
        name = "few"

        def make(self, draws):
            return Prompt(draws.one(("a", "b")))

        def measure(self, prompts, responses):
            return {}

    with pytest.raises(RuntimeError, match="'few' makes too few different prompts"):
        Few().prompts("train")
