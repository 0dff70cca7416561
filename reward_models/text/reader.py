"""A prompt and a response as the tokens that a reward model reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...language.chat_template import ChatTemplateError
from ...language.conversation import Conversation, Message
from ...language.tokenization import Codec
from ...records.characters import check_texts
from ...records.jsonl import shortened
from .packing import Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Ends of texts and turns, as chat templates write them; environments give responses without.
ENDS = ("<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "</s>")


class TextReader(Codec):
    """Tokenises prompts and responses for a reward model, those it is trained on and those it is asked about alike.

    What a response ends in is not read: tokens that end a text or a turn, and white space. `reads` is "text" (the
    response continues the prompt), "pair" (two segments, as encoders are often trained) or "response" (that alone).
    `end` appends the end-of-text token. With `apart` no token spans prompt and response.

    A prompt that is a `Conversation` is read with the response as the assistant's turn, or its turns where that is one
    too: as "text" exactly as this tokenizer's own chat template writes them. Without a template, and in two segments,
    they are read as "User: …" and "Assistant: …", and a single message as it is.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, reads: str, end: bool, apart: bool) -> None:
        own = tokenizer.eos_token_id
        super().__init__(tokenizer, () if own is None else (own,))
        self.reads, self.end, self.apart = reads, end, apart
        self._ends = (*ENDS, *filter(None, [tokenizer.eos_token]))

    def read(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Text]:
        """Tokenise each text; nothing else is ever left out."""
        pairs = list(zip(prompts, responses, strict=True))
        chats = [i for i, (prompt, _) in enumerate(pairs) if isinstance(prompt, Conversation)]
        if not chats:
            return self._texts(prompts, responses)
        texts: dict[int, Text] = {}
        for i in chats:
            if self.reads == "text" and self.has_template:
                texts[i] = self._chat(*pairs[i])
            else:
                pairs[i] = self._transcript(*pairs[i])
        others = [i for i in range(len(pairs)) if i not in texts]
        read = self._texts([pairs[i][0] for i in others], [pairs[i][1] for i in others])
        texts.update(zip(others, read, strict=True))
        return [texts[i] for i in range(len(pairs))]

    def _chat(self, prompt: str, response: str) -> Text:
        assert isinstance(prompt, Conversation)
        try:
            tokens, start = self.chat.judged(prompt.messages, self._answered(response))
        except ChatTemplateError as error:
            raise ChatTemplateError(f"{shortened(str(prompt))}: {error}") from None
        if self.end and not np.isin(tokens[-2:], self.eos_ids).any():  # the template may have white space behind it
            tokens = np.concatenate([tokens, self.eos_ids[:1]])
        return Text(tokens, start if self.apart else 0, len(tokens))

    def _transcript(self, prompt: str, response: str) -> tuple[str, str]:
        """A conversation as two plain texts."""
        assert isinstance(prompt, Conversation)
        asked, answered = prompt.messages, self._answered(response)
        if self.reads == "text":
            before = f"{Conversation(asked)}\n\n"
            return f"{before}Assistant:", str(Conversation(answered)).removeprefix("Assistant:")
        return tuple(one[0]["content"] if len(one) == 1 else str(Conversation(one)) for one in (asked, answered))  # type: ignore[return-value]

    def _answered(self, response: str) -> list[Message]:
        """A response as messages, without what files and environments write differently."""
        given = (
            response.messages if isinstance(response, Conversation) else [{"role": "assistant", "content": response}]
        )
        return [{**message, "content": self.bare(message["content"]).strip()} for message in given]

    def _texts(self, prompts: Sequence[str], responses: Sequence[str]) -> list[Text]:
        plain = [self.plain(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
        prompts, responses = [prompt for prompt, _ in plain], [response for _, response in plain]
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

    @property
    def mark(self) -> str:
        """What is put before a text that continues another, and taken away again; empty unless that is needed."""
        return self._mark[0]

    def templated(self, prompts: Sequence[str]) -> float:
        """The share of prompts with special tokens, as chat templates write them; its own writes conversations."""
        own = self.tokenizer
        special = {str(token) for token in own.added_tokens_decoder.values() if token.special}
        special -= {own.bos_token, own.unk_token}
        found = (
            self.has_template if isinstance(prompt, Conversation) else any(token in prompt for token in special)
            for prompt in prompts
        )
        return sum(found) / max(len(prompts), 1)

    def plain(self, prompt: str, response: str) -> tuple[str, str]:
        """A prompt and its response without what differs between files and environments, but not between texts."""
        given, response = response, self.bare(response)
        if self.reads != "text":
            return prompt, response.lstrip() or given  # something has to be read
        bare = prompt.rstrip(" ")
        return bare, prompt[len(bare) :] + response

    def bare(self, response: str) -> str:
        """A response without the white space and the tokens at its end."""
        before = ""
        while before != response:
            before = response
            response = response.rstrip()
            for end in self._ends:
                response = response.removesuffix(end)
        return response

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


def joined(prompts: Sequence[str], responses: Sequence[str]) -> tuple[int, int]:
    """How many responses begin with a word, and how many of them without white space between prompt and word."""
    words = [
        (prompt, response)
        for prompt, response in zip(prompts, responses, strict=True)
        if response[:2].strip()[:1].isalnum() and not isinstance(prompt, Conversation)
    ]
    return len(words), sum(
        bool(prompt) and not prompt[-1].isspace() and not response[0].isspace() for prompt, response in words
    )
