"""The losses of rankings, ties, labels and ratings, one term per judgement."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def plackett_luce(scores: Tensor, margins: Tensor | None = None, lapse: float = 0.0) -> Tensor:
    """−log P of rankings of k, best first: (m, k) to (m,). For k = 2 it is Bradley–Terry's −log σ(first − second).

    The best is chosen among all with probability softmax(scores), then the next among those left, and so on. An
    annotator who lapses (with probability 2·lapse, a term of psychometrics) picks any of them at random. `margins`
    (m,), for pairs, are subtracted from the first score.
    """
    if margins is not None:
        scores = torch.cat([scores[:, :1] - margins[:, None], scores[:, 1:]], 1)
    left = scores.flip(1).logcumsumexp(1).flip(1)  # (m, k) log Σ exp over those not yet chosen
    chosen = (scores - left)[:, :-1]  # (m, k − 1)
    if lapse:
        among = torch.arange(scores.shape[1], 1, -1, dtype=scores.dtype, device=scores.device)
        chosen = torch.logaddexp(chosen + math.log(1 - 2 * lapse), (2 * lapse / among).log())
    return -chosen.sum(1)


def tie(scores: Tensor, lapse: float = 0.0) -> Tensor:  # (m, 2) -> (m,)
    """−½ log P(first) − ½ log P(second): a tie is half a preference either way, so that equal scores are best."""
    return 0.5 * (plackett_luce(scores, lapse=lapse) + plackett_luce(scores.flip(1), lapse=lapse))


def centring(scores: Tensor) -> Tensor:  # (m, k) -> (m,)
    """(2 · mean of a judgement's scores)²; for a pair (first + second)²."""
    return (2 * scores.mean(1)).square()


def logistic(scores: Tensor, good: Tensor, offset: Tensor) -> Tensor:  # (m,) (m,) () -> (m,)
    """−log P of labels, with P(good) = σ(score + offset)."""
    return F.binary_cross_entropy_with_logits(scores + offset, good, reduction="none")


def regression(scores: Tensor, ratings: Tensor, line: Tensor) -> Tensor:  # (m,) (m,) (2,) -> (m,)
    """The squared error of ratings mapped to [−1, 1] against b + exp(a) · score, `line` being (a, b)."""
    return (line[1] + line[0].exp() * scores - ratings).square()
