import numpy as np
import pytest

from textrlhf.envs.text.task import Prompt
from textrlhf.envs.text.tasks.dialogue import ASSISTANT, USER, TextDialogue, agent_turns, read_turns

TASK = TextDialogue()
FACTS = {"item": "shirt", "colour": "red", "size": "small"}
SHIRT = Prompt("User: I want a shirt.\nAssistant:", facts=FACTS)  # two slots are missing
RED_SHIRT = Prompt("User: I want a red shirt for Anna.\nAssistant:", facts=FACTS)  # one
ALL = Prompt("User: Please show me a small red shirt.\nAssistant:", facts=FACTS)  # none
RIGHT = " Your order is a small red shirt."


def acts(prompt, *turns):
    return [turn.act for turn in read_turns(prompt, turns)]


def dialogue(prompt, *turns):
    """The rest of a transcript in which the agent says just this."""
    rng = np.random.default_rng(0)
    text = "".join(turn + TASK.reply(prompt, turns[: i + 1], rng) for i, turn in enumerate(turns[:-1]))
    return text + turns[-1]


def gold(prompt, *turns):
    return TASK.measure([prompt], [dialogue(prompt, *turns)])["gold"].item()


@pytest.mark.parametrize(
    ("prompt", "turns", "expected"),
    [
        (SHIRT, [" What colour?", " Which size please?", RIGHT], "asks asks confirms"),
        (SHIRT, [" What colour and what size?", RIGHT], "asks confirms"),
        (SHIRT, [" What item?", " What colour?", " What colour?"], "repeats asks repeats"),
        (SHIRT, [" What colour and what item?"], "repeats"),
        (SHIRT, [" Hello?", "", " I see.", " What do you want?"], "idles idles idles idles"),
        (SHIRT, [RIGHT], "errs"),  # a lucky guess
        (SHIRT, [" What size?", RIGHT], "asks errs"),  # the colour is not known
        (ALL, [" You ordered a small red shirt."], "confirms"),
        (ALL, [" ORDER: shirt, red, small!"], "confirms"),
        (ALL, [" Your order is a large red shirt."], "errs"),
        (ALL, [" Your order is a red shirt."], "errs"),
        (ALL, [" You ordered a small medium large red shirt."], "errs"),  # everything at once
        (ALL, [" Is your order a small red shirt?"], "idles"),  # a question, and not about a slot
        (ALL, [" A small red shirt."], "idles"),
        (SHIRT, [" What size?\nUser: Small."], "idles"),  # speaks for the user
    ],
)
def test_acts(prompt, turns, expected):
    assert acts(prompt, *turns) == expected.split()


def test_feedback_of_each_turn():
    turns = [" What colour?", " What colour?", " Your order is a hat.", " Hm.", " What size?", RIGHT]
    assert [TASK.feedback(SHIRT, turns[: i + 1]) for i in range(6)] == [1, -0.5, -1, -0.5, 1, 1]


def test_replies_answer_the_question():
    rng = np.random.default_rng(0)

    def replies(*turns):
        return {TASK.reply(SHIRT, turns, rng) for _ in range(50)}

    assert replies(" What colour?") == {f"{USER} A red one.{ASSISTANT}", f"{USER} A red one please.{ASSISTANT}"}
    assert f"{USER} A small red one.{ASSISTANT}" in replies(" What size and colour?")
    assert f"{USER} A shirt.{ASSISTANT}" in replies(" What item?")  # said before, and said again
    assert replies(" Hello.") == {f"{USER} Sorry?{ASSISTANT}"}
    assert replies(RIGHT) == {f"{USER} No, that is wrong.{ASSISTANT}"}  # gives no slot away
    assert TASK.reply(ALL, [RIGHT], rng) == f"{USER} Thank you.{ASSISTANT}"


def test_is_over_once_confirmed():
    assert not TASK.is_over(SHIRT, [])
    assert not TASK.is_over(SHIRT, [RIGHT])
    assert not TASK.is_over(SHIRT, [" What colour?", " What size?"])
    assert TASK.is_over(SHIRT, [" What colour?", " What size?", RIGHT])


def test_gold_counts_turns_and_errors():
    assert gold(SHIRT, " What colour?", " What size?", RIGHT) == 1
    assert gold(SHIRT, " What colour and size?", RIGHT) == 1
    assert gold(RED_SHIRT, " What size?", RIGHT) == 1
    assert gold(ALL, RIGHT) == 1
    assert gold(ALL, " What size?", RIGHT) == 0.75  # a turn wasted
    assert gold(ALL, " Hello.", " What size?", RIGHT) == 0.5
    assert gold(ALL, " Your order is a hat.", RIGHT) == 0.5  # a turn wasted, and an error
    assert gold(ALL, " Your order is a hat.", " Your order is a hat.", RIGHT) == 0
    assert gold(SHIRT, " What colour?", " What size?", " Your order is a small red hat.") == 0
    assert gold(SHIRT, " What colour?", " What size?", " Thank you.") == 0
    assert gold(SHIRT, RIGHT) == 0
    assert gold(ALL, RIGHT, " Goodbye.") == 1  # what comes after does not count


def test_slots_and_turns():
    responses = [dialogue(SHIRT, " What colour?", " Your order is a red hat."), dialogue(SHIRT, " Hm.", RIGHT), " No."]
    measures = TASK.measure([SHIRT] * 3, responses)
    assert measures["slots"] == pytest.approx([1 / 3, 1, 0])
    assert measures["turns"].tolist() == [2, 2, 1]


def test_agent_turns_of_a_transcript():
    assert agent_turns(dialogue(SHIRT, " What colour?", " What size?", RIGHT)) == [
        " What colour?",
        " What size?",
        RIGHT,
    ]


def test_demonstrations_are_perfect_and_varied():
    rng = np.random.default_rng(0)
    prompts = TASK.prompts("heldout")
    texts = [TASK.demonstrate(prompt, rng) for prompt in prompts]
    measures = TASK.measure(prompts, texts)
    assert (measures["gold"] == 1).all()
    assert set(measures["turns"]) == {1, 2, 3}
    assert len({TASK.demonstrate(SHIRT, rng) for _ in range(50)}) > 10


def test_a_demonstrated_turn_fits_the_turns_before():
    rng = np.random.default_rng(0)
    assert "colour" in TASK.demonstrate_turn(SHIRT, [], rng)
    assert "size" in TASK.demonstrate_turn(SHIRT, [" Hello.", " What colour?"], rng)
    assert TASK.is_over(SHIRT, [turns := " What colour and size?", TASK.demonstrate_turn(SHIRT, [turns], rng)])
    assert TASK.is_over(ALL, [" Your order is a hat.", TASK.demonstrate_turn(ALL, [" Your order is a hat."], rng)])


def test_values_outside_the_shop():
    prompt = Prompt("User: I need an orange sofa.\nAssistant:", facts={"item": "sofa", "colour": "orange", "size": 2.5})
    rng = np.random.default_rng(0)
    assert TASK.measure([prompt], [TASK.demonstrate(prompt, rng)])["gold"] == 1
    assert TASK.reply(prompt, [" What colour?"], rng).startswith(f"{USER} An orange one")


def test_a_prompt_without_its_facts_is_refused():
    with pytest.raises(ValueError, match=r"facts is .*\['item', 'colour', 'size'\]"):
        TASK.measure([Prompt("User: Hello.\nAssistant:", facts={"item": "hat"})], [" Hello."])
