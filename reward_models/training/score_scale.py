"""Texts of the reference model, which set the scale of a reward model's scores."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Sequence

import numpy as np

from ...language import CausalLM, Conversation, LanguageError, generate, load
from ...language.tokenizer_loading import load_tokenizer
from ...records.jsonl import DataError
from ...records.progress import ProgressBar
from ..text.construction import is_language_model
from ..text.reward_model import RewardModel

Texts = tuple[list[str], list[str]]  # prompts, responses
Model = str | os.PathLike[str] | CausalLM
log = logging.getLogger("textrlhf")


def name_of(model: Model) -> str:
    """A model's name, for messages."""
    return str(model.name or model) if isinstance(model, CausalLM) else os.fspath(model)


def check_reference(reference: Model | None, model: Model, prompts: Sequence[str]) -> None:
    """Raise ValueError if prompts are chat messages and the reference texts would be by a model without a template."""
    if not any(isinstance(prompt, Conversation) for prompt in prompts):
        return
    writer = model if reference is None else reference
    if isinstance(writer, CausalLM):
        templated = writer.has_template
    elif reference is None and not is_language_model(os.path.expanduser(os.fspath(writer))):
        return  # an encoder, which writes no reference texts
    else:
        try:
            templated = bool(load_tokenizer(os.fspath(writer)).chat_template)
        except DataError:
            return  # load() reports it better
    if not templated:
        raise ValueError(
            f"the prompts are chat messages, and {name_of(writer)}, which is to write the reference texts that set the "
            "scores' scale, has no chat template: name an instruct model as reference (--reference MODEL), or give "
            f"{name_of(writer)} the template of docs/chat.md (tokenizer.chat_template), or write the prompts as text"
        )


def find_reference(named: Model | None, model: Model, reward_model: RewardModel, device: str) -> CausalLM | None:
    """The model named, else the one the reward model was made from; None, and a warning, where that cannot write."""
    if named is not None:
        try:
            return load(named, device)
        except LanguageError as error:
            raise ValueError(f"reference is {named!r}: {error}") from error
    if reward_model.network.causal:
        with contextlib.suppress(LanguageError):  # a classifier, say
            return load(model, device)
    log.warning("the scores stay raw: %s cannot generate text, and no reference is given", name_of(model))
    return None


def sample_texts(
    lm: CausalLM,
    reward_model: RewardModel,
    prompts: Sequence[str],
    n: int,
    max_new_tokens: int,
    seed: int,
    *,
    show: bool = False,
) -> Texts | None:
    """Sample n texts after the prompts, each prompt equally often; None, and a warning, where no prompt has a token."""
    distinct = list(dict.fromkeys(prompts))
    tokens = [ids.tolist() for ids in lm.encode_all(distinct)]
    if not any(tokens):
        log.warning("the scores stay raw: no judgement has a prompt with a token for the reference to continue")
        return None
    room = [0 if not ids else max_new_tokens if lm.context is None else lm.context - len(ids) for ids in tokens]
    fitting = [i for i, free in enumerate(room) if free >= max_new_tokens]
    if not fitting:
        remedy = f"{max(room)} fits one of them, or " if max(room) > 0 else ""
        raise ValueError(
            f"max_new_tokens is {max_new_tokens}, and no prompt leaves room for so many in the {lm.context} positions "
            f"of {lm}: {remedy}pass a reference with more positions"
        )
    sampled = np.resize(np.random.default_rng(seed).permutation(fitting), n).tolist()
    with ProgressBar(n, "reference texts", show=show) as bar:
        bar.print(f"Writing {n} texts of up to {max_new_tokens} tokens with {name_of(lm)}, which set the scores' scale")
        chosen = [tokens[i] for i in sampled]
        texts = generate(
            lm, chosen, max_new_tokens, seed=seed, on_text=lambda done: bar.update(done, f"of {name_of(lm)}")
        )
    responses = [lm.continuation(text.prompt, text.tokens) for text in texts]
    kept = np.flatnonzero(reward_model.readable([distinct[i] for i in sampled], responses)).tolist()
    if len(kept) < 2:
        raise ValueError(
            f"{len(kept)} of {n} texts of {lm} fit the {reward_model.context} positions of the reward model: "
            "lower max_new_tokens, or pass another reference"
        )
    return [distinct[sampled[i]] for i in kept], [responses[i] for i in kept]
