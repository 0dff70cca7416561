"""A tokenizer of whole words, for small models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END, UNKNOWN = "<eos>", "<unk>"
PIECE = r" ?[^\W\d_]+(?:'[^\W\d_]+)*| ?\d| ?[^\w\s]|\n"  # a word, digit or sign with its space
SPACE = "\u2581"  # the space of a token


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Build a tokenizer of every word in `texts`, which decodes text exactly as it was.

    A text's first word is encoded as if a space came before it: one token, wherever it stands.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    first = normalizers.Replace(Regex(r"\A(?![ \n])"), " ")
    split = pre_tokenizers.Split(Regex(PIECE), "isolated")
    pieces = {piece for text in texts for piece, _ in split.pre_tokenize_str(first.normalize_str(text))}
    vocab = {END: 0, UNKNOWN: 1}
    for piece in sorted(pieces):
        vocab[piece.replace(" ", SPACE)] = len(vocab)
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=UNKNOWN))
    tokenizer.normalizer = first
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.Metaspace(SPACE, "never", split=False)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, unk_token=UNKNOWN, clean_up_tokenization_spaces=False
    )
