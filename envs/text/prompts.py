"""Prompts as tokens, each short enough to leave room for a response."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...language import CausalLM, Conversation
from ...records.jsonl import DataError, shortened
from .conversations import converse, encoded, fitted
from .data import placed_prompts
from .options import TextOptions
from .task import Prompt, Task

log = logging.getLogger("textrlhf")
_Encoded = dict[tuple[Any, ...], tuple[Sequence[Prompt], "Prompts"]]  # the records given, and what was made of them
_known: weakref.WeakKeyDictionary[CausalLM, _Encoded] = weakref.WeakKeyDictionary()


@dataclass
class Prompts:
    """Prompts and their tokens."""

    records: Sequence[Prompt]
    tokens: list[NDArray[np.int64]]
    _texts: dict[int, str] = field(default_factory=dict)

    def text(self, lm: CausalLM, number: int) -> str:
        """The text of a prompt's tokens, decoded once; it may differ from the record's."""
        if number not in self._texts:
            self._texts[number] = lm.decode(self.tokens[number])
        return self._texts[number]

    def __len__(self) -> int:
        return len(self.tokens)


def load_split(
    task: Task, lm: CausalLM, options: TextOptions, measured: bool, room: int, *, dialogue: bool = False
) -> Prompts:
    """Return the split's prompts as tokens, none longer than `room`; dropped and truncated ones are logged.

    If the task's measures are needed (`measured`), the user's rows must have the fields that these need. In a
    `dialogue` the user must be able to answer.
    """
    records: Sequence[Prompt]
    if options.prompts is None:
        records = task.prompts(options.split)
        places = [f"prompt {i} of the task {task.name!r}" for i in range(len(records))]
    else:
        placed = placed_prompts(options.prompts, options.split, task.needs if measured else ())
        places, records = [place for place, _ in placed], [record for _, record in placed]
        if unfit := [record for record in records if measured and not task.can_measure(record)]:
            raise DataError(
                f"the task {task.name!r} cannot score {len(unfit)} of {len(records)} prompts, the first "
                f"{unfit[0].text!r}; pass a reward_model of your own, or prompts like the task's"
            )
    if not records:
        raise DataError(f"the task {task.name!r} has no prompts in the split {options.split!r}: expected at least one")
    known, key = _known.setdefault(lm, {}), (id(records), options.chat, options.system_prompt, dialogue)
    if key in known:
        prompts = known[key][1]
    else:
        spoken = converse(records, places, lm, options, dialogue=dialogue)
        prompts = Prompts(spoken, _encoded(lm, spoken))
        if isinstance(records, tuple):  # built-in: environments are made often, and a task returns the same tuple
            known[key] = records, prompts  # keeping the records keeps their id unique
    return _fitted(prompts, lm, options.prompt_overflow, room)


def _encoded(lm: CausalLM, records: Sequence[Prompt]) -> list[NDArray[np.int64]]:
    tokens = encoded(lm, records)
    for record, ids in zip(records, tokens, strict=True):
        if not len(ids):
            raise DataError(f"the prompt {record.text!r} has no tokens: a model needs at least one")
    texts = ["" if isinstance(record.text, Conversation) else record.text for record in records]  # of no template
    if spaced := lm.ending_in_a_bare_space(texts):
        log.warning(
            "%d of %d prompts end in a space, the first %s, and the words of %s begin with one: end prompts without it",
            len(spaced),
            len(tokens),
            shortened(records[spaced[0]].text),
            lm,
        )
    if unknown := lm.with_unknown_tokens(tokens):
        message = "%d of %d prompts have words unknown to %s, the first %s"
        log.warning(message, len(unknown), len(tokens), lm, shortened(records[unknown[0]].text))
    return tokens


def _fitted(prompts: Prompts, lm: CausalLM, overflow: str, room: int) -> Prompts:
    long = [i for i, ids in enumerate(prompts.tokens) if len(ids) > room]
    if not long:
        return prompts
    what = f"{len(long)} of {len(prompts)} prompts have more than the {room} tokens that the budget leaves"
    if overflow == "error":
        worst = max(long, key=lambda i: len(prompts.tokens[i]))
        raise ValueError(
            f"{what}; the longest has {len(prompts.tokens[worst])}: {shortened(prompts.records[worst].text)}. Raise "
            'context, lower max_new_tokens, or pass prompt_overflow="drop" or "truncate"'
        )
    if overflow == "drop":
        kept = [i for i in range(len(prompts)) if len(prompts.tokens[i]) <= room]
        if not kept:
            raise ValueError(f"{what}, so dropping them leaves none: raise context or lower max_new_tokens")
        log.warning("%s: dropped", what)
        return Prompts([prompts.records[i] for i in kept], [prompts.tokens[i] for i in kept])
    log.warning("%s: truncated on the left", what)
    records, tokens = list(prompts.records), list(prompts.tokens)
    for i in long:
        if isinstance(records[i].text, Conversation):
            records[i], tokens[i] = fitted(records[i], lm, room)
            continue
        first = tokens[i][: int(lm.adds_bos)]  # a model needs the token that begins every text
        rest = tokens[i][len(first) - room :]
        tokens[i], records[i] = np.concatenate([first, rest]), replace(records[i], text=lm.decode(rest, special=True))
    return Prompts(records, tokens)
