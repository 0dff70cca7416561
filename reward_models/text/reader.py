"""A prompt and a response as the tokens that a reward model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...language.tokenization import Codec, check_texts
from .packing import Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextReader(Codec):
    """Tokenises prompts and responses for a reward model.

    `reads` is "text" (the response continues the prompt), "pair" (two segments, as encoders are often trained) or
    "response" (that alone). `end` appends the end-of-text token. With `apart` no token spans prompt and response.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, reads: str, end: bool, apart: bool) -> None:
        own = tokenizer.eos_token_id
        super().__init__(tokenizer, () if own is None else (own,))
        self.reads, self.end, self.apart = reads, end, apart

    def read(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Text]:
        """Tokenise each text; nothing is ever truncated."""
        if self.reads == "pair":
            return self._pairs(prompts, responses)
        if self.reads == "response":
            before, after = [np.empty(0, np.int64)] * len(responses), self.encode_all(responses)
        elif not self.apart:
            whole = self.encode_all([prompt + response for prompt, response in zip(prompts, responses, strict=True)])
            before, after = [text[:0] for text in whole], whole
        else:
            distinct = list(dict.fromkeys(prompts))
            encoded = dict(zip(distinct, self.encode_all(distinct), strict=True))
            before = [encoded[prompt] for prompt in prompts]
            after = self.encode_more_all(responses)
        tail = np.array(self.eos_ids[: int(self.end)], np.int64)
        texts = []
        for prompt, response in zip(before, after, strict=True):
            tokens = np.concatenate([prompt, response, tail])
            texts.append(Text(tokens, len(prompt), len(tokens)))
        return texts

    def _pairs(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Text]:
        if not responses:
            return []
        check_texts([*prompts, *responses])
        bos = self.tokenizer.bos_token if self.adds_bos else ""
        encoded: Any = self.tokenizer([prompt.removeprefix(bos) for prompt in prompts], list(responses))
        kinds = encoded.get("token_type_ids") or [None] * len(responses)
        texts = []
        for i, (ids, kind) in enumerate(zip(encoded["input_ids"], kinds, strict=True)):
            second = np.flatnonzero([part == 1 for part in encoded.sequence_ids(i)])
            start, end = (int(second[0]), int(second[-1]) + 1) if len(second) else (len(ids), len(ids))
            segments = None if kind is None else np.asarray(kind, np.int64)
            texts.append(Text(np.asarray(ids, np.int64), start, end, segments))
        return texts
