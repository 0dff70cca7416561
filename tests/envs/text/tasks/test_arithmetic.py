import pytest

from textrlhf.envs.text.task import Prompt
from textrlhf.envs.text.tasks.arithmetic import TextArithmetic, compute


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("17 + 5 =", 22),
        ("What is 8 - 56?", -48),
        ("Compute 43*7.", 301),
        ("2 + 3 * 4 - 5 =", 9),  # products first
        ("10 - 2 * 3 * 2 + 1", -1),
        ("10 - 4 - 3 =", 3),  # from the left
        ("-3 * -2 =", 6),
        ("5 - -2", 7),
        ("1 + 1 = 2\n3 + 4 =", 7),  # the last one counts
        ("I have 3 apples. What is 6 * 7?", 42),
        ("0 * 9 =", 0),
    ],
)
def test_compute(text, result):
    assert compute(text) == result


@pytest.mark.parametrize(
    "text", ["", "How are you?", "What is 12?", "8 / 2 =", "(1 + 2) * 3 =", "1.5 + 2 =", "2 ^ 3 ="]
)
def test_another_kind_of_calculation_is_refused(text):
    with pytest.raises(ValueError, match="expected one of whole numbers"):
        compute(text)


def test_gold_needs_exactly_the_number():
    responses = [" 22", "22.", " 22\n", " 022", " 2 2", " 22 =", " 22 23", " twenty", "", " +22", " 22.0", " 22?"]
    gold = TextArithmetic().measure([Prompt("17 + 5 =")] * len(responses), responses)["gold"]
    assert gold.tolist() == [1, 1, 1] + [0] * 9


def test_close_falls_with_the_distance():
    measures = TextArithmetic().measure([Prompt("2 - 5 =")] * 5, [" -3", " -4", " 3", " x", "9" * 50])
    assert measures["close"] == pytest.approx([1, 1 / 2, 1 / 7, 0, 0])


def test_all_forms_of_a_calculation_share_a_split():
    task = TextArithmetic()
    train, heldout = ({task.family(prompt) for prompt in task.prompts(split)} for split in ("train", "heldout"))
    assert not train & heldout


def test_all_levels_and_all_signs_occur():
    prompts = TextArithmetic().prompts("train")
    counts = [sum(prompt.facts["level"] == level for prompt in prompts) for level in (1, 2, 3)]
    assert min(counts) > 400
    assert sum(counts) == len(prompts)
    assert all(sum(sign in prompt.text for prompt in prompts) > 300 for sign in "+-*")


def test_references_equal_pythons_result():
    for prompt in TextArithmetic().prompts("heldout"):
        calculation = prompt.text.removeprefix("What is").removeprefix("Compute").strip(" .?=")
        assert prompt.reference == f" {eval(calculation)}"
