"""A tokenizer of whole words, for the small models that ship here and for environments of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END, UNKNOWN = "<eos>", "<unk>"
PIECE = r" ?[^\W\d_]+(?:'[^\W\d_]+)*| ?\d| ?[^\w\s]|\n"  # a word or sign with the space before it; digits one by one
SPACE = "\u2581"  # a space that belongs to a token


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Build a tokenizer of every word in `texts`; text comes back from it exactly as it went in.

    A text's first word counts as one with a space before it, so it is the same token at the start and in the midst.
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
