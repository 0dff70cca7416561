"""`textrlhf write`: let a model that was taught, or any other, go on from a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..console.arguments import parse
from ..console.checks import at_least_one, check_device
from ..console.errors import UserError, as_user_error
from ..console.printing import line
from ..runs.run_folder import existing


@dataclass
class Options:
    """Write on from a prompt with the language model of a run.

    Example:
      textrlhf write "The film was" --run runs/text -n 3
    """

    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """what the text begins with"""
    run: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/demo"
    """the run whose model writes"""
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """another model instead: a folder, a hub id, or a shipped one by name"""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 1
    """how many texts"""
    max_new_tokens: int | None = None
    """at most so many tokens each; by default as many as the model has room for, and no more than 256"""
    temperature: float = 1.0
    """1 draws as in training, less is bolder, 0 takes the likeliest token"""
    top_k: int | None = None
    """draw from the K likeliest tokens only"""
    top_p: float | None = None
    """draw from the likeliest tokens that make up this share of the probability only"""
    seed: int = 0
    """which texts"""
    reward_model: Annotated[str | None, tyro.conf.arg(metavar="MODEL_FOLDER")] = None
    """a reward model that scores each text: a run, a folder, a hub id, or a shipped one by name"""
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
    from .reward.main import open_reward_model

    with as_user_error(LanguageError):
        lm = load(name, options.device)
    tokens = lm.encode(options.prompt)
    if not len(tokens):
        raise UserError(f"PROMPT {options.prompt!r} has no tokens: a model needs at least one to go on from")
    if lm.with_unknown_tokens([tokens]):
        raise UserError(f"PROMPT {options.prompt!r} holds words that {lm} does not know")
    room = 256 if lm.context is None else min(lm.context - len(tokens), 256)
    if room < 1:
        raise UserError(f"PROMPT has {len(tokens)} tokens, all that {lm} has positions for: shorten it")
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
        from ...reward_models import call_reward

        scores = call_reward(
            open_reward_model(options.reward_model, options.device), [options.prompt] * options.n, responses
        )
    for i, response in enumerate(responses):
        line(f"{options.prompt}{response}" + ("" if scores is None else f"  [{scores[i]:+.2f}]"))


def _model_of(run: str) -> Path:
    folder = existing(run) / "model"
    if not folder.is_dir():
        raise UserError(
            f"{run} keeps no language model: it is there from the first checkpoint of a run on a text environment "
            "(textrlhf train --env TextRLHF-v0 --run DIR); or name a model with --model"
        )
    return folder
