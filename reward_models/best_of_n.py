"""Best of n: write n texts for each prompt and keep the one a reward function likes best. The baseline of every policy.

best_of        writes, asks the reward function, keeps the best
best_of_kl     how far that strays from the model that wrote
expected_best  from N sampled scores, what the best of any n ≤ N of them is worth
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..language import CausalLM, generate, load
from .reward_function import RewardFunction, call_reward

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Best:
    """The best response to a prompt, and all that were written; of equal scores the first."""

    prompt: str
    response: str
    score: float
    finish_reason: str  # "eos" or "length"
    responses: tuple[str, ...]
    scores: tuple[float, ...]


def best_of(
    n: int,
    model: CausalLM | str | os.PathLike[str],
    reward_function: RewardFunction,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    seed: int = 0,
    temperature: float = 1.0,
    slots: int = 64,
) -> list[Best]:
    """Write `n` texts for each prompt and keep the one with the highest score.

    The texts of a prompt depend on `seed`, `n` and its place alone: more prompts at the end change nothing before.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n is {n!r}: expected a whole number of at least 1, the texts to choose from")
    if not callable(reward_function):
        raise TypeError(f"reward function is {reward_function!r}: expected a callable (prompts, responses) -> scores")
    if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
        raise TypeError(f"prompts is {prompts!r:.80}: expected a list of strings")
    if not len(prompts):
        return []
    lm = load(model)
    tokens = lm.encode_all(prompts)
    for i, ids in enumerate(tokens):
        if not len(ids):
            raise ValueError(f"prompts[{i}] is {prompts[i]!r}, which has no tokens: a model needs one to go on from")
        if lm.context is not None and len(ids) + max_new_tokens > lm.context:
            raise ValueError(
                f"prompts[{i}] has {len(ids)} tokens, which with max_new_tokens={max_new_tokens} exceeds the "
                f"{lm.context} positions of {lm}: shorten the prompt or ask for fewer tokens"
            )
    asked = [i for i in range(len(prompts)) for _ in range(n)]
    texts = generate(
        lm, [tokens[i].tolist() for i in asked], max_new_tokens, temperature=temperature, seed=seed, slots=slots
    )
    known = [lm.decode(ids) for ids in tokens]
    responses = [lm.continuation(text.prompt, text.tokens, known[i]) for i, text in zip(asked, texts, strict=True)]
    scores = call_reward(reward_function, [prompts[i] for i in asked], responses, "reward_function").reshape(
        -1, n
    )  # (P, n)
    found = []
    for i, prompt in enumerate(prompts):
        first, pick = i * n, int(scores[i].argmax())
        found.append(
            Best(
                prompt=prompt,
                response=responses[first + pick],
                score=float(scores[i, pick]),
                finish_reason=texts[first + pick].finish_reason,
                responses=tuple(responses[first : first + n]),
                scores=tuple(scores[i].tolist()),
            )
        )
    return found


def best_of_kl(n: int) -> float:
    """KL of best-of-n from the model that wrote, in nats: log n − (n − 1) / n.

    Exact where no two of the texts drawn ever tie, and otherwise an upper bound (Beirami et al. 2024): with few texts
    that are likely, as short or greedy ones are, the same one is drawn twice, and best-of-n strays less than this.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n is {n!r}: expected a whole number of at least 1")
    return math.log(n) - (n - 1) / n


def expected_best(scores: ArrayLike, values: ArrayLike | None = None, *, n: int | Sequence[int]) -> Floats:
    """What the best of `n` texts is worth, from the `scores` of N ≥ n texts a prompt: the mean over all choices of n.

    That is unbiased, and needs one set of samples for every n up to N. `scores` (N,) or (P, N) choose the best, and
    `values` of the same shape, by default the scores, say what it is worth. Of equal scores each is as likely to be
    the best. With several `n` the last axis is theirs: (P,) or (P, len(n)).
    """
    judged_as = np.asarray(scores, np.float64)
    worth = judged_as if values is None else np.asarray(values, np.float64)
    if judged_as.ndim not in (1, 2) or not judged_as.size:
        raise ValueError(f"scores has the shape {judged_as.shape}: expected (N,) or (P, N), none of them 0")
    if worth.shape != judged_as.shape:
        raise ValueError(f"values has the shape {worth.shape}: expected {judged_as.shape}, as scores has it")
    for name, array in (("scores", judged_as), ("values", worth)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds {array[~np.isfinite(array)][0]}: expected finite numbers")
    many, total = np.asarray(n), judged_as.shape[-1]
    if many.dtype.kind not in "iu" or many.ndim > 1 or not many.size or many.min() < 1 or many.max() > total:
        raise ValueError(
            f"n is {n!r}: expected whole numbers from 1 to {total}, the texts a prompt has scores of; sample more"
        )
    return np.asarray(
        _by_rank(np.atleast_2d(judged_as), np.atleast_2d(worth)).reshape(worth.shape) @ _odds(total, many)
    )


def _by_rank(scores: Floats, values: Floats) -> Floats:  # (P, N), (P, N) -> (P, N)
    """Values from the lowest score to the highest; where scores are equal, their mean in the place of each."""
    order = scores.argsort(1)
    ordered = np.take_along_axis(scores, order, 1)
    new = np.ones(scores.shape, np.bool_)  # whether a score differs from the one before it
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = new.ravel().cumsum() - 1  # (P · N,)
    means = np.bincount(group, np.take_along_axis(values, order, 1).ravel()) / np.bincount(group)
    means_by_rank: Floats = means[group].reshape(scores.shape)
    return means_by_rank


def _odds(total: int, n: NDArray[np.integer]) -> Floats:  # () or (K,) -> (N,) or (N, K)
    """How likely the text of each rank is the best of `n` chosen from all: C(rank − 1, n − 1) / C(total, n).

    From the highest rank, where it is n / total, downwards: no binomial is formed that could overflow.
    """
    ranks = np.arange(total, 1, -1).reshape(-1, *[1] * n.ndim)
    below = np.maximum(ranks - n, 0) / (ranks - 1)  # the odds of rank − 1 to those of rank
    highest = np.broadcast_to(n / total, (1, *n.shape))
    odds: Floats = np.concatenate([highest, below]).cumprod(0)[::-1]
    return odds
