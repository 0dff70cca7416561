"""Generation of many texts: a slot whose text ends takes the next prompt, so no step is spent on padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..records.checks import count
from .causal_lm import CausalLM
from .device_copies import PackedUpload, to_host
from .families import make_memory
from .memory import Ints
from .sampling import check_drawn, check_sampling, draw


@dataclass
class Written:
    """What a model generated after a prompt."""

    prompt: Ints
    tokens: list[int] = field(default_factory=list)  # with the end-of-text token, if there is one
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str = "length"  # or "eos"


@torch.no_grad()
def generate(
    lm: CausalLM,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    slots: int = 64,
    on_text: Callable[[int], None] | None = None,
) -> list[Written]:
    """Continue each prompt of token ids. A text's random numbers depend only on `seed` and its index.

    `on_text` is called with the number of finished texts whenever one is finished.
    """
    check_sampling(temperature, top_k, top_p)
    for name, value in (("max_new_tokens", max_new_tokens), ("slots", slots)):
        count(name, value)
    texts = [Written(np.asarray(prompt, np.int64)) for prompt in prompts]
    for i, text in enumerate(texts):
        if not len(text.prompt):
            raise ValueError(f"prompt {i} is empty: a model needs at least one token")
        for token in text.prompt[(text.prompt < 0) | (text.prompt >= lm.vocab_size)]:
            raise ValueError(f"prompt {i} has the token {token}: expected 0 to {lm.vocab_size - 1}")
        if lm.context is not None and len(text.prompt) + max_new_tokens > lm.context:
            raise ValueError(
                f"prompt {i} has {len(text.prompt)} tokens, and max_new_tokens is {max_new_tokens}: together more than "
                f"the {lm.context} positions of {lm}; shorten the prompt or lower max_new_tokens"
            )
    n = min(slots, len(texts))
    draws = [np.random.default_rng([seed, i]) for i in range(len(texts))]
    memory, waiting = make_memory(lm, n), iter(range(n, len(texts)))
    running = np.arange(n)  # which text is in each slot
    reads = [text.prompt for text in texts[:n]]
    live, finished = np.arange(n), 0
    while len(live):
        upload = PackedUpload(lm.device)
        uniform = upload.add(np.array([draws[running[slot]].random() for slot in live], np.float32))
        hidden = memory.read(live, [reads[slot] for slot in live], upload)
        tokens, logprobs = to_host(
            *draw(lm.head(hidden), temperature=temperature, top_k=top_k, top_p=top_p, uniform=upload[uniform])
        )
        check_drawn(logprobs)
        idle = []
        for slot, token, logprob in zip(live.tolist(), tokens.tolist(), logprobs.tolist(), strict=True):
            text = texts[running[slot]]
            text.tokens.append(token)
            text.logprobs.append(logprob)
            reads[slot] = np.array([token])
            if token in lm.eos_ids:
                text.finish_reason = "eos"
            elif len(text.tokens) < max_new_tokens:
                continue
            finished += 1
            if on_text is not None:
                on_text(finished)
            if (following := next(waiting, None)) is None:
                idle.append(slot)
            else:
                memory.reset([slot])
                running[slot], reads[slot] = following, texts[following].prompt
        live = np.setdiff1d(live, idle)
    return texts
