"""Encoding without a model: batches equal single texts, and continuations are exact."""

from __future__ import annotations

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from textrlhf.language import CausalLM, load
from textrlhf.language.sft_examples import read_sft_examples
from textrlhf.language.tokenization import Codec
from textrlhf.language.word_tokenizer import word_tokenizer
from textrlhf.reward_models.text.reader import TextReader
from tiny_models import V, beginning, tiny_lm, tiny_model
from tiny_models import word_tokenizer as split_words

LETTERS = sorted(set("the cat, sat.")) + ["▁"]


def prepending():
    """As Llama 2's: every text gets a space in front, as a letter of its own or joined to the next."""
    vocab = {"<unk>": 0, "</s>": 1, **{letter: 2 + i for i, letter in enumerate(LETTERS)}}
    vocab |= {"▁c": len(vocab), "▁c" + "at": len(vocab) + 1, "at": len(vocab) + 2}
    merges = [("▁", "c"), ("a", "t"), ("▁c", "at")]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def metaspace(scheme):
    vocab = {"<unk>": 0, "</s>": 1, **{letter: 2 + i for i, letter in enumerate(LETTERS)}}
    tokenizer = Tokenizer(models.BPE(vocab, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def signs_apart():
    """As BERT's: words and signs, joined by spaces when they are read out."""
    vocab = {word: i for i, word in enumerate(["[UNK]", "[SEP]", "the", "cat", "sat", ",", "."])}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(cleanup=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, sep_token="[SEP]", unk_token="[UNK]")


def codec(tokenizer):
    return Codec(tokenizer, () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,))


MAKERS = {
    "prepending": prepending,
    "metaspace first": lambda: metaspace("first"),
    "metaspace always": lambda: metaspace("always"),
    "metaspace never": lambda: metaspace("never"),
    "words, a sign after a word": lambda: word_tokenizer(["the cat, sat.", "cat sat, cat. sat"]),
    "words, without a full stop": lambda: word_tokenizer(["the cat, sat", "cat sat, cat"]),
}
AFTER = {
    "words, a sign after a word": [" sat", ", sat", ". cat", "", " cat, cat"],
    "words, without a full stop": [" sat", ", sat", "", " cat, cat"],
}


@pytest.mark.parametrize("name", MAKERS)
def test_continuations_are_exact(name):
    """Guards against a space that a tokenizer puts in front, also one that does not know the signs it is tried with."""
    own = codec(MAKERS[name]())
    before = own.encode("the cat")
    assert own.decode(before) == "the cat"
    for text in AFTER.get(name, [" sat", "s", ", sat", ".", ". cat", "", " ", "  cat"]):
        more = own.encode_more(text)
        assert own.tokenizer.unk_token_id not in more.tolist()
        assert own.continuation(before, more) == text


@pytest.mark.parametrize("name", [*MAKERS, "signs apart", "bytes"])
def test_ends_of_tokens_are_those_of_their_texts(name):
    """Guards against a token's credit that goes to the next: spaces in front, and characters of several tokens."""
    own = codec({**MAKERS, "signs apart": signs_apart, "bytes": byte_letters}[name]())
    before = own.encode("the cat")
    for text in ("", ", sat", " sat, cat", " café 🙂 at" if name == "bytes" else " cat"):
        after = own.encode_more(text)
        whole, ends = own.continuation(before, after), own.ends(before, after)
        assert ends.shape == (len(after),)
        for i, end in enumerate(ends):
            beginning = own.continuation(before, after[: i + 1])
            assert whole[:end] == beginning.rstrip("\ufffd")
        assert len(after) == 0 or ends[-1] == len(whole)


def byte_letters():
    """As GPT-2's without merges: a token for each byte, so that most signs are several."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(["</s>", *letters])}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")


@pytest.mark.parametrize("name", ["reviews", "tasks"])
def test_continuations_with_shipped_tokenizers(name):
    """Guards against <unk> for the sign a response begins with: neither tokenizer knows a first ".", only a later."""
    lm = load(name)
    for text in (".", ", but", ", and"):
        whole = lm.encode("I" + text).tolist()
        assert lm.encode_more(text).tolist() == whole[1:]
        if lm.tokenizer.unk_token_id not in whole:
            assert lm.continuation(whole[:1], lm.encode_more(text)) == text


def test_no_text_begins_twice():
    """Guards against [1, 1, …] for what a chat template writes: it begins with the token that the tokenizer adds."""
    tokenizer = beginning()
    for own in (codec(tokenizer), TextReader(tokenizer, reads="text", end=False, apart=True)):
        assert own.encode("a2 a3").tolist() == own.encode("<s>a2 a3").tolist() == [V, 2, 3]
        assert own.encode("<s>").tolist() == [V]
        assert own.encode_more("a2").tolist() == [2]
    (example,) = read_sft_examples(
        [{"prompt": "<s>a2", "completion": "a3"}], CausalLM(tiny_model("gpt2", vocab_size=V + 1), tokenizer)
    )
    assert example.tokens.tolist() == [V, 2, 3, 1]
    for reads, texts in (("text", [[V, 2, 3]]), ("pair", [[V, 2, V, 3]]), ("response", [[V, 3]])):
        reader = TextReader(tokenizer, reads=reads, end=False, apart=False)
        assert [text.tokens.tolist() for text in reader.read(["<s>a2"], [" a3"])] == texts


def test_a_tokenizer_that_adds_no_beginning_leaves_texts_as_they_are():
    tokenizer = split_words()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    assert codec(tokenizer).encode("<s><s>a2").tolist() == [V, V, 2]


def test_half_a_character_is_refused():
    """Guards against a bare TypeError from the tokenizer."""
    tokenizer = split_words()
    reader = TextReader(tokenizer, reads="pair", end=False, apart=False)
    ways = [
        lambda: codec(tokenizer).encode("a2 \ud83d"),
        lambda: codec(tokenizer).encode_more("a2 \ud83d"),
        lambda: reader.read(["a2"], ["\ud83d"]),
        lambda: read_sft_examples([{"prompt": "a2", "completion": "\ud83d"}], tiny_lm()),
    ]
    for way in ways:
        with pytest.raises(ValueError, match="has half of a surrogate pair"):
            way()
    assert codec(tokenizer).encode("a2 😀").tolist() == [2, 0]


def test_a_space_of_its_own_at_the_end_is_found():
    """Guards against prompts such as "The film was " for a model whose words bring their space."""
    texts = ["The film was ", "The film was", "Q:\n"]
    assert load("reviews", "cpu").ending_in_a_bare_space(texts) == [0]
    for make in (prepending, signs_apart, split_words):  # of letters, or deaf to spaces
        assert codec(make()).ending_in_a_bare_space(["the cat "]) == []


@pytest.mark.parametrize("make", [*MAKERS.values(), signs_apart, split_words])
def test_many_texts_equal_one_by_one(make):
    """Guards against a batch that is padded, or in which one text changes another."""
    own = codec(make())
    texts = [" cat", "", "the cat", ", sat", " cat", "sat " * 9]
    for many, one in ((own.encode_all, own.encode), (own.encode_more_all, own.encode_more)):
        rows = many(texts)
        assert [row.tolist() for row in rows] == [one(text).tolist() for text in texts]
        assert all(row.dtype == np.int64 for row in rows)
        assert many([]) == []


def test_saved_padding_and_truncation_are_ignored():
    tokenizer = split_words()
    tokenizer.backend_tokenizer.enable_padding(length=8, pad_id=1, pad_token="<eos>")
    tokenizer.backend_tokenizer.enable_truncation(2)
    own = codec(tokenizer)
    assert own.encode("a2 a3 a4").tolist() == [2, 3, 4]
    assert own.encode_more(" a2 a3 a4").tolist() == [2, 3, 4]


def test_wordpiece_continuation():
    own = codec(signs_apart())
    before = own.encode("the cat")
    assert own.continuation(before, own.encode_more(" sat")) == " sat"
    assert own.encode_more(" sat").tolist() == own.encode("the cat sat").tolist()[2:]


def test_one_trailing_eos_is_removed():
    """Guards against a model with two of them, and a text that ends in one as its writer meant it."""
    tokenizer = split_words()
    tokenizer.add_tokens([AddedToken("<turn>", special=True)], special_tokens=True)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        "$A <turn>", special_tokens=[("<turn>", tokenizer.convert_tokens_to_ids("<turn>"))]
    )
    own = Codec(tokenizer, (1, len(tokenizer) - 1))
    assert own.encode("a2 a3").tolist() == [2, 3]
    assert own.encode("a2 <eos>").tolist() == [2, 1]
    assert Codec(tokenizer, ()).encode("a2").tolist() == [2, len(tokenizer) - 1]


def test_continuation_with_known_text():
    own = codec(prepending())
    before, more = own.encode("the cat"), own.encode_more(" sat")
    assert own.continuation(before, more, "the cat") == own.continuation(before, more) == " sat"


def test_a_slow_tokenizer():
    """Guards against a decoding that only the quick kind of tokenizer has, and one that tidies up."""

    class Slow:
        bos_token_id = None

        def __init__(self, quick):
            self.quick = quick

        def __call__(self, *args, **options):
            return self.quick(*args, **options)

        def __len__(self):
            return len(self.quick)

        def decode(self, *args, **options):
            return self.quick.decode(*args, **options)

    tokenizer = signs_apart()
    tokenizer.clean_up_tokenization_spaces = True
    slow, quick = Codec(Slow(tokenizer), ()), codec(tokenizer)
    ids = quick.encode("the cat , sat .")
    assert slow.encode("the cat , sat .").tolist() == ids.tolist()
    assert slow.decode(ids) == quick.decode(ids) == "the cat , sat ."


def test_texts_with_unknown_words_are_found() -> None:
    """Not where the unknown is the end of text, as GPT-2 has it, and every finished text would count."""
    lm = load("reviews", "cpu")
    rows = lm.encode_all(["The film was good.", "The zyzzyva was good."])
    assert lm.with_unknown_tokens(rows) == [1]
    both = metaspace("always")
    both.unk_token = both.eos_token
    own = Codec(both, (both.eos_token_id,))
    assert own.with_unknown_tokens([[*own.encode("the cat").tolist(), both.eos_token_id]]) == []
