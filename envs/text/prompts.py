"""Prompts as tokens, each with room behind it for a response."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ...language import CausalLM
from .data import DataError, load_prompts
from .options import TextOptions
from .task import Prompt, Task

log = logging.getLogger("textrlhf")
_Encoded = dict[int, tuple[Sequence[Prompt], list[NDArray[np.int64]]]]
_known: weakref.WeakKeyDictionary[CausalLM, _Encoded] = weakref.WeakKeyDictionary()


@dataclass
class Prompts:
    """Prompts and their tokens."""

    records: Sequence[Prompt]
    tokens: list[NDArray[np.int64]]
    _texts: dict[int, str] = field(default_factory=dict)

    def text(self, lm: CausalLM, number: int) -> str:
        """What a prompt's tokens say, which is not always what the record says, decoded once."""
        if number not in self._texts:
            self._texts[number] = lm.decode(self.tokens[number])
        return self._texts[number]

    def __len__(self) -> int:
        return len(self.tokens)


def gather(task: Task, lm: CausalLM, options: TextOptions, measured: bool, room: int) -> Prompts:
    """Gather the split's prompts as tokens, none longer than `room`; what was dropped or cut is logged.

    Where the texts will be `measured` by the task, the user's own rows must have what it needs.
    """
    if options.prompts is None:
        records = task.prompts(options.split)
    else:
        records = load_prompts(options.prompts, options.split, task.needs if measured else ())
        strange = [record for record in records if measured and not task.can_measure(record)]
        if strange:
            raise DataError(
                f"the prompt {strange[0].text!r} is none that the task {task.name!r} can score ({len(strange)} of "
                f"{len(records)} are not); pass a reward_model of your own, or prompts like the task's"
            )
    if not records:
        raise DataError(f"the task {task.name!r} has no prompts in the split {options.split!r}: expected at least one")
    return _fitted(Prompts(records, _encoded_once(lm, records)), lm, options.prompt_overflow, room)


def _encoded_once(lm: CausalLM, records: Sequence[Prompt]) -> list[NDArray[np.int64]]:
    """Environments are made again and again (`check_env`, `SyncVectorEnv`); built-in tasks give the same tuple each
    time.
    """
    if not isinstance(records, tuple):
        return _encoded(lm, records)
    known = _known.setdefault(lm, {})
    if id(records) not in known:
        known[id(records)] = records, _encoded(lm, records)  # the records are kept, so that their id stays theirs
    return known[id(records)][1]


def _encoded(lm: CausalLM, records: Sequence[Prompt]) -> list[NDArray[np.int64]]:
    tokens = lm.encode_all([record.text for record in records])
    for record, ids in zip(records, tokens, strict=True):
        if not len(ids):
            raise DataError(f"the prompt {record.text!r} has no tokens: a model needs at least one to go on from")
    if strange := lm.strange(tokens):
        log.warning(
            "%d of %d prompts hold words that %s does not know, the first %r",
            len(strange),
            len(tokens),
            lm,
            records[strange[0]].text,
        )
    return tokens


def _fitted(prompts: Prompts, lm: CausalLM, overflow: str, room: int) -> Prompts:
    long = [i for i, ids in enumerate(prompts.tokens) if len(ids) > room]
    if not long:
        return prompts
    what = f"{len(long)} of {len(prompts)} prompts are longer than {room} tokens, which is what the budget leaves"
    if overflow == "error":
        worst = max(long, key=lambda i: len(prompts.tokens[i]))
        raise ValueError(
            f"{what}; the longest has {len(prompts.tokens[worst])}: {_short(prompts.records[worst].text)!r}. Raise "
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
        tokens[i] = tokens[i][-room:]
        records[i] = replace(records[i], text=lm.decode(tokens[i]))
    return Prompts(records, tokens)


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"
