"""The tokenizer of whole words: decoding is exact, and a word is one token wherever it stands."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from textrlhf.language import CausalLM
from textrlhf.language.word_tokenizer import END, UNKNOWN, word_tokenizer
from tiny_models import tiny_model

WORDS = ["the", "film", "it's", "Größe", "naïve", "Straße", "рыба", "rock'n'roll"]
SIGNS = [*',.!?()-:;"€—', "½"]
DIGITS = list("0123456789")
ATOMS = [*WORDS, *SIGNS, *DIGITS]
# Every atom with a space before it and without one.
TOKENIZER = word_tokenizer([" ".join(ATOMS), *(f"\n{atom}" for atom in ATOMS)])


def ids(text, tokenizer=TOKENIZER):
    return tokenizer(text)["input_ids"]


def back(numbers, tokenizer=TOKENIZER):
    return tokenizer.decode(numbers, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@st.composite
def texts(draw):
    """Atoms with or without a space, lines; two words never touch, and no text begins with a space."""
    text, last = "", ""
    for atom in draw(st.lists(st.sampled_from([*ATOMS, "\n"]), max_size=20)):
        space = atom != "\n" and text and (draw(st.booleans()) or (last in WORDS and atom in WORDS))
        text, last = text + " " * bool(space) + atom, atom
    return text


@given(texts())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_decoding_restores_the_text(text):
    """Guards against a space after a line's end, before a bracket, or lost after a sign."""
    assert TOKENIZER.unk_token_id not in ids(text)
    assert back(ids(text)) == text


@given(texts())
@settings(max_examples=40, deadline=None, derandomize=True)
def test_prompt_plus_continuation_is_the_text(text):
    lm = handle()
    numbers = lm.encode(text).tolist()
    for cut in range(len(numbers) + 1):
        assert lm.decode(numbers[:cut]) + lm.continuation(numbers[:cut], numbers[cut:]) == text


@given(texts())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_its_own_texts_are_restored(text):
    """Guards against a vocabulary cut by one regular expression engine and texts cut by another."""
    own = word_tokenizer([text])
    assert own.unk_token_id not in ids(text, own)
    assert back(ids(text, own), own) == text


@pytest.mark.parametrize(
    "text",
    [
        "u\u0308ber",
        "12 m² x³",
        "snake_case __init__",
        "two  spaces",
        "an end \n",
        "\ttab\tbed",
        "🙂👍🏽 ok",
        "नमस्ते",
        "日本 語",
    ],
)
def test_unusual_characters(text):
    """Letters made of two, raised digits, underscores, runs of spaces: seen once, they are known."""
    own = word_tokenizer([f"x {text}", text])
    assert own.unk_token_id not in ids(text, own)
    assert back(ids(text, own), own) == text


@functools.cache
def handle():
    return CausalLM(tiny_model("gpt2", vocab_size=len(TOKENIZER), eos_token_id=0), TOKENIZER)


def test_a_word_is_one_token_anywhere():
    """Guards against a first word the model has never read."""
    (alone,) = ids("film")
    assert ids("the film")[1] == alone
    assert ids("film the film") == [alone, *ids("the"), alone]
    assert ids(" film") == [alone]  # a text that goes on from another


def test_each_digit_is_one_token():
    """Guards against a token for each number."""
    assert len(ids("2026")) == 4
    assert len(ids("the 10 film")) == 4
    assert TOKENIZER.convert_ids_to_tokens(ids("the 10")) == ["▁the", "▁1", "0"]
    assert not [token for token in TOKENIZER.get_vocab() if len(token.strip("▁")) > 1 and token[-1].isdigit()]


def test_words_and_signs_are_separate():
    pieces = TOKENIZER.convert_ids_to_tokens(ids("(it's naïve, Größe.)"))
    assert pieces == ["▁(", "it's", "▁naïve", ",", "▁Größe", ".", ")"]


@pytest.mark.parametrize("word", ["zebra", "films", "Film", "theend"])
def test_an_unseen_word_is_unknown(word):
    unknown = TOKENIZER.unk_token_id
    assert ids(f"the {word}, film") == [*ids("the"), unknown, *ids("the,")[1:], *ids("film")]
    assert ids(word) == [unknown]
    assert back(ids(f"the {word} film")) == "the film"


def test_a_new_line_is_one_token():
    line = TOKENIZER.convert_tokens_to_ids("\n")
    assert ids("the\nfilm")[1] == line
    assert ids("\n\nthe")[:2] == [line, line]
    assert ids("the\n")[-1] == line
    assert back(ids("\n\nthe\n")) == "\n\nthe\n"


def test_empty_text():
    assert ids("") == []
    assert back([]) == ""
    assert len(word_tokenizer([])) == len(word_tokenizer([""])) == 2


def test_special_tokens():
    """Token 0 ends a text and is what nobody writes by hand: it is in no text it decodes."""
    assert (TOKENIZER.eos_token, TOKENIZER.eos_token_id) == (END, 0)
    assert (TOKENIZER.unk_token, TOKENIZER.unk_token_id) == (UNKNOWN, 1)
    assert back([*ids("the film"), 0]) == "the film"
    assert handle().encode("the film").tolist() == ids("the film")
    assert handle().eos_ids == (0,)


def test_the_vocabulary_is_sorted():
    """Guards against two runs of the same data with different token numbers."""
    texts = ["the film", "it is 12, (or) 13", "a\nb"]
    assert word_tokenizer(texts).get_vocab() == word_tokenizer(reversed(texts * 2)).get_vocab()
    assert sorted(word_tokenizer(texts).get_vocab().values()) == list(range(len(word_tokenizer(texts))))


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    path = tmp_path_factory.mktemp("words")
    TOKENIZER.save_pretrained(path)
    return AutoTokenizer.from_pretrained(path)


@given(texts())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_saved_and_loaded_encodes_equally(again, text):
    assert ids(text, again) == ids(text)
    assert back(ids(text), again) == text


def test_saved_and_loaded_is_equal(again):
    assert again.get_vocab() == TOKENIZER.get_vocab()
    assert (again.eos_token_id, again.unk_token_id) == (0, 1)
    assert ids("zebra film", again) == ids("zebra film")
    assert again.decode(ids("it's (12), naïve !")) == "it's (12), naïve !"  # not cleaned up either
