"""Which of a reward model's tokens are the beginning of a response, so that one forward scores all beginnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...language.conversation import Conversation
from .packing import Ints, Text
from .reader import TextReader

Spans = tuple[Ints, Ints]  # where in a text each token begins and ends


def beginnings(
    reader: TextReader,
    prompts: Sequence[str],
    responses: Sequence[str],
    texts: Sequence[Text],
    ends: Sequence[Sequence[int]],
) -> list[Ints]:
    """How many tokens of each text are the text of `responses[i][:end]`, for each of `ends[i]`.

    −1 where an end lies within a token: that beginning has other tokens, and must be read as a text of its own.
    """
    plain = [reader.plain(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
    before = [prompt if reader.reads == "text" and not reader.apart else "" for prompt, _ in plain]
    own = [text.tokens[text.start : len(text.tokens) - int(reader.end)] for text in texts]
    spans = _spans(reader, [head + response for head, (_, response) in zip(before, plain, strict=True)], own)
    counts = []
    for i, (text, found) in enumerate(zip(texts, spans, strict=True)):
        if isinstance(prompts[i], Conversation):
            counts.append(_in_chat(reader, text, responses[i], ends[i]))
        elif found is None:
            counts.append(np.full(len(ends[i]), -1))
        else:
            whole, skip = prompts[i] if reader.reads == "text" else "", len(before[i])
            at = [skip + _plain_length(reader, whole, responses[i][:end]) for end in ends[i]]
            counts.append(_tokens_before(at, found, skip + len(plain[i][1]), text.start))
    return counts


def _in_chat(reader: TextReader, text: Text, response: str, ends: Sequence[int]) -> Ints:
    """As `beginnings`, of a response that a chat template surrounds."""
    unknown = np.full(len(ends), -1)
    said, tokens = reader.bare(response).strip(), text.tokens.tolist()
    if isinstance(response, Conversation) or not (said and reader.tokenizer.is_fast):
        return unknown
    encoded: Any = reader.tokenizer(said, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], np.array(encoded["offset_mapping"], np.int64).reshape(-1, 2)
    first = _last_place(tokens, ids)
    if first is None:
        return unknown
    at = [len(reader.bare(response[:end]).strip()) for end in ends]
    return _tokens_before(at, (offsets[:, 0], np.maximum.accumulate(offsets[:, 1])), len(said), first)


def _tokens_before(at: Sequence[int], spans: Spans, length: int, first: int) -> Ints:
    """The number of tokens up to each character of `at`, with `first` before them; −1 within a token."""
    n = np.searchsorted(spans[1], at, side="right")
    clean = np.append(spans[0], length)[n] >= at  # no token begins before the end
    return np.where(clean, first + n, -1)


def _plain_length(reader: TextReader, prompt: str, beginning: str) -> int:
    """The characters of a beginning that are read as the response."""
    return len(reader.plain(prompt, beginning)[1]) if beginning.strip() else 0


def _spans(reader: TextReader, texts: Sequence[str], tokens: Sequence[Ints]) -> list[Spans | None]:
    """Where in its text each token begins and ends; None where the tokenizer does not say."""
    mark = reader.mark if reader.reads == "text" and reader.apart else ""
    found = _found(reader, [mark + text for text in texts], tokens, len(mark))
    if mark and (missing := [i for i, spans in enumerate(found) if spans is None]):  # such as a word joined to it
        again = _found(reader, [texts[i] for i in missing], [tokens[i] for i in missing], 0)
        for i, spans in zip(missing, again, strict=True):
            found[i] = spans
    return found


def _found(reader: TextReader, texts: Sequence[str], tokens: Sequence[Ints], skip: int) -> list[Spans | None]:
    """Where in each text, less its first `skip` characters, these of its tokens are."""
    spans: list[Spans | None] = [None] * len(texts)
    if not texts or not reader.tokenizer.is_fast:
        return spans
    encoded: Any = reader.tokenizer(list(texts), return_offsets_mapping=True)
    for i, (ids, offsets) in enumerate(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)):
        first = _last_place(ids, tokens[i].tolist())
        if first is not None:
            place = np.array(offsets[first : first + len(tokens[i])], np.int64).reshape(-1, 2) - skip
            spans[i] = place[:, 0], np.maximum.accumulate(place[:, 1])
    return spans


def _last_place(ids: list[int], part: list[int]) -> int | None:
    """Where `part` begins in `ids`; the last place, as special tokens and the mark come first."""
    starts = range(len(ids) - len(part), -1, -1)
    return next((k for k in starts if ids[k : k + len(part)] == part), None)
