"""Each schema's golden file, written from the data set's documentation, as the judgements it has to be.

Guards above all against turned signs and ranks: which response is chosen, and what counts as a tie.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from textrlhf.language.conversation import Conversation
from textrlhf.records.rows import read_rows
from textrlhf.reward_models import Labelled, Ranked, Rated, Tied, import_judgements, read_judgements
from textrlhf.reward_models.feedback.schemas.table import SCHEMAS

GOLDEN = Path(__file__).with_name("golden")


def chat(*turns, system=None):
    """Messages: the user's and the assistant's in turn."""
    before = [] if system is None else [{"role": "system", "content": system}]
    return Conversation([*before, *({"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(turns))])


def said(*turns):
    """A response of several turns, the assistant's first."""
    return Conversation([{"role": ("assistant", "user")[i % 2], "content": turn} for i, turn in enumerate(turns)])


SKY, FRUIT, TREE = chat("What color is the sky?"), chat("Name a fruit."), chat("Name a tree.")
APPLE, STONE = "An apple.", "A stone."
HH = "\n\nHuman: Is tea healthy?\n\nAssistant:"
CAT = "SUBREDDIT: r/cats\n\nTITLE: Lazy cat\n\nPOST: My cat sleeps all day.\n\nTL;DR:"
LARGER = "Which number is larger, 9.8 or 9.11?"
STEPS = ["The fraction of 9.8 is 0.8.", "The fraction of 9.11 is 0.11.", "So 9.11 is larger."]
EGG = chat("How do I boil an egg?")

EXPECTED = {
    "trl-preference.jsonl": [
        Ranked("The sky is", (" blue.", " green.")),
        Ranked(SKY, ("It is blue.", "It is green.")),
        Ranked(SKY, ("It is blue.", "It is green.")),
        Ranked(chat("Hi", system="Be brief."), (said("Hello.", "And now?", "Bye."), "Hello."), 0.5),
    ],
    "trl-unpaired.jsonl": [Labelled("The sky is", " blue.", True), Labelled(SKY, "It is green.", False)],
    "trl-stepwise.jsonl": [Labelled(LARGER, "\n".join(STEPS[: i + 1]), i < 2) for i in range(3)],
    "hh-rlhf.jsonl": [Ranked(HH, (" Yes, mostly.", " No idea."))],
    "summarize-from-feedback.jsonl": [
        Ranked(CAT, (" Cat sleeps.", " A dog."), rater="w1", position=0),
        Ranked(CAT, (" Cat sleeps.", " A dog."), rater="w2", position=1),
        Ranked("Article: Rain fell.\n\nTL;DR:", (" It rained.", " Sun."), rater="w1", position=0),
    ],
    "summarize-from-feedback-axes.jsonl": [Rated(CAT, " Cat sleeps.", 6, (1, 7), rater="w1")],
    "lm-human-preferences.json": [
        Ranked("He smiled and", (" sang.", other), position=2) for other in (" left.", " cried.", " fell.")
    ],
    "ultrafeedback.jsonl": [Rated(FRUIT, APPLE, 4.5, (1, 5)), Rated(FRUIT, STONE, 4 / 3, (1, 5))],
    "ultrafeedback-binarized.jsonl": [Ranked(FRUIT, (APPLE, STONE), 0.5), Tied(TREE, ("An oak.", "An elm."))],
    "oasst.jsonl": [Ranked(chat("What is a llama?"), ("An animal of the Andes.", "An animal.", "A kind of bird."))],
    "helpsteer2.jsonl": [
        Ranked(FRUIT, (APPLE, STONE), 1.0, position=0),
        Ranked(chat("Hi", "Hello.", "Name a fruit."), (APPLE, STONE), 1 / 3, position=1),
        Tied(TREE, ("An oak.", "An elm.")),
    ],
    "helpsteer3.jsonl": [
        Ranked(FRUIT, (APPLE, STONE), 2 / 3, position=0),
        Tied(chat("Hi", "Hello.", "Name a tree."), ("An oak.", "An elm.")),
    ],
    "shp.jsonl": [
        Ranked(EGG, ("In water.", "In oil."), position=0),
        Ranked(EGG, ("In water.", "In sand."), position=1),
    ],
    "webgpt.jsonl": [
        Ranked(chat("Why is the sky blue?"), ("Scattering.", "Paint."), 0.75, position=0),
        Tied(chat("Why is grass green?"), ("Chlorophyll.", "A pigment.")),
    ],
    "pku-saferlhf.jsonl": [
        Ranked(chat("How do I pick a lock?"), ("With two pins.", "Ask a locksmith."), position=0),
    ],
    "arena.jsonl": [
        Ranked(chat("Hi"), ("Hello!", "What?"), rater="arena_user_1", position=1),
        Tied(chat("1+1?"), (said("3", "Sure?", "Yes"), said("4", "Sure?", "No")), True, rater="arena_user_2"),
        Tied(chat("Hi"), ("Hey.", "Hello."), rater="expert_1"),  # MT-Bench: the first of two turns was judged
        Tied(chat("Hi"), ("What?", "Who?"), True),
    ],
    "arena-55k.csv": [
        Ranked(chat("Hi"), ("Hello!", "What?"), position=1),
        Tied(chat("1+1?"), (said("3", "Sure?", "Yes"), said("4", "Sure?", "No"))),
    ],
    "nectar.jsonl": [
        Ranked("\n\nHuman: Name a fruit.\n\nAssistant: ", (APPLE, "A plum.", STONE), position=1),
    ],
    "sharegpt-pair.jsonl": [Ranked(chat("Name a fruit.", system="Be brief."), (APPLE, STONE))],
    "sharegpt-label.jsonl": [Labelled(FRUIT, APPLE, True), Labelled(FRUIT, STONE, False)],
    "asked-pair.jsonl": [
        Ranked(chat("Name a fruit\n\nthat is red"), (APPLE, STONE)),
        Ranked(chat("Name a tree.", system="Be brief."), ("Oak.", STONE)),
        Ranked(chat("Name a bird."), ("A wren.", STONE), 0.25),
        Ranked(chat("Name a fish.", system="Be brief."), ("A carp.", STONE)),
    ],
    "alpacafarm.jsonl": [
        Ranked(FRUIT, (APPLE, STONE), rater="gpt-4", position=1),
        Ranked(chat("Name a fruit\n\nthat is red."), (APPLE, "A plum."), rater="worker-7", position=0),
        Tied(TREE, ("An oak.", "An elm."), rater="gpt-4"),
    ],
    "label-studio.json": [
        Ranked(FRUIT, (APPLE, STONE), rater="3", position=1),
        Ranked(FRUIT, (STONE, APPLE), rater="ann@example.org", position=0),
    ],
    "snippets_GroundTruth.txt": [
        Rated("", "A fine film.", 2.5, (-4, 4)),
        Rated("", 'Dull, "dull" and late.', -3, (-4, 4)),
    ],
}
REFUSED = {
    "hh-rlhf.jsonl": {"identical texts": 1},
    "summarize-from-feedback-axes.jsonl": {"no overall rating": 1},
    "lm-human-preferences.json": {"no sample is named the best": 1},
    "oasst.jsonl": {
        "deleted": 1,
        "a reply without a rank": 1,
        "no other reply to compare with": 1,
        "a message before it is deleted": 2,
        "a reply that is empty or like another": 1,
    },
    "shp.jsonl": {"labels and scores contradict each other": 1},
    "arena.jsonl": {"a message is not text": 1},
    "arena-55k.csv": {"a turn is missing": 1},
    "label-studio.json": {"skipped by its annotators": 1},
}
LEFT_OUT = {
    "ultrafeedback.jsonl": {"a completion without a rating": 1, "an empty completion": 1},
    "nectar.jsonl": {"an answer that is empty or like another": 2},
    "label-studio.json": {"an annotation that was skipped": 1},
}
NAMES = {"trl-preference": "pair", "trl-unpaired": "label", "trl-stepwise": "steps", "snippets_GroundTruth": "vader"}


def messages(judgements):
    """What strings alone do not say: who says what."""
    texts = [text for one in judgements for text in (one.prompt, *one.responses)]
    return [text.messages if isinstance(text, Conversation) else str(text) for text in texts]


@pytest.mark.parametrize("file", EXPECTED)
def test_golden_file(file):
    found = import_judgements(GOLDEN / file)
    expected = EXPECTED[file]
    assert found.judgements == expected
    assert messages(found.judgements) == messages(expected)
    positions = [getattr(one, "position", None) for one in found.judgements]
    assert positions == [getattr(one, "position", None) for one in expected]
    report = found.report
    name = file.partition(".")[0]
    assert list(report.schemas) == [NAMES.get(name, name)]
    assert {reason: refusal.count for reason, refusal in report.refused.items()} == REFUSED.get(file, {})
    assert {reason: part.count for reason, part in report.left_out.items()} == LEFT_OUT.get(file, {})
    assert report.read == report.kept + report.tied + report.context + report.refusals


def test_every_schema_has_a_golden_file():
    read = {NAMES.get(name, name) for name in (file.partition(".")[0] for file in EXPECTED)}
    by_name = {name for name, schema in SCHEMAS.items() if schema.by_name}
    assert read | by_name | {"ranking", "tie", "rating"} == set(SCHEMAS)  # those three: test_formats


def test_all_schemas_in_one_file():
    files = [file for file in EXPECTED if file.endswith(".jsonl")]
    rows = [row for file in files for _, row in read_rows(GOLDEN / file)]
    found = import_judgements([{**row, "split": None} for row in rows])
    assert set(found.report.schemas) == {NAMES.get(name, name) for name in (file.partition(".")[0] for file in files)}
    assert found.judgements == [one for file in files for one in EXPECTED[file]]


def test_splits_are_those_the_rows_name():
    assert import_judgements(GOLDEN / "summarize-from-feedback.jsonl").splits == ["train", "heldout", "heldout"]
    assert import_judgements(GOLDEN / "helpsteer2.jsonl").splits == ["train", "heldout", "train"]


class TestByName:
    """Schemas that have to be named, because others read the same rows."""

    def test_chat_forms_of_dialogues_written_as_text(self):
        (pair,) = read_judgements(GOLDEN / "hh-rlhf.jsonl", schema="hh-rlhf-chat")
        assert (pair.prompt.messages, pair.responses) == (
            chat("Is tea healthy?").messages,
            ("Yes, mostly.", "No idea."),
        )
        (ranking,) = read_judgements(GOLDEN / "nectar.jsonl", schema="nectar-chat")
        assert ranking.prompt.messages == FRUIT.messages

    def test_the_other_preference(self):
        (safer,) = read_judgements(GOLDEN / "pku-saferlhf.jsonl", schema="pku-saferlhf-safer")
        assert safer.responses == ("Ask a locksmith.", "With two pins.")


def test_everybodys_own_preference():
    found = read_judgements(GOLDEN / "helpsteer3.jsonl", raters="all")
    assert [type(one).__name__ for one in found] == ["Ranked", "Ranked", "Tied", "Tied"]
    assert [one.margin for one in found[:2]] == [1, pytest.approx(1 / 3)]


def test_token_ids_need_a_tokenizer(tmp_path):
    from tiny_models import word_tokenizer

    row = {"query": [2, 3, 50259], "sample0": [4], "sample1": [5, 50259], "best": 1}
    with pytest.raises(ValueError, match=r'judgements\[0\]: "query" is token ids, of GPT-2 .* tokenizer="gpt2"'):
        read_judgements([row])
    tokenizer = word_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    (pair,) = read_judgements([row], tokenizer=str(tmp_path))
    assert pair == Ranked(tokenizer.decode([2, 3]), (tokenizer.decode([5]), tokenizer.decode([4])))


TWO_AT_ONCE = {"instruction": "Hi", "chosen": "a", "rejected": "b", "score_chosen": 2, "score_rejected": 1}


def test_a_row_of_two_schemas():
    with pytest.raises(
        ValueError,
        match=r'ultrafeedback-binarized and asked-pair at once; pass schema="ultrafeedback-binarized" \(--schema',
    ):
        read_judgements([TWO_AT_ONCE])
    (pair,) = read_judgements([TWO_AT_ONCE], schema="asked-pair")
    assert pair.prompt.messages == chat("Hi").messages
    with pytest.raises(ValueError, match="schema is 'hh': expected one of pair, ranking"):
        read_judgements([TWO_AT_ONCE], schema="hh")
    with pytest.raises(ValueError, match=r"judgements\[0\]: history, human_ref_A.* missing, which rows of shp have"):
        read_judgements([TWO_AT_ONCE], schema="shp")


TURN = [{"from": "human", "value": "Hi"}]
PAIR = {"chosen": "a", "rejected": "b"}
TWO_PROMPTS = {
    "ShareGPT": ({"prompt": "p", **PAIR, "conversations": TURN}, "pair and sharegpt-pair at once"),
    "an instruction": ({"instruction": "p", **PAIR, "conversations": TURN}, "asked-pair and sharegpt-pair at once"),
    "VADER": (
        {"text": "t", "prompt": "p", "completion": "a", "ratings": [1, 2], "scale": [0, 3]},
        "rating and vader at once",
    ),
    "two questions": (
        {"prompt": "p", "question": "q", **PAIR},
        "the row has 'prompt' and 'question', and each would be its prompt: drop all but one",
    ),
    "a system message": (
        {"prompt": "p", "system": "Be brief.", "completion": "a", "label": True},
        'of label, which does not read "system": drop or rename it, or pass schema="label"',
    ),
    "a label of messages": (
        {"prompt": "p", "conversations": TURN, "completion": "a", "label": True},
        'label, which does not read "conversations"',
    ),
}


@pytest.mark.parametrize("name", TWO_PROMPTS)
def test_no_prompt_is_left_out_silently(name):
    """Each was read as one schema, without what the other would read as the prompt."""
    row, message = TWO_PROMPTS[name]
    with pytest.raises(ValueError, match=rf"judgements\[0\]: .*{message}"):
        read_judgements([row])


def test_an_empty_prompt_says_nothing():
    """As the cells of a table that has the columns of several data sets."""
    rows = [{**PAIR, "prompt": "", "conversations": TURN}, {**PAIR, "prompt": " ", "question": "q", "system": ""}]
    assert [one.prompt.messages[0]["content"] for one in read_judgements(rows)] == ["Hi", "q"]


BAD = {
    "a choice from 1": ({"info": {"post": "p"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 2}, "choice"),
    "true is no index": (
        {"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": True},
        "better_response_id",
    ),
    "a strength beyond the scale": (
        {"prompt": "p", "response_1": "a", "response_2": "b", "preference_strength": 4},
        "the preference is 4: expected -3 to 3",
    ),
    "another winner": ({"winner": "model_c", "conversation_a": [], "conversation_b": []}, "winner.*'model_c'"),
    "a prompt in the middle": (
        {"conversations": "Hi", "chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}},
        "has to be messages",
    ),
    "no two texts": (
        {"data": {"prompt": "p", "a": "x", "b": "y", "c": "z"}, "annotations": [
            {"result": [{"type": "pairwise", "value": {"selected": "left"}, "to_name": "l,r"}]}]},
        "give it two texts beside the prompt",
    ),
    "a role out of order": (
        {"chosen": [{"role": "user", "content": "a"}] * 2, "rejected": [{"role": "user", "content": "a"}]},
        "the roles are user, user",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_errors_name_the_row(name):
    row, message = BAD[name]
    with pytest.raises(ValueError, match=rf"^judgements\[0\].*{message}"):
        read_judgements([row])
