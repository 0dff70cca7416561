"""`textrlhf write`: continue a prompt with a trained language model, or any other."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from ..console.arguments import parse
from ..console.checks import at_least_one, check_device
from ..console.errors import UserError, as_user_error
from ..console.printing import line
from ..runs.language_model import language_model_of
from ..runs.reward_run import open_reward_model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...language import CausalLM

MESSAGES = '[{"role": "user", "content": "…"}], or {"messages": […]}'


@dataclass
class Options:
    """Continue a prompt with the language model of a run.

    Example:
      textrlhf write "The film was" --run runs/text -n 3
    """

    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """the beginning of the text; with --chat what the user says, messages as JSON, or - for one of these a line of
    standard input"""
    chat: bool = False
    """answer PROMPT through the model's chat template, and print the answer alone"""
    system: str | None = None
    """with --chat, the system message of a conversation that has none"""
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
    if options.system is not None and not options.chat:
        raise UserError("--system is the system message of a chat: give --chat too")
    name = options.model or language_model_of(options.run)

    from ...language import LanguageError, generate, load

    with as_user_error(LanguageError):
        lm = load(name, options.device)
    prompts = _chats(lm, options) if options.chat else [options.prompt]
    tokens = lm.encode_all(prompts)
    for prompt, ids in zip(prompts, tokens, strict=True):
        _check_prompt(lm, prompt, ids)
    longest = max(map(len, tokens))
    room = 256 if lm.context is None else min(lm.context - longest, 256)
    if room < 1:
        raise UserError(f"PROMPT has {longest} tokens, which fill the {lm.context} positions of {lm}: shorten it")
    with as_user_error(ValueError):
        texts = generate(
            lm,
            [ids.tolist() for ids in tokens for _ in range(options.n)],
            options.max_new_tokens or room,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            seed=options.seed,
        )
    asked = [prompt for prompt in prompts for _ in range(options.n)]
    decoded = [prompt if not options.chat else lm.decode(ids) for prompt, ids in zip(prompts, tokens, strict=True)]
    before = [text for text in decoded for _ in range(options.n)]
    responses = [lm.continuation(one.prompt, one.tokens, text) for one, text in zip(texts, before, strict=True)]
    scores = None
    if options.reward_model is not None:
        from ...reward_models import RewardFunctionError, call_reward

        reward_model = open_reward_model(options.reward_model, options.device)
        with as_user_error(RewardFunctionError):
            scores = call_reward(reward_model, asked, responses)
    for i, response in enumerate(responses):
        if len(prompts) > 1 and i % options.n == 0:
            line(f"> {asked[i].messages[-1]['content']}", "dim")  # type: ignore[attr-defined]  # a Conversation
        text = response.strip() if options.chat else f"{asked[i]}{response}"
        line(text + ("" if scores is None else f"  [{scores[i]:+.2f}]"))


def _check_prompt(lm: CausalLM, prompt: str, ids: NDArray[np.int64]) -> None:
    if not len(ids):
        raise UserError(f"PROMPT {prompt!r} has no tokens: expected at least one")
    if lm.with_unknown_tokens([ids]):
        raise UserError(f"PROMPT {prompt!r} has words that {lm} does not know")


def _chats(lm: CausalLM, options: Options) -> list[str]:
    """PROMPT, or each line of standard input, as a conversation that the model's template writes."""
    from ...envs.text.conversations import conversation
    from ...envs.text.data import parse_prompt
    from ...language import ChatTemplateError
    from ...records.jsonl import DataError, parse_jsonl

    lines = [one for one in (sys.stdin if options.prompt == "-" else [options.prompt]) if one.strip()]
    if not lines:
        raise UserError("PROMPT is - and standard input has no lines: expected one prompt a line")
    where = "standard input" if options.prompt == "-" else "PROMPT"
    chats: list[str] = []
    with as_user_error(ChatTemplateError, DataError):
        for number, text in enumerate(lines, 1):
            place, row = f"{where}, line {number}", text.strip()
            rows: list[tuple[str, object]] = [(place, row)]
            if row.startswith(("[{", "{")):
                rows = parse_jsonl([row], place, MESSAGES)
            prompt, _ = parse_prompt(place, rows[0][1])
            chats.append(lm.chat.prompt(conversation(prompt.text, options.system)))
    return chats
