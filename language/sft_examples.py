"""Supervised fine-tuning examples: rows of JSONL or a list, to tokens.

    {"prompt", "completion"}    a response; "completion" may be called "response" or "chosen"
    {"prompt", "turns"}         a dialogue: the agent's turn, the user's, and so on, ending with the agent's

What follows the prompt brings its own leading space. Every response, and each of the agent's turns, is followed by an
end-of-text token, which is trained too. A row may name its "split", "train" or "heldout"; a key with the value null
counts as missing, and other keys are ignored.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..records.jsonl import DataError, read_jsonl, row_split, shortened
from .causal_lm import CausalLM

Rows = str | os.PathLike[str] | Sequence[Mapping[str, Any]]
Ints = NDArray[np.int64]

COMPLETIONS = ("completion", "response", "chosen")
FORMS = '{"prompt", "completion"} or {"prompt", "turns"}'

log = logging.getLogger("textrlhf")


@dataclass(frozen=True)
class SFTExample:
    """A text as tokens, and which of them to train on."""

    tokens: Ints  # (L,)
    learned: Ints  # (T,) their positions, increasing; never 0
    split: str | None  # of the row


def read_sft_examples(rows: Rows, lm: CausalLM, context: int | None = None) -> list[SFTExample]:
    """Encode every row with `lm`'s tokenizer; one longer than `context` or the model's positions is an error."""
    if isinstance(rows, str | os.PathLike):
        named, numbered = str(rows), read_jsonl(rows, "demonstrations", f"one object a line, {FORMS}")
    else:
        named, numbered = "demonstrations", [(f"demonstrations[{i}]", row) for i, row in enumerate(rows)]
    if not numbered:
        raise DataError(f"{named} has no rows: expected at least one {FORMS}")
    parsed = [_parsed(place, row) for place, row in numbered]
    prompts = lm.encode_all([prompt for prompt, _, _ in parsed])
    every = iter(lm.encode_more_all([turn for _, turns, _ in parsed for turn in turns]))
    examples = []
    for (place, _), (prompt, turns, split), ids in zip(numbered, parsed, prompts, strict=True):
        if not len(ids):
            raise DataError(f"{place}: the prompt {shortened(prompt)} has no tokens: a model needs at least one")
        examples.append(_example(place, ids, list(itertools.islice(every, len(turns))), split, lm))
    _refuse_long([place for place, _ in numbered], examples, lm, context)
    if spaced := lm.ending_in_a_bare_space([prompt for prompt, _, _ in parsed]):
        log.warning(
            "%s: %d of %d prompts end in a space, and the words of %s begin with one: move it to the response",
            named,
            len(spaced),
            len(examples),
            lm,
        )
    if unknown := lm.with_unknown_tokens(example.tokens for example in examples):
        log.warning("%s: %d of %d texts have words unknown to %s", named, len(unknown), len(examples), lm)
    return examples


def _parsed(place: str, row: object) -> tuple[str, list[str], str | None]:
    """The prompt, what follows it (the agent's turns at even places), and the split."""
    if not isinstance(row, Mapping):
        raise DataError(f"{place}: expected an object {FORMS}, saw {shortened(row)}")
    named = [key for key in (*COMPLETIONS, "turns") if row.get(key) is not None]
    if len(named) != 1:
        what = f"are {' and '.join(named)}: expected one of them" if named else f"is no response: expected {FORMS}"
        raise DataError(f"{place}: among the keys {shortened(list(row))} {what}")
    prompt, followed = _text(place, "prompt", row.get("prompt")), row[named[0]]
    if named[0] != "turns":
        turns = [_text(place, named[0], followed)]
    elif isinstance(followed, Sequence) and not isinstance(followed, str) and len(followed) % 2:
        turns = [_text(place, f"turns[{i}]", turn) for i, turn in enumerate(followed)]
    else:
        raise DataError(
            f'{place}: "turns" is {shortened(followed)}: expected a list of strings, the first and the last the '
            "agent's, so an odd number of them"
        )
    for i, turn in enumerate(turns):
        if not turn.strip():
            name = named[0] if len(turns) == 1 else f"turns[{i}]"
            raise DataError(f'{place}: "{name}" is empty: there is nothing to train on; drop the row')
    return prompt, turns, row_split(place, row)


def _text(place: str, key: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | Mapping):
        raise DataError(
            f'{place}: "{key}" is {shortened(value)}: expected a string; convert chat messages with the '
            "model's chat template (tokenizer.apply_chat_template(messages, tokenize=False)) first"
        )
    seen = "missing" if value is None else shortened(value)
    raise DataError(f'{place}: "{key}" is {seen}: expected a string, in the form {FORMS}')


def _example(place: str, prompt: Ints, turns: Sequence[Ints], split: str | None, lm: CausalLM) -> SFTExample:
    end = np.array(lm.eos_ids[:1], np.int64)
    parts, learned, at = [prompt], [], len(prompt)
    for i, turn in enumerate(turns):
        if i % 2 == 0:
            turn = np.concatenate([turn[:-1] if len(turn) and turn[-1] in lm.eos_ids else turn, end])
            learned.append(np.arange(at, at + len(turn)))
            if np.isin(turn[:-1], lm.eos_ids).any():
                raise DataError(
                    f"{place}: the agent's text goes on after an end-of-text token, which an agent could never "
                    'write; give a dialogue as "turns"'
                )
        parts.append(turn)
        at += len(turn)
    return SFTExample(np.concatenate(parts), np.concatenate(learned), split)


def _refuse_long(places: Sequence[str], examples: Sequence[SFTExample], lm: CausalLM, context: int | None) -> None:
    room = min(size for size in (context, lm.context, 2**62) if size is not None)
    long = [i for i, example in enumerate(examples) if len(example.tokens) > room]
    if long:
        raise DataError(
            f"{places[long[0]]}: the text has {len(examples[long[0]].tokens)} tokens with its end, and {room} fit "
            f"({len(long)} of {len(examples)} texts are too long): shorten or drop these, or raise the context"
        )
