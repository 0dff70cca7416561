"""Sampling of tokens, with the log-probability of each under the distribution it was drawn from."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def inverse_cdf(log_probs: Tensor, uniform: Tensor) -> Tensor:  # (M, V), (M,) in [0, 1) -> (M,)
    """The first option whose cumulative probability exceeds `uniform`.

    Ten times faster than `torch.multinomial` over a vocabulary, which draws a number for each option.
    """
    cdf = log_probs.exp().cumsum(-1)
    total = cdf[:, -1:]
    point = torch.minimum(uniform[:, None].to(cdf) * total, torch.nextafter(total, torch.zeros_like(total)))
    # The point lies below the total, and right=True passes over options of no mass.
    index = torch.searchsorted(cdf, point, right=True)[:, 0]
    if cdf.device.type == "cpu":
        return index
    # On a GPU sums are made in parallel, and rounding may leave a step where no mass is: take the likeliest instead.
    none = log_probs.gather(1, index.clamp(max=cdf.shape[1] - 1)[:, None])[:, 0] == -torch.inf
    return torch.where(none | (index >= cdf.shape[1]), log_probs.argmax(-1), index)


def sample(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    allowed: Tensor | None = None,
    uniform: Tensor | None = None,
    generator: torch.Generator | None = None,
    check: bool = True,
) -> tuple[Tensor, Tensor]:
    """Draw one token a row of `logits` (M, V); return tokens and their log-probabilities, both (M,).

    Raises ValueError for a row that is no distribution; with `check=False` its log-probability is not finite, and
    nothing waits for a GPU: whoever copies it to the host calls `check_drawn` there.

    Temperature 0 takes the likeliest token. The log-probabilities are those of what was sampled: at that temperature,
    over the `allowed` (bool, (M, V) or (V,)) and kept tokens only. `uniform` (M,), where given, are the random
    numbers to use.
    """
    check_sampling(temperature, top_k, top_p)
    logits = logits.float()
    if allowed is not None:
        logits = logits.masked_fill(~allowed, -torch.inf)
    if temperature == 0:
        best, tokens = logits.max(-1)
        chosen = best - best  # 0, but NaN where it is no number
    else:
        if temperature != 1:
            logits = logits / temperature
        log_probs = keep(logits.log_softmax(-1), top_k, top_p)
        if uniform is None:
            uniform = torch.rand(len(logits), generator=generator, device=logits.device)
        tokens = inverse_cdf(log_probs, uniform).clamp(max=logits.shape[1] - 1)
        chosen = log_probs.gather(1, tokens[:, None])[:, 0]
    if check:
        check_drawn(chosen.detach().cpu().numpy())
    return tokens, chosen


draw = functools.partial(sample, check=False)  # for whoever calls `check_drawn` later


def check_drawn(logprobs: NDArray[np.float32]) -> None:  # (M,)
    """Raise ValueError for the first log-probability that is not finite: what was drawn from was no distribution."""
    if not (sane := np.isfinite(logprobs)).all():
        raise ValueError(
            f"row {int(sane.argmin())} of the logits is no distribution: it has a NaN or an infinity, or none "
            "of its tokens is allowed"
        )


def keep(log_probs: Tensor, top_k: int | None, top_p: float | None) -> Tensor:
    """Only the `top_k` likeliest tokens, or the fewest whose mass reaches `top_p`, normalised again."""
    if top_k is not None and top_k < log_probs.shape[1]:
        least = log_probs.topk(top_k).values[:, -1:]
        log_probs = log_probs.masked_fill(log_probs < least, -torch.inf).log_softmax(-1)
    if top_p is not None and top_p < 1:
        ordered, order = log_probs.sort(descending=True)
        before = ordered.exp().cumsum(-1) - ordered.exp()  # the mass of all more likely ones
        dropped = (before >= top_p).scatter(1, order, before >= top_p)
        log_probs = log_probs.masked_fill(dropped, -torch.inf).log_softmax(-1)
    return log_probs


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raise ValueError for settings that make no distribution."""
    if not 0 <= temperature < float("inf"):
        raise ValueError(
            f"temperature is {temperature!r}: expected a number of at least 0 (0 is greedy, 1 the model's)"
        )
    if top_k is not None and not (isinstance(top_k, int) and top_k >= 1):
        raise ValueError(f"top_k is {top_k!r}: expected a count of at least 1, or None for all tokens")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p!r}: expected a share in (0, 1], or None for all tokens")
