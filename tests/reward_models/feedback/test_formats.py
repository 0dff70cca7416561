"""Reading and writing judgements: five forms, splits, scales, and errors that name the row."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textrlhf.language.conversation import Conversation
from textrlhf.reward_models.feedback import (
    DataError,
    Judgement,
    Labelled,
    Ranked,
    Rated,
    Tied,
    described,
    import_judgements,
    read_judgements,
    write_judgements,
)
from textrlhf.reward_models.feedback.fields import shared_prompt

HH = "\n\nHuman: Is it good?\n\nAssistant:"


def read(*rows: Mapping[str, Any], **options: Any) -> list[Judgement]:
    return read_judgements(rows, None, **options)


def test_five_forms_in_one_file(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": "p", "chosen": " a", "rejected": " b", "id": 7},
        {"prompt": "", "chosen": "a b", "rejected": "a c", "margin": 0.5},
        {"chosen": HH + " Yes.", "rejected": HH + " No.", "margin": None},
        {"prompt": "p", "completion": " a", "label": True, "chosen": None, "rejected": None, "rating": None},
        {"prompt": "p", "response": " b", "completion": None, "label": 0},
        {"prompt": "p", "completion": " a", "label": 1.0},
        {"prompt": "p", "response": " a", "rating": 3, "scale": [1, 5]},
        {"prompt": "p", "responses": ["x", "y", "z"], "ranking": [2, 0, 1]},
        {"prompt": "p", "responses": ["x", "y"], "ranking": [1, 0]},
    ]
    expected: list[Judgement] = [
        Ranked("p", (" a", " b")),
        Ranked("", ("a b", "a c"), 0.5),  # a prompt that is said to be empty is not looked for
        Ranked(HH, (" Yes.", " No.")),
        Labelled("p", " a", True),
        Labelled("p", " b", False),
        Labelled("p", " a", True),
        Rated("p", " a", 3, (1, 5)),
        Ranked("p", ("z", "x", "y")),
        Ranked("p", ("y", "x")),
    ]
    path = tmp_path / "judgements.jsonl"
    path.write_text("\n" + "".join(json.dumps(row) + "\n" for row in rows))
    assert read_judgements(rows, None) == read_judgements(iter(rows), None) == expected
    assert read_judgements(path, None) == read_judgements(str(path), None) == expected
    assert [judgement.place for judgement in read_judgements(path)] == [f"{path}, line {2 + i}" for i in range(9)]
    assert read_judgements(rows)[3].place == "judgements[3]"
    assert described(expected) == "4 pairs, 1 ranking, 3 labels and 1 rating"
    assert described([]) == "nothing"


DIALOGUES = {
    "two answers": (HH, " Yes.", " No."),
    "answers that begin alike": (HH, " I think it is good.", " I think it is bad."),
    "chosen is where rejected begins": (HH, " Yes.", " Yes. And long."),
    "rejected is where chosen begins": (HH, " Yes. And long.", " Yes."),
    "rejected goes on with turns": (HH, " Yes.", " Yes.\n\nHuman: Sure?\n\nAssistant: Yes."),
    "several turns": (HH + " Yes.\n\nHuman: Really?\n\nAssistant:", " I do.", " I do not."),
    "different questions": (HH + " No.\n\nHuman:", " Why?\n\nAssistant: So.", " What?\n\nAssistant: So."),
    "a line of both answers ends in a colon": (HH, " Sure.\n\nYou need:\n eggs", " Sure.\n\nYou need:\n milk"),
    "one newline, spaces": ("Q: Is it?\n  A:", " It is.", " It isn't."),
    "names of more than one word": ("Hi.\n\nDr Who 2:", "\tYes", "\tYellow"),
    "a chat template": (
        "<|im_start|>user\nSay:\nHuman: hi<|im_end|>\n<|im_start|>assistant\n",
        "It is.\nBob: a<|im_end|>",
        "It is.\nBob: b<|im_end|>",
    ),
    "another": ("<s>[INST] Hi [/INST]", " Hello.", " Hell."),
    "only words": ("the film was", " good", " bad"),
    "only words, cut in the middle of one": ("the film", " was", " wasn't"),
    "only words, one the beginning of the other": ("the film", " was", " was good"),
    "only words, another space after the last": ("the film was", " good", "\ngood"),
    "a mark is no word's end": ("is", " it.", " it!"),
    "spaces stay with the response": ("a", "  b", "  c"),
    "nothing in common": ("", "good", "bad"),
    "half a word in common": ("", "cat", "catfish"),
    "spaces in common": ("", " cat", " dog"),
    "no spaces at all": ("", "電影很好", "電影很差"),
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_shared_prompt(name: str) -> None:
    prompt, chosen, rejected = DIALOGUES[name]
    assert shared_prompt(prompt + chosen, prompt + rejected) == prompt
    assert read({"chosen": prompt + chosen, "rejected": prompt + rejected}) == [Ranked(prompt, (chosen, rejected))]


def test_shared_prompt_skips_an_empty_turn() -> None:
    """Both responses must be non-empty, so the turn before is used."""
    for silent in ("", " \n"):
        assert shared_prompt(f"{HH}{silent}", f"{HH} Yes.") == "\n\nHuman:"


class TestMessages:
    """Texts that are chat messages."""

    def test_a_whole_conversation_keeps_its_common_beginning_as_the_prompt(self) -> None:
        begin = ["q1", "a1", "q2"]
        (pair,) = read({"chosen": chat(*begin, "good", "thanks", "welcome"), "rejected": chat(*begin, "bad")})
        assert messages(pair.prompt) == chat(*begin)
        assert messages(pair.responses[0]) == chat("q", "good", "thanks", "welcome")[1:]
        assert pair.responses[1] == "bad"
        assert type(pair.responses[1]) is str

    def test_an_answer_that_the_other_goes_on_from(self) -> None:
        (pair,) = read({"chosen": chat("q", "a", "q2", "a2"), "rejected": chat("q", "a")})
        assert messages(pair.prompt) == chat("q")
        assert pair.responses[1] == "a"

    def test_a_string_prompt_beside_a_whole_conversation(self) -> None:
        (pair,) = read({"prompt": "q", "chosen": chat("q", "a"), "rejected": chat("q", "b")})
        assert (messages(pair.prompt), pair.responses) == (chat("q"), ("a", "b"))

    def test_messages_and_texts_may_be_mixed(self) -> None:
        answer = {"role": "assistant", "content": "a"}
        rows = [
            {"prompt": chat("q"), "responses": ["b", "a"], "ranking": [1, 0]},
            {"prompt": "q", "chosen": [answer], "rejected": "b"},
            {"prompt": chat("q"), "chosen": answer, "rejected": [{"from": "gpt", "value": "b"}]},
        ]
        for pair in read(*rows):
            assert (messages(pair.prompt), pair.responses) == (chat("q"), ("a", "b"))
        (pair,) = read(
            {
                "prompt": Conversation(chat("q")),
                "chosen": Conversation(chat("q", "a")),
                "rejected": [answer | {"content": "b"}],
            }
        )
        assert (messages(pair.prompt), pair.responses) == (chat("q"), ("a", "b"))
        (label,) = read({"completion": chat("q", "a"), "label": True})
        assert (messages(label.prompt), label.responses) == (chat("q"), ("a",))

    def test_steps_of_a_conversation(self) -> None:
        found = read({"prompt": chat("q"), "completions": ["a", "b ", "c"], "labels": [1, True, 0]})
        assert [one.responses[0] for one in found] == ["a", "a\nb ", "a\nb c"]
        assert [one.good for one in found if isinstance(one, Labelled)] == [True, True, False]


def chat(*turns: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]


def messages(text: str) -> list[dict[str, str]]:
    assert isinstance(text, Conversation)
    return text.messages


def test_ties_raters_and_the_report() -> None:
    rows = [
        {"prompt": "p", "responses": ["a", "b"], "tie": True, "rater": 7},
        {"prompt": "p", "responses": ["a", "b"], "tie": "both bad"},
        {"prompt": "p", "chosen": "a", "rejected": "b", "rater": "Ann"},
    ]
    found = import_judgements(rows)
    assert found.judgements == [
        Tied("p", ("a", "b"), rater="7"),
        Tied("p", ("a", "b"), both_bad=True),
        Ranked("p", ("a", "b"), rater="Ann"),
    ]
    assert found.report.lines() == ["recognised as tie (2), pair (1)", "3 rows read: 1 kept, 2 tied"]
    assert described(found.judgements) == "1 pair and 2 ties"


def test_nothing_is_left_out_silently(caplog: pytest.LogCaptureFixture) -> None:
    dialogue = {"chosen": HH + " a", "rejected": HH + " b"}
    rows = [
        dialogue,
        {**dialogue, "rejected": HH + " a"},
        {**dialogue, "chosen": HH},
        {**dialogue, "chosen": HH + " c"},
    ]
    report = import_judgements(rows).report
    assert report.as_json() == {
        **{"read": 4, "kept": 2, "tied": 0, "context": 0, "refused": 2, "schemas": {"hh-rlhf": 4}},
        "left_out": {},
        "reasons": {
            "identical texts": {"count": 1, "first": "judgements[1]"},
            "an empty text": {"count": 1, "first": "judgements[2]"},
        },
    }
    with pytest.raises(DataError, match="no judgement that can be used: 1 rows read: 1 refused; 1 refused: identical"):
        read(rows[1])


pieces = st.lists(st.sampled_from([" ", "\n", "\n\n", "a", "b", "ab", "Bob:", "\n\nHuman:", "\n\nAssistant:", "é"]))


@settings(max_examples=100, deadline=None)
@given(shared=pieces, chosen=pieces, rejected=pieces)
@example(["a"], [], [" ", "b"])
def test_shared_prompt_properties(shared: list[str], chosen: list[str], rejected: list[str]) -> None:
    """It is a common beginning, leaves both responses non-empty, and cuts no word."""
    first, second = "".join(shared + chosen), "".join(shared + rejected)
    prompt = shared_prompt(first, second)
    assert first.startswith(prompt)
    assert second.startswith(prompt)
    assert shared_prompt(second, first) == prompt
    if prompt:
        assert first[len(prompt) :].strip()
        assert second[len(prompt) :].strip()
        assert prompt.endswith(":") or (first[len(prompt)].isspace() and second[len(prompt)].isspace())


class TestScales:
    def test_row_then_argument(self) -> None:
        rows = [
            {"prompt": "p", "completion": "a", "rating": 3, "scale": [0, 10]},
            {"prompt": "p", "completion": "b", "rating": 2},
        ]
        assert read(*rows, scale=(1, 5)) == [Rated("p", "a", 3, (0, 10)), Rated("p", "b", 2, (1, 5))]

    def test_range_of_both_splits(self) -> None:
        rows = [{"prompt": f"p{i}", "completion": "a", "rating": [4, 2, 3][i % 3]} for i in range(19)]
        rows += [{"prompt": "last", "completion": "a", "rating": 7.5}]  # held out
        rows += [{"prompt": "p0", "completion": "a", "rating": -1, "scale": [-1, 1]}]  # has its own
        for split in ("train", "heldout"):
            scales = {x.scale for x in read_judgements(rows, split) if isinstance(x, Rated) and x.rating >= 0}
            assert scales == {(2, 7.5)}

    def test_unknown_where_all_ratings_are_equal(self) -> None:
        rows = [{"prompt": "p", "completion": "a", "rating": 4}] * 3
        with pytest.raises(DataError, match=r"judgements\[0\]: every rating is 4.* pass scale=\(low, high\)"):
            read(*rows)
        assert len(read(*rows, scale=(1, 5))) == 3

    def test_must_contain_the_ratings(self) -> None:
        with pytest.raises(DataError, match=r"judgements\[0\]: rating is 6: .* on the scale from 1 to 5"):
            read({"prompt": "p", "completion": "a", "rating": 6}, scale=(1, 5))
        with pytest.raises(ValueError, match=r"^scale is \(5, 1\): expected \(low, high\)"):
            read({"prompt": "p", "completion": "a", "rating": 3}, scale=(5, 1))


class TestSplits:
    @staticmethod
    def prompts(rows: list[dict[str, str]], split: str | None) -> list[str]:
        return [judgement.prompt for judgement in read_judgements(rows, split)]

    @staticmethod
    def row(prompt: str, **more: str) -> dict[str, str]:
        return {"prompt": prompt, "chosen": "a", "rejected": "b", **more}

    def test_every_tenth_prompt_is_held_out(self) -> None:
        """With all its rows, later ones included."""
        rows = [self.row(f"p{i // 2}") for i in range(50)] + [self.row("p9"), self.row("p0")]
        assert self.prompts(rows, "heldout") == ["p9", "p9", "p19", "p19", "p9"]
        assert sorted(self.prompts(rows, "train") + self.prompts(rows, "heldout")) == sorted(self.prompts(rows, None))

    def test_fewer_than_ten_prompts(self) -> None:
        rows = [self.row(f"p{i % 9}") for i in range(90)]
        assert self.prompts(rows, "heldout") == []
        assert len(self.prompts(rows, "train")) == 90

    def test_rows_without_a_prompt(self) -> None:
        rows = [{"prompt": "", "chosen": f"a{i}", "rejected": "b"} for i in range(25)]
        assert [x.responses[0] for x in read_judgements(rows, "heldout")] == ["a9", "a19"]

    def test_declared_splits(self) -> None:
        rows = [self.row("p", split="heldout"), *[self.row(f"q{i}") for i in range(12)], self.row("r", split="train")]
        assert self.prompts(rows, "heldout") == ["p"]
        assert len(self.prompts(rows, "train")) == 13
        assert self.prompts(rows[1:], "heldout") == self.prompts(rows[-1:], "heldout") == []

    def test_nothing_to_train_on(self) -> None:
        rows = [self.row("p", split="heldout")]
        with pytest.raises(DataError, match="judgements holds out every row"):
            read_judgements(rows)
        assert self.prompts(rows, "heldout") == self.prompts(rows, None) == ["p"]

    def test_unknown_split(self) -> None:
        with pytest.raises(ValueError, match=r"split is 'test': expected one of \['train', 'heldout'\], or None"):
            read_judgements([self.row("p")], "test")
        with pytest.raises(DataError, match=r"judgements\[0\]: the split is 'other'"):
            read_judgements([self.row("p", split="other")])


FORMS = (
    re.escape('{"prompt", "chosen", "rejected"}, {"chosen", "rejected"}, {"prompt", "completion", "label"}, ') + ".*"
)
MESSAGES = [{"role": "user", "content": "hi"}]
ANSWER = {"role": "assistant", "content": "ho"}
BAD: dict[str, tuple[str, str]] = {
    "no json": ("{'prompt': 'p'}", f"not JSON .*; expected one object a line, {FORMS}"),
    "no object": ('["p", "a", "b"]', f"expected an object {FORMS}, saw "),
    "no judgement": (
        '{"prompt": "p", "completion": "a"}',
        rf"the keys \['prompt', 'completion'\] are those of no judgement.*{FORMS}",
    ),
    "no keys": ("{}", "are those of no judgement"),
    "two kinds": (
        '{"prompt": "p", "completion": "a", "label": 1, "rating": 3}',
        "are those of label and rating at once; pass schema=.label. ",
    ),
    "half a pair": ('{"prompt": "p", "chosen": "a"}', f'"rejected" is missing; expected the form {FORMS}'),
    "no prompt": ('{"completion": "a", "label": true}', '"prompt" is missing'),
    "no completion": ('{"prompt": "p", "label": true}', '"completion" is missing'),
    "two completions": (
        '{"prompt": "p", "completion": "a", "response": "a", "label": 1}',
        'has a "completion" and a "response"',
    ),
    "identical": ('{"prompt": "p", "chosen": "a", "rejected": "a"}', "responses 0 and 1 are the same .*drop the row"),
    "identical dialogues": ('{"chosen": "an a", "rejected": "an a"}', "responses 0 and 1 are the same"),
    "empty": ('{"prompt": "p", "chosen": "a", "rejected": " "}', r"responses\[1\] is empty"),
    "margin": ('{"prompt": "p", "chosen": "a", "rejected": "b", "margin": "2"}', "margin is '2'"),
    "no answer in the messages": (
        json.dumps({"prompt": MESSAGES, "chosen": MESSAGES, "rejected": MESSAGES}),
        '"chosen" has the roles user: expected the assistant.s turn after the prompt.s, or a whole conversation',
    ),
    "an unknown role after the prompt": (
        json.dumps({"prompt": MESSAGES, "chosen": [ANSWER, {"role": "tool", "content": "3"}], "rejected": "b"}),
        '"chosen": message 1 has the role .tool.: expected one of system, user, assistant',
    ),
    "two answers in a row": (
        json.dumps({"prompt": MESSAGES, "chosen": [ANSWER], "rejected": [ANSWER, ANSWER]}),
        r'"rejected": the roles are assistant, assistant \(after user\): expected',
    ),
    "a prompt that is answered": (
        json.dumps({"prompt": [*MESSAGES, {"role": "assistant", "content": "ho"}], "completion": "a", "label": 1}),
        "the prompt ends with the assistant.s turn",
    ),
    "number": ('{"prompt": 3, "completion": "a", "label": 1}', '"prompt" is 3: expected a string$'),
    "label": (
        '{"prompt": "p", "completion": "a", "label": "good"}',
        "label is 'good'",
    ),
    "other label": ('{"prompt": "p", "completion": "a", "label": -1}', "label is -1"),
    "list label": ('{"prompt": "p", "completion": "a", "label": [1]}', r"label is \[1\]"),
    "rating": ('{"prompt": "p", "completion": "a", "rating": "4"}', "rating is '4'"),
    "true rating": ('{"prompt": "p", "completion": "a", "rating": true}', "rating is True"),
    "nan": ('{"prompt": "p", "completion": "a", "rating": NaN}', "rating is nan"),
    "scale": (
        '{"prompt": "p", "completion": "a", "rating": 4, "scale": [5, 1]}',
        r'"scale": scale is \[5, 1\]: expected',
    ),
    "from one": (
        '{"prompt": "p", "responses": ["a", "b", "c"], "ranking": [3, 1, 2]}',
        r'"ranking" is \[3, 1, 2\] for 3 responses: expected the index of each once, counted from 0, not from 1',
    ),
    "twice": (
        '{"prompt": "p", "responses": ["a", "b"], "ranking": [0, 0]}',
        "the index of each once, 0 to 1, the best first",
    ),
    "left out": (
        '{"prompt": "p", "responses": ["a", "b", "c"], "ranking": [1, 0]}',
        "for 3 responses: expected the index of each",
    ),
    "no indices": ('{"prompt": "p", "responses": ["a", "b"], "ranking": ["b", "a"]}', "expected a list of indices"),
    "true indices": (
        '{"prompt": "p", "responses": ["a", "b"], "ranking": [true, false]}',
        "expected a list of indices",
    ),
    "a tie of three": (
        '{"prompt": "p", "responses": ["a", "b", "c"], "tie": true}',
        "expected a tuple of two",
    ),
    "no tie": ('{"prompt": "p", "responses": ["a", "b"], "tie": 1}', '"tie" is 1: expected true, or "both bad"'),
    "a label too few": (
        '{"prompt": "p", "completions": ["a", "b"], "labels": [true]}',
        r'"labels" is \[True\]: expected a list of 2',
    ),
    "an answer without a question": (
        '{"chosen": [{"role": "assistant", "content": "a"}], "rejected": [{"role": "assistant", "content": "b"}]}',
        '"chosen" begins with the assistant.s turn: give the messages before it as "prompt"',
    ),
    "an empty turn": (
        '{"chosen": [{"role": "user", "content": " "}, {"role": "assistant", "content": "a"}], "rejected": "b"}',
        '"chosen": a message is empty',
    ),
    "different questions": (
        json.dumps({"chosen": [{"role": "user", "content": "a"}, ANSWER], "rejected": [*MESSAGES, ANSWER]}),
        "do not begin with the same turns",
    ),
    "a demonstration": ('{"prompt": "p", "completion": "a"}', "are a demonstration: --demonstrations"),
    "no list": ('{"prompt": "p", "responses": ["a", "b"], "ranking": 1}', '"ranking" is 1: expected a list'),
    "no responses": ('{"prompt": "p", "ranking": [0, 1]}', '"responses" is None: expected a list of strings'),
    "one response": ('{"prompt": "p", "responses": ["a"], "ranking": [0]}', "expected a tuple of at least two"),
    "no text": (
        '{"prompt": "p", "responses": ["a", 3], "ranking": [0, 1]}',
        r'"responses\[1\]" is 3: expected a string',
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_error_names_file_and_line(tmp_path: Path, name: str) -> None:
    line, message = BAD[name]
    path = tmp_path / "rows.jsonl"
    good = '{"prompt": "p", "completion": "a", "rating": 1, "scale": [1, 5]}'
    path.write_text(f"{good}\n\n{line}\n{good}\n")
    with pytest.raises(DataError, match=f"^{re.escape(str(path))}, line 3: .*{message}"):
        read_judgements(path)


def test_a_table_without_the_names_of_its_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("The film was,good,bad\nIt was,fine,dull\n")
    with pytest.raises(DataError, match=r"line 2: the keys .* no judgement.*in a table the first line has to name"):
        read_judgements(tmp_path / "a.csv")


def test_a_table_has_numbers_only_where_a_schema_wants_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,completion,rating,rater,system\n1984,true,3,7,\n42,[1],4.5,8,\n")
    (tmp_path / "b.csv").write_text('prompt,responses,ranking\n1,"[""2"", ""3""]","[1, 0]"\n')
    first, second = read_judgements(tmp_path / "a.csv", scale=(1, 5))
    assert (first, second) == (
        Rated("1984", "true", 3, (1, 5), rater="7"),
        Rated("42", "[1]", 4.5, (1, 5), rater="8"),
    )
    assert read_judgements(tmp_path / "b.csv") == [Ranked("1", ("3", "2"))]


def test_missing_or_empty_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="^judgements is 'nowhere.jsonl', where there is no file"):
        read_judgements("nowhere.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="empty.jsonl holds no judgements: expected at least one row"):
        read_judgements(tmp_path / "empty.jsonl", "heldout")
    with pytest.raises(DataError, match=r"^judgements holds no judgements"):
        read()


texts = st.text(st.characters(codec="utf-8"), max_size=4)
responses = texts.filter(str.strip)
numbers = st.floats(-1e6, 1e6)
two = st.tuples(responses, responses).filter(lambda two: two[0] != two[1])
chats = st.lists(responses, min_size=1, max_size=3).map(
    lambda turns: Conversation(
        [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(turns + turns[1:])]
    )
)
judgements = st.one_of(
    st.builds(Ranked, texts, two, st.floats(0, 9), rater=st.none() | st.just("Ann"), position=st.none() | st.just(1)),
    st.builds(Ranked, chats, two),
    st.builds(Tied, texts | chats, two, st.booleans(), rater=st.just("Bob")),
    st.builds(Labelled, chats, responses, st.booleans(), rater=st.just("Bob")),
    st.builds(Ranked, texts, st.lists(responses, min_size=2, max_size=5, unique=True).map(tuple)),
    st.builds(Labelled, texts, responses, st.booleans()),
    st.tuples(numbers, numbers, numbers)
    .map(sorted)
    .filter(lambda three: three[0] < three[2])
    .flatmap(lambda three: st.builds(Rated, texts, responses, st.just(three[1]), st.just((three[0], three[2])))),
)


@settings(max_examples=30, deadline=None)
@given(written=st.lists(judgements, min_size=1, max_size=6))
def test_write_then_read(tmp_path_factory: pytest.TempPathFactory, written: list[Judgement]) -> None:
    path = tmp_path_factory.mktemp("feedback") / "judgements.jsonl"
    write_judgements(path, written)
    assert read_judgements(path, None) == read_judgements(path) == written
    assert read_judgements(path, "heldout") == []


def test_test_splits_are_held_out_in_our_own_forms_too():
    rows = [{"prompt": "p", "chosen": " a", "rejected": " b", "split": name} for name in ("train", "test")]
    assert [len(read_judgements(rows, split)) for split in ("train", "heldout")] == [1, 1]


def test_a_dialogue_without_a_last_answer_is_refused():
    """Its last turn is what is judged: without one, what the person said would be."""
    rows = [
        {"chosen": f"\n\nHuman: hi\n\nAssistant:{end}", "rejected": "\n\nHuman: hi\n\nAssistant: no"}
        for end in ("", " y")
    ]
    imported = import_judgements(rows)
    assert (imported.report.kept, len(imported.report.refused)) == (1, 1)
