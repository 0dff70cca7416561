"""Best of n: sample n texts for each prompt and keep the one with the highest score. A baseline for every policy.

best_of        sample, score, keep the best
best_of_kl     an upper bound on the KL of best-of-n from the sampling model
expected_best  from N sampled scores, the expected value of the best of any n ≤ N of them
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..language import CausalLM, generate, load
from ..records.checks import count
from .lengths import check_lengths
from .reward_function import RewardFunction, call_reward

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Best:
    """The best response to a prompt (the first of equal scores), and all responses with their scores."""

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
    """Sample `n` texts for each prompt and keep the one with the highest score.

    The texts of a prompt depend on `seed`, `n` and the prompt's index alone: appending prompts leaves the others'
    texts unchanged.
    """
    count("n", n)
    if not callable(reward_function):
        raise TypeError(f"reward_function is {reward_function!r}: expected a callable (prompts, responses) -> scores")
    if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
        raise TypeError(f"prompts is {prompts!r:.80}: expected a list of strings")
    if not len(prompts):
        return []
    lm = load(model)
    tokens = lm.encode_all(prompts)
    for i, ids in enumerate(tokens):
        if not len(ids):
            raise ValueError(f"prompts[{i}] is {prompts[i]!r}, which has no tokens: expected at least one")
        if lm.context is not None and len(ids) + max_new_tokens > lm.context:
            raise ValueError(
                f"prompts[{i}] has {len(ids)} tokens, which with max_new_tokens={max_new_tokens} exceeds the "
                f"{lm.context} positions of {lm}: shorten the prompt or lower max_new_tokens"
            )
    check_lengths(reward_function, lm, prompts, tokens, max_new_tokens)
    rows = np.repeat(np.arange(len(prompts)), n).tolist()  # the prompt of each text
    sampled = [tokens[i].tolist() for i in rows]
    texts = generate(lm, sampled, max_new_tokens, temperature=temperature, seed=seed, slots=slots)
    decoded = [lm.decode(ids) for ids in tokens]
    responses = [lm.continuation(text.prompt, text.tokens, decoded[i]) for i, text in zip(rows, texts, strict=True)]
    flat = call_reward(reward_function, [prompts[i] for i in rows], responses, "reward_function")
    found = []
    for i, scores in enumerate(flat.reshape(-1, n)):
        first, pick = i * n, int(scores.argmax())
        best, reason = responses[first + pick], texts[first + pick].finish_reason
        every = tuple(responses[first : first + n]), tuple(scores.tolist())
        found.append(Best(prompts[i], best, float(scores[pick]), reason, *every))
    return found


def best_of_kl(n: int) -> float:
    """KL of best-of-n from the sampling model, in nats: log n − (n − 1) / n.

    Exact where no two sampled texts tie, otherwise an upper bound (Beirami et al. 2024): where few texts are likely,
    the same one is sampled twice and the true KL is lower.
    """
    count("n", n)
    return math.log(n) - (n - 1) / n


def expected_best(scores: ArrayLike, values: ArrayLike | None = None, *, n: int | Sequence[int]) -> Floats:
    """The expected value of the best of `n` texts, from the `scores` of N ≥ n texts per prompt: the mean over subsets.

    The estimate is unbiased, and one set of samples serves every n up to N. `scores`, (N,) or (P, N), choose the best
    text; `values`, of the same shape and by default the scores, are what it is worth. Equal scores are equally likely
    to be the best. For several `n` the last axis is theirs: (P,) or (P, len(n)).
    """
    ranking = np.asarray(scores, np.float64)
    worth = ranking if values is None else np.asarray(values, np.float64)
    if ranking.ndim not in (1, 2) or not ranking.size:
        raise ValueError(f"scores has the shape {ranking.shape}: expected (N,) or (P, N), not empty")
    if worth.shape != ranking.shape:
        raise ValueError(f"values has the shape {worth.shape}: expected {ranking.shape}, the shape of scores")
    for name, array in (("scores", ranking), ("values", worth)):
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds {array[~np.isfinite(array)][0]}: expected finite numbers")
    sizes, total = np.asarray(n), ranking.shape[-1]
    if sizes.dtype.kind not in "iu" or sizes.ndim > 1 or not sizes.size or sizes.min() < 1 or sizes.max() > total:
        raise ValueError(f"n is {n!r}: expected integers from 1 to {total}, the scores of a prompt; sample more texts")
    by_rank = _by_rank(np.atleast_2d(ranking), np.atleast_2d(worth)).reshape(worth.shape)
    return np.asarray(by_rank @ _rank_probabilities(total, sizes))


def _by_rank(scores: Floats, values: Floats) -> Floats:  # (P, N), (P, N) -> (P, N)
    """Values ordered from the lowest score to the highest; tied scores share the mean of their values."""
    order = scores.argsort(1)
    ordered = np.take_along_axis(scores, order, 1)
    new = np.ones(scores.shape, np.bool_)  # whether a score differs from the one before it
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    group = new.ravel().cumsum() - 1  # (P · N,)
    means = np.bincount(group, np.take_along_axis(values, order, 1).ravel()) / np.bincount(group)
    means_by_rank: Floats = means[group].reshape(scores.shape)
    return means_by_rank


def _rank_probabilities(total: int, n: NDArray[np.integer]) -> Floats:  # () or (K,) -> (N,) or (N, K)
    """P(the text of a rank is the best of `n` chosen from all): C(rank − 1, n − 1) / C(total, n).

    Computed from the highest rank, where it is n / total, downwards, so that no binomial can overflow.
    """
    ranks = np.arange(total, 1, -1).reshape(-1, *[1] * n.ndim)
    below = np.maximum(ranks - n, 0) / (ranks - 1)  # the probability of rank − 1 relative to rank
    highest = np.broadcast_to(n / total, (1, *n.shape))
    probabilities: Floats = np.concatenate([highest, below]).cumprod(0)[::-1]
    return probabilities
