"""Characters that no tokenizer and no UTF-8 file takes."""

from __future__ import annotations

from collections.abc import Sequence

from .jsonl import shortened


def check_texts(texts: Sequence[str]) -> None:
    """Raise ValueError for a text with half of a surrogate pair."""
    for text in texts:
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise ValueError(
                f"{shortened(text)} has half of a surrogate pair, which is no character: "
                'read it with errors="replace", or drop it'
            )
