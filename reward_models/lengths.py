"""Whether the reward models in a reward function have positions enough, checked before texts are generated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..language import CausalLM, Conversation
from ..language.tokenization import Ids
from .composite import Composite, function_of
from .ensemble import Ensemble
from .text.reward_model import RewardModel


def reward_models_in(reward_function: object) -> Iterator[RewardModel]:
    """The learned reward models that a reward function is made of."""
    if isinstance(reward_function, RewardModel):
        yield reward_function
    elif isinstance(reward_function, Ensemble):
        for model in reward_function.models:
            yield from reward_models_in(model)
    elif isinstance(reward_function, Composite):
        for part in reward_function.reward_functions.values():
            yield from reward_models_in(function_of(part))


def check_lengths(
    reward_function: object, lm: CausalLM, prompts: Sequence[str], tokens: Sequence[Ids], budget: int, more: str = ""
) -> None:
    """Raise ValueError if a prompt and `budget` tokens exceed a reward model's positions.

    Exact where it has the tokenizer of `lm`, which made `tokens` of the prompts; else it reads the prompts with its
    own. `more` is a further remedy, in which {} is the number of its positions.
    """
    for model in reward_models_in(reward_function):
        if model.context is None:
            continue
        mine, its = lm.tokenizer, model.tokenizer
        same = mine is its or (len(mine) == len(its) and mine.get_vocab() == its.get_vocab())
        if model.config.reads == "response":
            longest = 0
        elif same and model.config.reads == "text" and not any(isinstance(prompt, Conversation) for prompt in prompts):
            longest = max(map(len, tokens))
        else:
            longest = max(len(text.tokens) for text in model.reader.read(prompts, [""] * len(prompts)))
        most = longest + budget + (model.config.end and same)
        if most > model.context:
            raise ValueError(
                f"the longest text has {most} tokens, {longest} of its prompt and max_new_tokens={budget}, and the "
                f"reward model {model} reads at most {model.context}: lower max_new_tokens, shorten the prompts or "
                f"take a reward model with more positions{more.format(model.context)}"
            )
