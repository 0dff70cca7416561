"""What to write instead of an option that `train` does not have, where its meaning is known."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ...agents.settings.habits import ENVIRONMENT, renamed
from .arguments import peek
from .checks import argument_names, find_environment

FUNCTIONS = {"feedback"}  # arguments of text environments that JSON cannot hold
WORDS = {"True": True, "False": False, "None": None}  # as options of the command line spell them


def hint_for_training(argv: Sequence[str], flag: str, unknown: Mapping[str, list[str]], known: set[str]) -> str | None:
    """What `train` has instead of `flag`: another name, or --env-kwargs with all that the command line gives it.

    `unknown` are the options that it does not have, with their values, and `known` those that it has.
    """
    name = flag.removeprefix("--").replace("-", "_")
    if (other := _option(renamed(name) or environment_argument(name))) in known and other != flag:
        return f"it is called {other} here"
    ours, env = environment_argument(name), peek(argv, "--env") or ""
    taken = argument_names(env)
    if ours not in taken:
        find_environment(env)
        return f"{env} has no such argument; text environments do (`textrlhf envs`)" if ours in ENVIRONMENT else None
    if ours in FUNCTIONS:
        return f'it is a function, which only Python can give: PPO({env!r}, env_kwargs={{"{ours}": …}})'
    found = {environment_argument(one.removeprefix("--").replace("-", "_")): (one, of) for one, of in unknown.items()}
    more = {one: _value(*given) for one, given in found.items() if one in taken and one not in FUNCTIONS}
    return f"it is an argument of the environment: {with_env_kwargs(argv, more)}"


def hint_for_resuming(run: str, env: str, flag: str, unknown: Mapping[str, list[str]], known: set[str]) -> str | None:
    """What to do about an option of `train` that cannot be changed when a run is resumed."""
    if (answer := hint_for_training(["--env", env], flag, unknown, known)) is None or "--env-kwargs" not in answer:
        kept = flag in ("--evaluate-every", "--evaluation-episodes", "--stop-at", "--env", "--agent", "--env-kwargs")
        return "a run keeps what it was started with: start a new one with `textrlhf train`" if kept else answer
    more = json.loads(shlex.split(answer)[-1])
    return f"it is an argument of the environment, which Python changes: Agent.resume({run!r}, env_kwargs={more!r})"


def environment_argument(name: str) -> str:
    """An environment's name for an argument that others call `name`, or negate as `no_…`."""
    name = name.removeprefix("no_")
    return next((ours for ours, theirs in ENVIRONMENT.items() if name in theirs.split()), name)


def with_env_kwargs(argv: Sequence[str], more: Mapping[str, Any]) -> str:
    """The --env-kwargs of a command line with more of them, as a shell takes it."""
    try:
        given = json.loads(peek(argv, "--env-kwargs") or "{}")
    except ValueError:
        given = {}
    both = {**(given if isinstance(given, dict) else {}), **more}
    return f"--env-kwargs {shlex.quote(json.dumps(both, ensure_ascii=False))}"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _value(flag: str, words: Sequence[str]) -> Any:
    """The value that an option's words mean."""
    if not words:
        return not flag.startswith("--no-")
    if len(words) > 1:
        every = [_one(word) for word in words]
        return every if all(isinstance(one, int | float) for one in every) else " ".join(words)
    return _one(words[0])


def _one(word: str) -> Any:
    with contextlib.suppress(ValueError):
        return WORDS[word] if word in WORDS else json.loads(word)
    return float(word) if re.fullmatch(r"[+-]?(\d+\.|\.\d)\d*", word) else word
