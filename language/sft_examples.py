"""Texts to be learned from, as rows of JSONL or a list, to tokens.

    {"prompt", "completion"}    a response; "completion" may be called "response" or "chosen"
    {"prompt", "turns"}         a dialogue: what the agent says and what it is answered, in turn; it begins and ends

What follows the prompt brings its own leading space. Every response, and every turn of the agent's, gets the
end-of-text token it must learn to write. A row may name its "split", "train" or "heldout"; a key whose value is null
counts as missing, other keys are not looked at.
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

from ..records.jsonl import DataError, read_jsonl, shortened
from .causal_lm import CausalLM

Rows = str | os.PathLike[str] | Sequence[Mapping[str, Any]]
Ints = NDArray[np.int64]

COMPLETIONS = ("completion", "response", "chosen")
SPLITS = ("train", "heldout")
FORMS = '{"prompt", "completion"} or {"prompt", "turns"}'

log = logging.getLogger("textrlhf")


@dataclass(frozen=True)
class SFTExample:
    """A text, and which of its tokens somebody wrote who is worth learning from."""

    tokens: Ints  # (L,)
    learned: Ints  # (T,) places of those tokens, rising; none is the first
    split: str | None  # as the row says


def read_sft_examples(rows: Rows, lm: CausalLM, context: int | None = None) -> list[SFTExample]:
    """Read every row as `lm`'s tokens, at most `context` of them; no row is ever skipped or cut."""
    if isinstance(rows, str | os.PathLike):
        named, numbered = str(rows), read_jsonl(rows, "demonstrations", f"one object a line, {FORMS}")
    else:
        named, numbered = "demonstrations", [(f"demonstrations[{i}]", row) for i, row in enumerate(rows)]
    if not numbered:
        raise DataError(f"{named} holds no rows: expected at least one {FORMS}")
    parsed = [_parsed(place, row) for place, row in numbered]
    prompts = lm.encode_all([prompt for prompt, _, _ in parsed])
    every = iter(lm.encode_more_all([turn for _, turns, _ in parsed for turn in turns]))
    examples = []
    for (place, _), (prompt, turns, split), ids in zip(numbered, parsed, prompts, strict=True):
        if not len(ids):
            raise DataError(f"{place}: the prompt {shortened(prompt)} has no tokens: a model needs one to go on from")
        examples.append(_example(place, ids, list(itertools.islice(every, len(turns))), split, lm))
    _refuse_long([place for place, _ in numbered], examples, lm, context)
    _tell_unknown(named, examples, lm)
    return examples


def _parsed(place: str, row: object) -> tuple[str, list[str], str | None]:
    """The prompt, what follows it (the agent's turns at even places), and the split."""
    if not isinstance(row, Mapping):
        raise DataError(f"{place}: expected an object {FORMS}, saw {shortened(row)}")
    named = [key for key in (*COMPLETIONS, "turns") if row.get(key) is not None]
    if len(named) != 1:
        what = f"are {' and '.join(named)}: expected one of them" if named else f"is no response: expected {FORMS}"
        raise DataError(f"{place}: among the keys {shortened(list(row))} {what}")
    split = row.get("split")
    if split is not None and split not in SPLITS:
        raise DataError(f"{place}: the split is {shortened(split)}, expected one of {list(SPLITS)}")
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
            raise DataError(f'{place}: "{name}" is empty: there is nothing to learn from it; drop the row')
    return prompt, turns, split


def _text(place: str, key: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | Mapping):
        raise DataError(
            f'{place}: "{key}" is {shortened(value)}: expected a string; turn chat messages into one with the '
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
                    f"{place}: an end-of-text token stands within what the agent says, after which nothing more "
                    'would be written; give a dialogue as "turns"'
                )
        parts.append(turn)
        at += len(turn)
    return SFTExample(np.concatenate(parts), np.concatenate(learned), split)


def _refuse_long(places: Sequence[str], examples: Sequence[SFTExample], lm: CausalLM, context: int | None) -> None:
    room = min(size for size in (context, lm.context, 2**62) if size is not None)
    long = [i for i, example in enumerate(examples) if len(example.tokens) > room]
    if long:
        raise DataError(
            f"{places[long[0]]}: the text has {len(examples[long[0]].tokens)} tokens with its end, and {room} have "
            "room "
            f"({len(long)} of {len(examples)} texts are too long): shorten or drop these, or raise the environment's "
            "context"
        )


def _tell_unknown(named: str, examples: Sequence[SFTExample], lm: CausalLM) -> None:
    if strange := lm.strange(example.tokens for example in examples):
        log.warning("%s: %d of %d texts hold words that %s does not know", named, len(strange), len(examples), lm)
