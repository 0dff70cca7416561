import re

from textrlhf.envs.text.task import Prompt
from textrlhf.envs.text.tasks.qa import TextQA

PROMPTS = [*TextQA().prompts("train"), *TextQA().prompts("heldout")]
FACT = re.compile(r"(\w+) (?:is in the (?P<room>\w+)|has a (?P<colour>\w+) (?P<thing>\w+)|likes (?P<food>\w+))\.")


def answers(text):
    """Every answer that the facts allow."""
    facts = [(match[1], match.groupdict()) for match in FACT.finditer(text)]
    word = r"(\w+)\?"
    question = text.split("Question: ")[1]
    if match := re.match(rf"Who (?:is in|has) the {word}|Who likes {word}", question):
        value = match[1] or match[2]
        return [who for who, fact in facts if value in (fact["room"], fact["thing"], fact["food"])]
    if match := re.match(rf"What colour is the {word}", question):
        return [fact["colour"] for _, fact in facts if fact["thing"] == match[1]]
    if match := re.match(rf"Where is the {word}", question):
        owners = {who for who, fact in facts if fact["thing"] == match[1]}
        return [f"in the {fact['room']}" for who, fact in facts if who in owners and fact["room"]]
    if match := re.match(rf"Where is {word}", question):
        return [f"in the {fact['room']}" for who, fact in facts if who == match[1] and fact["room"]]
    if match := re.match(r"What does (\w+) have", question):
        return [f"a {fact['colour']} {fact['thing']}" for who, fact in facts if who == match[1] and fact["thing"]]
    match = re.match(r"What does (\w+) like", question)
    return [fact["food"] for who, fact in facts if who == match[1] and fact["food"]]


def test_every_question_has_one_answer_which_is_the_reference():
    for prompt in PROMPTS:
        assert [f" {answer}" for answer in answers(prompt.text)] == [prompt.reference], prompt.text


def test_some_questions_need_two_facts():
    n_hard = sum("Where is the" in prompt.text for prompt in PROMPTS)
    assert 0.03 < n_hard / len(PROMPTS) < 0.3


def test_measures_by_hand():
    prompt = Prompt("Where is Ben?", "In the park")
    measures = TextQA().measure([prompt] * 4, ["in the park.", " in  the park", " the park", " Anna"])
    assert measures["gold"].tolist() == [1, 1, 0, 0]
    assert measures["f1"].tolist() == [1, 1, 4 / 5, 0]
