"""Text to token ids and back, with every space preserved."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..records.characters import check_texts
from .chat_template import NO_TEMPLATE, ChatTemplate, ChatTemplateError
from .conversation import Conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = list[int] | NDArray[np.int64]


class Codec:
    """A tokenizer and the tokens that end a text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, eos_ids: tuple[int, ...]) -> None:
        self.tokenizer, self.eos_ids = tokenizer, eos_ids

    def encode(self, text: str) -> NDArray[np.int64]:
        """Token ids, with what the tokenizer puts before a text (such as <s>) and nothing after it.

        A text that begins with <s> itself, as chat templates write it, gets no second one.
        """
        return self.encode_all([text])[0]

    def encode_more(self, text: str) -> NDArray[np.int64]:
        """Token ids of a text that continues another, such that `continuation` returns the text unchanged."""
        return self.encode_more_all([text])[0]

    def encode_all(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Token ids of each text; of a `Conversation` those of the chat template, ready for the assistant's turn."""
        if any(isinstance(text, Conversation) for text in texts):
            chats = [self.chat.prompt(text.messages) for text in texts if isinstance(text, Conversation)]
            plain = self.encode_all([text for text in texts if not isinstance(text, Conversation)])
            encoded = iter(self.chat.encode(chats)), iter(plain)
            return [next(encoded[0 if isinstance(text, Conversation) else 1]) for text in texts]
        rows = [self._begun_once(row) for row in self._ids(texts)]
        return [np.asarray(row[:-1] if len(row) > 1 and row[-1] in self.eos_ids else row, np.int64) for row in rows]

    def encode_more_all(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Token ids of each text that continues another."""
        mark, before = self._mark
        if not mark:
            return [np.asarray(row, np.int64) for row in self._ids(texts, special=False)]
        found = []
        for text, row in zip(texts, self._ids([mark + text for text in texts], special=False), strict=True):
            ids = row[len(before) :] if row[: len(before)] == before else self._ids([text], special=False)[0]
            found.append(np.asarray(ids, np.int64))
        return found

    def with_unknown_tokens(self, rows: Iterable[Ids]) -> list[int]:
        """The indices of the texts that hold words unknown to the tokenizer."""
        unknown = self.tokenizer.unk_token_id
        if unknown is None or unknown in self.eos_ids:  # GPT-2 knows every byte; its unk_token is its end of text
            return []
        return [i for i, row in enumerate(rows) if unknown in row]

    @property
    def has_template(self) -> bool:
        """Whether the tokenizer has a chat template."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    @cached_property
    def chat(self) -> ChatTemplate:
        """The tokenizer's chat template; ChatTemplateError where it has none."""
        if not self.has_template:
            raise ChatTemplateError(NO_TEMPLATE.format(self.tokenizer.name_or_path or self))
        return ChatTemplate(self.tokenizer, self.encode_more)

    @cached_property
    def _mark(self) -> tuple[str, list[int]]:
        """What to put before a continuation, and its tokens; empty unless the tokenizer adds a space before a text."""
        known = (self.decode([i]).strip() for i in range(len(self.tokenizer)))
        for mark in (".", "a", *itertools.islice(known, 64)):
            (before,) = self._ids([mark], special=False)
            if mark and self.decode(before) == mark:  # an unknown token decodes to nothing
                return (mark, before) if self.continuation(before, before) == f" {mark}" else ("", [])
        return "", []

    @cached_property
    def adds_bos(self) -> bool:
        """Whether the tokenizer puts a beginning-of-text token before a text."""
        bos = self.tokenizer.bos_token_id
        return bos is not None and self._ids(["a"])[0][:1] == [bos] != self._ids(["a"], special=False)[0][:1]

    def _begun_once(self, row: list[int]) -> list[int]:
        return row[1:] if self.adds_bos and row[1:2] == [self.tokenizer.bos_token_id] else row

    def _ids(self, texts: Sequence[str], *, special: bool = True) -> list[list[int]]:
        if not texts:
            return []
        check_texts(texts)
        rows: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=special)["input_ids"]
        return rows

    def ending_in_a_bare_space(self, texts: Sequence[str]) -> list[int]:
        """The indices of the texts that end in a space of its own, where a word is one token with the space before it.

        A word without its space follows such a text: nothing that the model saw in training.
        """
        word, spaced = self._ids(["a", "a "], special=False)
        if spaced[:-1] != word or self.encode_more(" a")[:1].tolist() == spaced[-1:]:
            return []
        return [i for i, text in enumerate(texts) if text.endswith(" ")]

    def decode(self, ids: Ids, *, special: bool = False) -> str:
        """Text, with every space preserved, and without special tokens unless they are asked for."""
        backend: Any = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:  # five times faster than through transformers
            return str(backend.decode([int(i) for i in ids], skip_special_tokens=not special))
        return str(self.tokenizer.decode(ids, skip_special_tokens=not special, clean_up_tokenization_spaces=False))

    def continuation(self, before: Ids, after: Ids, known: str | None = None) -> str:
        """What `after` adds to the text of `before`, such that prompt + response is the whole text.

        `known` is the text of `before` if it has been decoded already.
        """
        prompt, whole = self.decode(before) if known is None else known, self.decode([*before, *after])
        return whole[len(prompt) :] if whole.startswith(prompt) else self.decode(after)

    def ends(self, before: Ids, after: Ids, known: str | None = None) -> NDArray[np.int64]:  # (len(after),)
        """How many characters of `continuation(before, after)` there are with each token of `after`.

        A character of several tokens is there with the last of them.
        """
        whole = self.continuation(before, after, known)
        pieces = [self._piece(int(token)) for token in after]
        if "".join(pieces) == whole and "\ufffd" not in whole:
            return np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        found = np.zeros(len(after), np.int64)  # else read the beginnings one by one
        for i in range(len(after)):
            part = self.continuation(before, after[: i + 1], known).rstrip("\ufffd")
            found[i] = len(part) if whole.startswith(part) else found[max(i - 1, 0)]
        return np.maximum.accumulate(found)

    def _piece(self, token: int) -> str:
        """What a token usually adds to a text."""
        if token not in self._pieces:
            self._pieces[token] = self.decode([token, token])[len(self.decode([token])) :]
        return self._pieces[token]

    @cached_property
    def _pieces(self) -> dict[int, str]:
        return {}
