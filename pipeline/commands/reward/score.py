"""`textrlhf reward score`: score texts with a reward model."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.text import Text

from ....language.conversation import WHOLE, Conversation
from ....records.jsonl import DataError, parse_jsonl, shortened, write_jsonl
from ....records.rows import read_rows
from ....reward_models.feedback.fields import dialogues, is_chat
from ....reward_models.feedback.schemas.own import OWN
from ...console.arguments import parse
from ...console.checks import existing_file
from ...console.errors import UserError, as_user_error
from ...console.printing import console, key_values, line
from ...runs.reward_run import open_reward_model

EXPECTED = 'rows with "prompt" and "response" (or "completion"), texts or chat messages, or with "messages"'
JUDGED = frozenset(field for schema in OWN for field in schema.values)  # stay what they are beside the texts
SHOWN = 5  # tokens that raise, and that lower, the score

Row = dict[str, Any]


@dataclass
class Options:
    """Score one text given by options, or the texts of a file.

    Example:
      textrlhf reward score runs/my-reward-model --prompt 'The film was' --response ' wonderful.'

    The rows of a file are printed with a "score" added:
      textrlhf reward score runs/my-reward-model texts.jsonl --out scored.jsonl

    Chat messages are read by the reward model's own chat template:
      textrlhf reward score runs/my-reward-model --prompt '[{"role": "user", "content": "Hi"}]' --response 'Hello.'
    """

    reward_model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="REWARD_MODEL")]
    """a reward model's run, a saved one, a shipped one, any sequence classifier (a folder or hub id), or a function of
    yours, module:function"""
    file: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")] = None
    """rows with "prompt" and "response" (or "completion"), texts or chat messages, or with whole conversations as
    "messages": a .jsonl, .json, .csv, .tsv or .parquet file, or - for JSONL on standard input"""
    prompt: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """the prompt of one text, or messages as JSON"""
    response: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    """the response of one text, or messages as JSON"""
    out: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """write the rows there instead of printing them"""
    device: str = "auto"
    """where the reward model runs: auto, cpu or cuda"""


def score(argv: Sequence[str]) -> None:
    """Run `textrlhf reward score`."""
    options = parse(Options, argv, "reward score")
    one = options.prompt is not None and options.response is not None
    if one == (options.file is not None) or (options.prompt is None) != (options.response is None):
        raise UserError("score takes either a FILE of texts (- for standard input), or --prompt and --response")
    if one:
        if options.out is not None:
            raise UserError("--out is for the rows of a FILE: leave it out")
        prompt, response = _one(str(options.prompt), str(options.response))
        _score_one(open_reward_model(options.reward_model, options.device), prompt, response)
        return
    if options.out is not None and Path(options.out).is_dir():
        raise UserError(f"--out {options.out} is a folder: name a file")
    with as_user_error(DataError):
        rows, texts = _read(str(options.file))
    reward_model = open_reward_model(options.reward_model, options.device)
    scores = _scores(reward_model, [prompt for prompt, _ in texts], [response for _, response in texts])
    scored = [{**row, "score": float(score)} for row, score in zip(rows, scores, strict=True)]
    if options.out is not None:
        with as_user_error(DataError):
            write_jsonl(options.out, scored)
    else:
        for row in scored:
            print(json.dumps(row, ensure_ascii=False))


def _scores(reward_model: Any, prompts: Sequence[str], responses: Sequence[str]) -> Any:
    from ....reward_models import RewardFunctionError, call_reward

    with as_user_error(RewardFunctionError):
        return call_reward(reward_model, prompts, responses, "the reward model")


def _read(file: str) -> tuple[list[Row], list[tuple[str, str]]]:
    """The rows of a file, and each one's prompt and response."""
    if file == "-":
        numbered = parse_jsonl(sys.stdin, "standard input", EXPECTED)
    else:
        numbered = read_rows(existing_file(file, EXPECTED), "FILE", EXPECTED, JUDGED)
    if not numbered:
        raise DataError(f"{file} holds no texts: expected {EXPECTED}")
    rows = [_checked(place, row) for place, row in numbered]
    return rows, [_texts(place, row) for (place, _), row in zip(numbered, rows, strict=True)]


def _checked(place: str, row: object) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"{place}: saw {shortened(row)}, expected {EXPECTED}")
    return row


def _texts(place: str, row: Row) -> tuple[str, str]:
    """The prompt and the response of a row, as `Conversation`s where they are chat messages."""
    key = "completion" if row.get("response") is None else "response"
    if row.get(key) is None and row.get("prompt") is None:
        key = next((chat for chat in WHOLE if row.get(chat) is not None), key)
    if row.get(key) is None:
        raise DataError(f'{place}: "response" is missing: expected {EXPECTED}')
    if row.get("prompt") is None and not is_chat(row[key]):
        raise DataError(f'{place}: "prompt" is missing: expected {EXPECTED}')
    prompt, (response,) = dialogues(place, row.get("prompt"), {key: row[key]})
    return prompt, response


def _one(prompt: str, response: str) -> tuple[str, str]:
    """The texts of the command line, which may be messages as JSON."""
    with as_user_error(DataError):
        given = {"prompt": _messages_or_text("--prompt", prompt), "response": _messages_or_text("--response", response)}
        return _texts("the command line", given)


def _messages_or_text(flag: str, given: str) -> object:
    if not given.lstrip().startswith(("[", "{")):
        return given
    try:
        value = json.loads(given)
    except (ValueError, RecursionError) as error:
        if given.lstrip().startswith(("[{", "{")) and "role" in given and "content" in given:
            raise DataError(
                f"{flag} looks like chat messages, and is not JSON ({error}): expected "
                """'[{"role": "user", "content": "…"}]', with double quotes inside"""
            ) from None
        return given
    return value if is_chat(value) else given


def _score_one(reward_model: Any, prompt: str, response: str) -> None:
    (found,) = _scores(reward_model, [prompt], [response])
    key_values([("Score", f"{found:+.3f}")])
    tokens = reward_model.explain(prompt, response) if hasattr(reward_model, "explain") else []
    if not tokens:
        return
    largest = max(abs(value) for _, value in tokens) or 1.0
    line()
    before = f"{prompt}\n\nAssistant: " if isinstance(prompt, Conversation) else prompt
    console.print(Text.assemble((before, "dim"), *(_coloured(token, value, largest) for token, value in tokens)))
    line()
    for name, sign in (("Raised by", 1), ("Lowered by", -1)):
        some = sorted((token for token in tokens if sign * token[1] > 0), key=lambda token: -sign * token[1])[:SHOWN]
        if some:
            key_values([(name, ", ".join(f"{token.strip()} {value:+.2f}" for token, value in some))])


def _coloured(token: str, value: float, largest: float) -> tuple[str, str]:
    """Green raises the score, red lowers it; bold by much, plain hardly."""
    share = abs(value) / largest
    if share < 0.1:
        return token, ""
    return token, ("bold " if share > 0.5 else "") + ("green" if value > 0 else "red")
