import re

import pytest

from textrlhf.envs.text.task import Prompt
from textrlhf.envs.text.tasks.summarize import WORDS, TextSummarize

DAYS, PLACES = WORDS["day"], WORDS["place"]
PROMPTS = TextSummarize().prompts("train")


def test_reports_have_four_to_six_sentences():
    assert {prompt.text.count(".") for prompt in PROMPTS} == {4, 5, 6}


def test_a_summary_says_only_what_the_report_says():
    for prompt in PROMPTS:
        said = set(re.findall(r"\w+", prompt.text.lower()))
        assert set(re.findall(r"\w+", prompt.reference.lower())) <= said | {"from", "a", "in", "on"}


def test_no_single_sentence_of_the_report_is_a_perfect_summary():
    task = TextSummarize()
    for prompt in PROMPTS[:300]:
        sentences = re.findall(r" [^.:]+\.", prompt.text)
        assert max(task.measure([prompt] * len(sentences), sentences)["gold"]) < 0.95


def test_a_report_has_one_day_and_the_summarys_place_comes_first():
    for prompt in PROMPTS:
        assert len(re.findall("|".join(DAYS), prompt.text)) == 1
        place = re.search("|".join(PLACES), prompt.reference)[0]
        assert re.search("|".join(PLACES), prompt.text)[0] == place


def test_a_or_an():
    assert not any(re.search(r"\ba [aeiou]|\ban [^aeiou]", prompt.text) for prompt in PROMPTS)


def test_measures_by_hand():
    prompt = Prompt("Text: …\nSummary:", " Anna from Rome won a race on Sunday.")
    measures = TextSummarize().measure([prompt] * 3, [" On Sunday Anna won.", prompt.reference, " storm"])
    assert measures["gold"] == pytest.approx([2 * 4 / (4 + 8), 1, 0])
    assert measures["rouge_l"] == pytest.approx([2 * 2 / (4 + 8), 1, 0])  # Anna won; on Sunday
