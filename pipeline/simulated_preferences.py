"""Simulated preferences: a language model's responses, ranked by the task's true score with label noise."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ..envs.text.task import Prompt, Scores, Task
from ..language import CausalLM, generate
from ..reward_models.feedback import Ranked, SimulatedAnnotator

ROUNDS = 1000  # seeds per call


def gold(task: Task, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
    """The task's true score of each response."""
    return task.measure([Prompt(prompt) for prompt in prompts], responses)["gold"]


def write(task: Task, lm: CausalLM, prompts: Sequence[str], k: int, seed: int) -> list[list[str]]:
    """Sample k responses of the model to each prompt."""
    ids = [tokens for tokens in lm.encode_all(prompts) for _ in range(k)]
    texts = generate(lm, [row.tolist() for row in ids], task.max_new_tokens, seed=seed, slots=256)
    responses = [lm.continuation(text.prompt, text.tokens) for text in texts]
    return [responses[at : at + k] for at in range(0, len(responses), k)]


def simulated_rankings(
    task: Task, lm: CausalLM, prompts: Sequence[str], n: int, *, k: int = 2, error_rate: float = 0.0, seed: int = 0
) -> list[Ranked[str]]:
    """`n` rankings of up to k responses, best first, over the prompts in order and as often as needed.

    True neighbours are swapped with probability `error_rate`. Responses that tie in the true score are left out.
    """
    found: list[Ranked[str]] = []
    for round_ in itertools.count():
        annotator = SimulatedAnnotator(lambda p, r: gold(task, p, r), error_rate, ROUNDS * seed + round_)
        wanted = prompts[: max(2 * (n - len(found)), 64)]
        responses = write(task, lm, wanted, k, ROUNDS * seed + round_)
        ranked = annotator.rank(wanted, [[text for text in some if text.strip()] for some in responses])
        found += ranked
        if len(found) >= n:
            return found[:n]
        if not ranked:
            raise ValueError(
                f"the responses to {wanted[0]!r} and {len(wanted) - 1} more prompts all tie: there is nothing to rank"
            )
    raise AssertionError("unreachable")
