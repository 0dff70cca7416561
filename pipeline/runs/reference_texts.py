"""The scale of a reward model's scores: 0 is the mean of what the reference writes, 1 one deviation above."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...language import CausalLM, LanguageError, generate, load
from ..console.errors import UserError, as_user_error

if TYPE_CHECKING:
    from ...reward_models import RewardModel

SAMPLES = 512  # texts: the deviation is then known to 3 %

Texts = tuple[list[str], list[str]]  # prompts, responses


def find_reference(named: str | None, model: str, reward_model: RewardModel, device: str) -> CausalLM | None:
    """The model whose own texts set the scale: the one named, else the reward model's own where that can write."""
    if named is not None:
        with as_user_error(LanguageError, about="--reference"):
            return load(named, device)
    if not reward_model.network.causal:
        return None
    try:
        return load(model, device)
    except LanguageError:  # a classifier, say
        return None


def reference_texts(
    lm: CausalLM, reward_model: RewardModel, prompts: Sequence[str], max_new_tokens: int, seed: int
) -> Texts | None:
    """Let the reference write after the prompts, each as often as any other; None where no prompt has a token."""
    distinct = list(dict.fromkeys(prompts))
    tokens = [ids.tolist() for ids in lm.encode_all(distinct)]
    if not any(tokens):
        return None
    fitting = [i for i, ids in enumerate(tokens) if ids and (lm.context is None or _room(lm, ids) >= max_new_tokens)]
    if not fitting:
        most = max(_room(lm, ids) for ids in tokens if ids)
        remedy = f"--max-new-tokens {most} fits one of them, " if most > 0 else ""
        raise UserError(
            f"after no prompt of the data have {max_new_tokens} tokens room in the {lm.context} positions of {lm}: "
            f"{remedy}or name a --reference with more positions"
        )
    asked = np.resize(np.random.default_rng(seed).permutation(fitting), SAMPLES).tolist()
    with as_user_error(LanguageError):
        written = generate(lm, [tokens[i] for i in asked], max_new_tokens, seed=seed)
    responses = [lm.continuation(text.prompt, text.tokens) for text in written]
    kept = np.flatnonzero(reward_model.readable([distinct[i] for i in asked], responses)).tolist()
    if len(kept) < 2:
        raise UserError(
            f"of {SAMPLES} texts that {lm} wrote the reward model can read {len(kept)}, within its "
            f"{reward_model.context} positions: "
            "lower --max-new-tokens, or name another --reference"
        )
    return [distinct[asked[i]] for i in kept], [responses[i] for i in kept]


def _room(lm: CausalLM, ids: Sequence[int]) -> int:
    return (lm.context or 0) - len(ids)
