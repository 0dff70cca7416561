"""SFT examples: rows become the tokens of an environment's observations, and a wrong row is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from chat_models import chat_lm, said
from textrlhf.envs.text.demonstrations import demonstrations
from textrlhf.language import Conversation
from textrlhf.language.sft_examples import read_sft_examples
from textrlhf.records.jsonl import DataError
from tiny_models import V, tiny_lm

EOS = 1


def examples(*rows: Any, context: int | None = None) -> list[Any]:
    return read_sft_examples(rows, tiny_lm(), context)


@pytest.mark.parametrize("key", ["completion", "response", "chosen"])
def test_the_response_and_its_eos_are_trained(key: str) -> None:
    (example,) = examples({"prompt": "a2 a3", key: " a4 a5", "rejected": " a6", "turns": None})
    np.testing.assert_array_equal(example.tokens, [2, 3, 4, 5, EOS])
    np.testing.assert_array_equal(example.learned, [2, 3, 4])
    assert example.split is None


def test_the_agents_turns_and_their_eos_are_trained() -> None:
    (example,) = examples({"prompt": "a2", "turns": [" a3", " a4 a5", " a6 a7"], "split": "heldout"})
    np.testing.assert_array_equal(example.tokens, [2, 3, EOS, 4, 5, 6, 7, EOS])
    np.testing.assert_array_equal(example.learned, [1, 2, 5, 6, 7])
    assert example.split == "heldout"


def test_an_eos_in_the_data_is_not_doubled() -> None:
    (example,) = examples({"prompt": "a2", "completion": " a3 <eos>"})
    np.testing.assert_array_equal(example.tokens, [2, 3, EOS])


def test_a_file_is_read_row_by_row(tmp_path: Path) -> None:
    file = tmp_path / "demos.jsonl"
    rows = [{"prompt": f"a{i}", "completion": f" a{i + 1}"} for i in range(2, 9)]
    file.write_text("\n\n".join(map(json.dumps, rows)))
    found = read_sft_examples(file, tiny_lm())
    assert [example.tokens.tolist() for example in found] == [[i, i + 1, EOS] for i in range(2, 9)]


def learned(row: Any, family: str = "chatml", **options: Any) -> list[tuple[list[int], str]]:
    """The tokens of each example of a row, and as text what is learned of it."""
    lm = chat_lm(family)
    found = read_sft_examples([row], lm, **options)
    return [(example.tokens.tolist(), lm.decode(example.tokens[example.learned], special=True)) for example in found]


TALK = said("the?", "Here.", "then?", "So.", system="Be brief.")
SHAREGPT = [{"from": "system", "value": "Be brief."}]
SHAREGPT += [{"from": ("human", "gpt")[i % 2], "value": one["content"]} for i, one in enumerate(TALK[1:])]
END = "<|im_end|>"
BOTH, LAST = f"Here.{END}So.{END}", f"So.{END}"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": TALK}, BOTH),
        ({"conversations": SHAREGPT}, BOTH),
        ({"prompt": TALK[:-1], "completion": TALK[-1:]}, LAST),
        ({"prompt": TALK[:-1], "completion": [{"from": "GPT", "value": "So."}]}, LAST),
        ({"prompt": TALK[:-1], "completion": " So."}, LAST),
        ({"prompt": TALK[:2], "turns": ["Here.", "then?", "So."]}, BOTH),
        ({"prompt": TALK[:-1], "chosen": TALK, "rejected": TALK}, LAST),
        ({"chosen": TALK, "rejected": TALK}, LAST),
        ({"prompt": Conversation(TALK[:-1]), "completion": "So."}, LAST),
    ],
)
def test_every_form_of_a_conversation_is_the_templates(row: Any, expected: str) -> None:
    ((tokens, text),) = learned(row)
    tokenizer = chat_lm().tokenizer
    assert text == expected
    assert tokens == tokenizer.apply_chat_template(TALK, return_dict=False)[: len(tokens)]
    assert tokenizer.decode(tokens).endswith(LAST)


def test_a_prompt_of_text_is_the_users_turn_where_the_completion_is_messages() -> None:
    ((tokens, text),) = learned({"prompt": "the?", "completion": said("", "Here.")[1:]})
    assert text == f"Here.{END}"
    assert chat_lm().tokenizer.decode(tokens) == f"<|im_start|>user\nthe?{END}\n<|im_start|>assistant\nHere.{END}"


def test_of_a_text_all_but_the_first_token_is_learned() -> None:
    (example,) = examples({"text": "a2 a3 a4"})
    np.testing.assert_array_equal(example.tokens, [2, 3, 4, EOS])
    np.testing.assert_array_equal(example.learned, [1, 2, 3])


def test_the_demonstrated_tokens_are_those_that_an_environment_shows() -> None:
    """What is cloned is what the agent sees and does, the template's own tokens included."""
    lm = chat_lm()
    options = {"model": lm, "context": 256, "max_new_tokens": 96, "kl_penalty": "none"}
    env = gym.make("TextDialogue-v0", split="heldout", **options)
    (row,) = demonstrations(env, 1, seed=4)
    (example,) = read_sft_examples([row], lm)
    number = [one.text.messages for one in env.unwrapped.prompts].index(row["messages"][:1])
    said_by_user = [one["content"] for one in row["messages"][2::2]]
    task = env.unwrapped.engine.task
    task.reply = lambda prompt, turns, rng: said_by_user[len(turns) - 1]
    seen, _ = env.reset(options={"prompt": number})
    for at in example.learned:
        np.testing.assert_array_equal(seen[seen >= 0], example.tokens[:at])
        seen, _, terminated, _, info = env.step(example.tokens[at])
    assert terminated
    assert info["gold"] == 1.0


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"messages": said("hi")}, "the assistant says nothing"),
        ({"messages": [*said("hi", "ho"), *said("", "ho")[1:]]}, "the roles are user, assistant, assistant"),
        ({"messages": said("hi", f"ho {END} hu")}, r"message 1 \(assistant\) holds <\|im_end\|>"),
        ({"messages": said("hi", " ")}, r"message 1 \(assistant\) is empty"),
        ({"messages": said("hi", "ho"), "text": "hi"}, "are messages and text: expected one"),
        ({"prompt": "hi", "text": "hi ho"}, 'the row has "prompt" and "text", two forms of one text'),
        ({"prompt": said("hi"), "chosen": said("ho", "hu")}, '"chosen" begins with other messages than "prompt"'),
        ({"prompt": said("hi", "ho"), "completion": "hu"}, "the prompt ends with the assistant's turn"),
        (
            {"prompt": said("hi"), "completion": [{"role": "assistant", "content": "ho"}] * 2},
            r'"completion": the roles are assistant, assistant \(after user\)',
        ),
        ({"text": " "}, '"text" is empty'),
        ({"messages": said("hi", "\ud83d")}, "has half of a surrogate pair"),
    ],
)
def test_a_bad_conversation_is_named(row: Any, error: str) -> None:
    with pytest.raises(DataError, match=rf"^demonstrations\[0\]: .*{error}"):
        learned(row)


GOOD = {"prompt": "a2", "completion": " a3"}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a2 a3", "expected an object"),
        ({"prompt": "a2"}, "is no response: expected"),
        ({"completion": " a3"}, '"prompt" is missing: expected a string'),
        ({**GOOD, "response": " a4"}, "are completion and response: expected one of them"),
        ({**GOOD, "turns": [" a4"]}, "are completion and turns"),
        ({**GOOD, "prompt": 7}, '"prompt" is 7: expected a string'),
        ({**GOOD, "prompt": [{"role": "user", "content": "hi"}]}, "chat template"),
        ({**GOOD, "prompt": ""}, "the prompt '' has no tokens"),
        ({**GOOD, "completion": "  "}, '"completion" is empty'),
        ({**GOOD, "completion": " a3 <eos> a4"}, "goes on after an end-of-text token"),
        ({**GOOD, "split": "test"}, "the split is 'test', expected one of"),
        ({"prompt": "a2", "turns": [" a3", " a4"]}, "so an odd number of them"),
        ({"prompt": "a2", "turns": " a3"}, "expected a list of strings"),
        ({"prompt": "a2", "turns": [" a3", 4, " a5"]}, r'"turns\[1\]" is 4: expected a string'),
        ({"prompt": "a2", "turns": [" a3", " ", " a5"]}, r'"turns\[1\]" is empty'),
    ],
)
def test_a_wrong_row_is_named(row: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"demonstrations\[1\]: .*{said}"):
        examples(GOOD, row)
    file = tmp_path / "demos.jsonl"
    file.write_text(json.dumps(GOOD) + "\n" + json.dumps(row))
    with pytest.raises(DataError, match=rf"{file}, line 2: .*{said}"):
        read_sft_examples(file, tiny_lm())


def test_long_texts_are_refused() -> None:
    long = {"prompt": "a2", "completion": " a3" * 6}
    assert len(examples(long, context=8)[0].tokens) == 8
    with pytest.raises(DataError, match=r"\[1\]: the text has 8 tokens with its end, and 7 fit \(2 of 3 texts"):
        examples(GOOD, long, long, context=7)
    with pytest.raises(DataError, match="and 128 fit"):
        examples({"prompt": "a2", "completion": " a3" * 127})


def test_no_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="demonstrations has no rows"):
        examples()
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match=r"empty.jsonl has no rows"):
        read_sft_examples(tmp_path / "empty.jsonl", tiny_lm())
    with pytest.raises(DataError, match="where there is no file"):
        read_sft_examples(tmp_path / "gone.jsonl", tiny_lm())
    (tmp_path / "bad.jsonl").write_text('{"prompt": ')
    with pytest.raises(DataError, match="bad.jsonl, line 1: not JSON"):
        read_sft_examples(tmp_path / "bad.jsonl", tiny_lm())


def test_unknown_words_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    examples(GOOD, {"prompt": "a2", "completion": f" a{V + 1}"})
    assert "1 of 2 texts have words unknown to" in caplog.text
