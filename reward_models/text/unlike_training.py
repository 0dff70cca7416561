"""Warnings, each given once, that a reward model is asked about texts unlike those it was trained on."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ...records.jsonl import shortened
from .config import RewardModelConfig
from .packing import Text
from .reader import TextReader, joined

log = logging.getLogger("textrlhf")
ENOUGH = 16  # texts, to tell how they are written
FORMS = "with the special tokens of a chat template", "without such tokens"
JOINS = "no white space", "white space"


class UnlikeTraining:
    """Compares texts with what a reward model's config says of its training; `name` is whom the warnings are about."""

    def __init__(self, reader: TextReader) -> None:
        self._reader = reader
        self._warned_of_template = False
        self._words, self._joined = 0, 0  # responses that begin with a word, and those without white space before it
        self._warned_of_words = False

    def check_template(self, name: object, config: RewardModelConfig, prompts: Sequence[str]) -> None:
        """Warn if its training prompts had a chat template's tokens and these do not, or the reverse."""
        trained = config.templated
        if trained is None or config.reads == "response" or self._warned_of_template or not len(prompts):
            return
        some = prompts[:ENOUGH]
        told = len(some) == ENOUGH or not 0.05 < trained < 0.95  # a few prompts say nothing about a mixture
        if told and abs(self._reader.templated(some) - trained) > 0.5:
            self._warned_of_template = True
            log.warning(
                "%s was trained on prompts %s, and these are prompts %s: its scores mean little; write them as those "
                "were, or give chat messages",
                name,
                *(FORMS if trained > 0.5 else FORMS[::-1]),
            )

    def check_joins(
        self, name: object, config: RewardModelConfig, prompts: Sequence[str], responses: Sequence[str]
    ) -> None:
        """Warn if its training texts had white space between prompt and response and these do not, or the reverse."""
        trained = config.joined
        if trained is None or config.reads != "text" or self._words >= ENOUGH:
            return
        words, together = joined(prompts, responses)
        self._words, self._joined = self._words + words, self._joined + together
        if self._words >= ENOUGH and abs(self._joined / self._words - trained) > 0.5:
            log.warning(
                "%s was trained on texts with %s between prompt and response and is asked about texts with %s: "
                "train it on responses that begin as these do",
                name,
                *(JOINS if trained > 0.5 else JOINS[::-1]),
            )

    def check_words(self, name: object, texts: Sequence[Text]) -> None:
        """Warn if texts hold words that its tokenizer does not know."""
        if self._warned_of_words or not (unknown := self._reader.with_unknown_tokens(text.tokens for text in texts)):
            return
        self._warned_of_words = True
        first = shortened(str(self._reader.tokenizer.decode(texts[unknown[0]].tokens)))
        some = f"{len(unknown)} of {len(texts)} texts"
        log.warning(
            "%s contain words that %s does not know, all the same token to it; the first: %s", some, name, first
        )
