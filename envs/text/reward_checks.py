"""Checked when an environment is made: its reward models can read its texts, and mean something by their scores."""

from __future__ import annotations

import logging
import weakref

from ...language import CausalLM
from ...reward_models.lengths import check_lengths, reward_models_in
from ...reward_models.text.network import RewardNetwork
from .prompts import Prompts

log = logging.getLogger("textrlhf")
_warned: weakref.WeakSet[RewardNetwork] = weakref.WeakSet()  # of scores without a scale
_warned_of_credit: weakref.WeakSet[RewardNetwork] = weakref.WeakSet()


def check_reward_models(reward_function: object, lm: CausalLM, prompts: Prompts, budget: int) -> None:
    """Raise where a text could exceed a reward model's positions; warn once of no scale, or a strange template."""
    texts = [record.text for record in prompts.records]
    more = ', or leave long prompts out with context={}, prompt_overflow="drop"'
    check_lengths(reward_function, lm, texts, prompts.tokens, budget, more)
    for model in reward_models_in(reward_function):
        model.check_template(texts)
        if not model.normalised and model.network not in _warned:
            _warned.add(model.network)
            log.warning(
                "%s was never normalised: its scores are raw log-odds, against which kl_coef weighs the KL in nats; "
                "for scores of standard deviation 1, call reward_model.normalise(prompts, responses) with texts of the "
                "reference and save it, or train it with train_reward_model",
                model,
            )


def check_credit(reward_function: object) -> None:
    """Warn once of `credit="token"` with heads that were never trained to read beginnings."""
    for model in reward_models_in(reward_function):
        if model.config.head == "last" and model.network not in _warned_of_credit:
            _warned_of_credit.add(model.network)
            log.warning(
                '%s reads a text at its last token, and was trained on whole texts: with credit="token" learning was '
                'slower than with "end" where it was measured; a reward model with head="tokens" makes it faster',
                model,
            )
