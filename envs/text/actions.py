"""Checks of what callers pass to `step` and `reset`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...reward_models.reward_function import on_host


def checked_actions(
    actions: NDArray[Any], n: int, vocab_size: int, ignore: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """One token id per environment; those of the environments to `ignore` may be anything."""
    if actions.shape != (n,):
        raise ValueError(f"action has the shape {actions.shape}: expected ({n},), one token id per environment")
    if actions.dtype.kind not in "iu":
        raise ValueError(f"action has the dtype {actions.dtype}: expected integers, token ids")
    if ignore is not None and ignore.any():
        actions = np.where(ignore, 0, actions)
    if not (actions.min() >= 0 and actions.max() < vocab_size):
        wrong = int(np.flatnonzero((actions < 0) | (actions >= vocab_size))[0])
        raise ValueError(
            f"action is {int(actions[wrong])} in environment {wrong}: expected a token id from 0 to {vocab_size - 1}"
        )
    return actions.astype(np.int64)


def checked_logprobs(logprobs: Any, n: int, ignore: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """The log-probabilities that the agent set; 0 if it set none, as for a deterministic policy."""
    if logprobs is None:
        return np.zeros(n)
    given = np.asarray(on_host(logprobs), np.float64)
    if given.shape != (n,):
        raise ValueError(f"policy_logprob has the shape {given.shape}: expected ({n},), one number per environment")
    if ignore is not None and ignore.any():
        given = np.where(ignore, 0.0, given)
    if (bad := ~np.isfinite(given) | (given > 1e-4)).any():
        wrong = int(np.flatnonzero(bad)[0])
        raise ValueError(
            f"policy_logprob is {given[wrong]} in environment {wrong}: expected a finite log-probability, at most 0"
        )
    return given


def checked_seeds(seed: int | Sequence[int | None] | None, n: int) -> list[int | None] | None:
    """One seed per environment: `seed + i` of a single number."""
    if seed is None:
        return None
    if isinstance(seed, int | np.integer):
        return [int(seed) + i for i in range(n)]
    if len(seed) != n:
        raise ValueError(f"seed has {len(seed)} entries: expected one number, or {n}, one per environment")
    return [None if one is None else int(one) for one in seed]


def prompt_indices(options: dict[str, Any] | None, n: int, n_prompts: int) -> list[int] | None:
    """The prompts chosen by `reset(options={"prompt": …})`, one for each environment that is reset."""
    if not options or options.get("prompt") is None:
        return None
    chosen = np.atleast_1d(np.asarray(options["prompt"]))
    if chosen.shape != (n,) or chosen.dtype.kind not in "iu" or not (chosen.min() >= 0 and chosen.max() < n_prompts):
        raise ValueError(f"options['prompt'] is {options['prompt']!r}: expected {n} indices from 0 to {n_prompts - 1}")
    found: list[int] = chosen.tolist()
    return found
