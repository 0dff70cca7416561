"""`textrlhf write`: continue a prompt with a trained language model, or any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..console.arguments import parse
from ..console.checks import at_least_one, check_device, existing_folder
from ..console.errors import UserError, as_user_error
from ..console.printing import line
from ..runs.reward_run import open_reward_model
from ..runs.run_folder import holds_run


@dataclass
class Options:
    """Continue a prompt with the language model of a run.

    Example:
      textrlhf write "The film was" --run runs/text -n 3
    """

    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """the beginning of the text"""
    run: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/demo"
    """the run whose model to use"""
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """another model instead: a folder, a hub id, or a shipped one by name"""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 1
    """how many texts"""
    max_new_tokens: int | None = None
    """maximum length; by default as many tokens as the model has positions for, and at most 256"""
    temperature: float = 1.0
    """1 samples as in training, less is more deterministic, 0 takes the most likely token"""
    top_k: int | None = None
    """sample from the K most likely tokens only"""
    top_p: float | None = None
    """sample from the most likely tokens with this total probability only"""
    seed: int = 0
    """random seed"""
    reward_model: Annotated[str | None, tyro.conf.arg(metavar="REWARD_MODEL")] = None
    """a reward model to score each text: a run, a folder, a hub id, a shipped one, or your module:function"""
    device: str = "auto"
    """where the model runs: auto, cpu or cuda"""


def write(argv: Sequence[str]) -> None:
    """Run `textrlhf write`."""
    options = parse(Options, argv, "write")
    at_least_one("--n", options.n)
    at_least_one("--max-new-tokens", options.max_new_tokens)
    check_device(options.device)
    name = options.model or _model_of(options.run)

    from ...language import LanguageError, generate, load

    with as_user_error(LanguageError):
        lm = load(name, options.device)
    tokens = lm.encode(options.prompt)
    if not len(tokens):
        raise UserError(f"PROMPT {options.prompt!r} has no tokens: expected at least one")
    if lm.with_unknown_tokens([tokens]):
        raise UserError(f"PROMPT {options.prompt!r} has words that {lm} does not know")
    room = 256 if lm.context is None else min(lm.context - len(tokens), 256)
    if room < 1:
        raise UserError(f"PROMPT has {len(tokens)} tokens, which fill the {lm.context} positions of {lm}: shorten it")
    with as_user_error(ValueError):
        texts = generate(
            lm,
            [tokens.tolist()] * options.n,
            options.max_new_tokens or room,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            seed=options.seed,
        )
    responses = [lm.continuation(text.prompt, text.tokens, options.prompt) for text in texts]
    scores = None
    if options.reward_model is not None:
        from ...reward_models import RewardFunctionError, call_reward

        reward_model = open_reward_model(options.reward_model, options.device)
        with as_user_error(RewardFunctionError):
            scores = call_reward(reward_model, [options.prompt] * options.n, responses)
    for i, response in enumerate(responses):
        line(f"{options.prompt}{response}" + ("" if scores is None else f"  [{scores[i]:+.2f}]"))


def _model_of(run: str) -> Path:
    folder = existing_folder(run) / "model"
    if not folder.is_dir():
        if holds_run(Path(run)):
            raise UserError(
                f"{run} has no language model yet: a run on a text environment writes one when it ends or is "
                f"interrupted; finish it with `textrlhf resume {run}`"
            )
        raise UserError(
            f"{run} has no language model: train one (textrlhf train --env TextRLHF-v0 --run DIR), or name one with "
            "--model"
        )
    return folder
