"""Whether the reward models of an environment can read its texts, and what their scores mean: checked when it is made."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator

from ...language import CausalLM
from ...reward_models import Composite, Ensemble, RewardModel
from ...reward_models.composite import function_of
from ...reward_models.text.network import RewardNetwork
from .prompts import Prompts

log = logging.getLogger("textrlhf")
_warned: weakref.WeakSet[RewardNetwork] = weakref.WeakSet()


def check_reward_models(reward_function: object, lm: CausalLM, prompts: Prompts, budget: int) -> None:
    """Raise where the longest text would exceed a reward model's positions; warn once of one that has no scale."""
    for model in _reward_models(reward_function):
        _check_length(model, lm, prompts, budget)
        if not model.normalised and model.network not in _warned:
            _warned.add(model.network)
            log.warning(
                "%s was never normalised: its scores are raw log-odds, against which kl_coef weighs the KL in nats; "
                "for scores of standard deviation 1, call reward_model.normalise(prompts, responses) with texts of the "
                "reference and save it, or train it with train_reward_model",
                model,
            )


def _reward_models(reward_function: object) -> Iterator[RewardModel]:
    if isinstance(reward_function, RewardModel):
        yield reward_function
    elif isinstance(reward_function, Ensemble):
        for model in reward_function.models:
            yield from _reward_models(model)
    elif isinstance(reward_function, Composite):
        for part in reward_function.reward_functions.values():
            yield from _reward_models(function_of(part))


def _check_length(model: RewardModel, lm: CausalLM, prompts: Prompts, budget: int) -> None:
    """Exact where both have one tokenizer; else the prompts are read with the reward model's own."""
    if model.context is None:
        return
    mine, its = lm.tokenizer, model.tokenizer
    same = mine is its or len(mine) == len(its) and mine.get_vocab() == its.get_vocab()
    if model.config.reads == "response":
        longest = 0
    elif same and model.config.reads == "text":
        longest = max(map(len, prompts.tokens))
    else:
        texts = [record.text for record in prompts.records]
        longest = max(len(text.tokens) for text in model.reader.read(texts, [""] * len(texts)))
    most = longest + budget + (model.config.end and same)
    if most > model.context:
        raise ValueError(
            f"the longest text has {most} tokens, {longest} of its prompt and max_new_tokens={budget}, and the reward "
            f"model {model} reads at most {model.context}: lower max_new_tokens, take a reward model with more "
            f'positions, or leave long prompts out with context={model.context}, prompt_overflow="drop"'
        )
