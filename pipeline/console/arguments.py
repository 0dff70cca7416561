"""Parsing command lines into dataclasses with tyro, its errors reduced to one line."""

from __future__ import annotations

import collections.abc
import contextlib
import dataclasses
import inspect
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from .checks import function_named
from .errors import UserError, did_you_mean

T = TypeVar("T")
Hint = Callable[[str, Mapping[str, list[str]], set[str]], "str | None"]
"""(an unknown option, all of them with their values, the known ones) -> what to write instead, or None"""


REGISTRY = ConstructorRegistry()


@REGISTRY.primitive_rule
def _name_or_function(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """How an option is read that is one of some names or else a class or function: by its name, module:name."""
    arms = get_args(info.type)
    if not any(get_origin(arm) is collections.abc.Callable for arm in arms):
        return None
    names = [name for arm in arms if get_origin(arm) is Literal for name in get_args(arm)]

    def read(words: list[str]) -> Any:
        if words[0] in names:
            return words[0]
        if (found := function_named(words[0])) is None:
            raise ValueError(f"accepted are {', '.join(names)} and module:name of your own")
        return found

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="|".join([*names, "MODULE:NAME"]),
        instance_from_str=read,
        is_instance=lambda value: value in names or callable(value),
        str_from_instance=lambda value: [str(value)],
    )


def parse(kind: type[T], argv: Sequence[str], command: str, default: T | None = None, hint: Hint | None = None) -> T:
    """Parse the arguments of `textrlhf <command>` into a dataclass; its docstring begins the help.

    `hint` answers options that the command does not have; else the error names the most similar one.
    """
    program = f"textrlhf {command}"
    if not wants_help(argv):
        _refuse_unknown_flags(kind, argv, command, hint)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            options: T = tyro.cli(
                kind,
                prog=program,
                description=inspect.cleandoc(kind.__doc__ or ""),
                args=list(argv),
                config=(tyro.conf.OmitArgPrefixes,),
                default=tyro.MISSING_NONPROP if default is None else default,
                registry=REGISTRY,
            )
        return options
    except SystemExit as end:
        if end.code in (0, None):  # --help
            raise
        raise UserError(f"{_plain(printed.getvalue())}; see {program} --help") from None


def wants_help(argv: Sequence[str]) -> bool:
    """Whether the arguments ask for help."""
    return "--help" in argv or "-h" in argv


def peek(argv: Sequence[str], flag: str, default: str | None = None) -> str | None:
    """The value of a flag on a command line that is not parsed yet."""
    for word, following in zip(argv, [*argv[1:], None], strict=False):
        if word == flag:
            default = following
        elif word.startswith(f"{flag}="):
            default = word.partition("=")[2]
    return default


def named_fields(kind: Any, argv: Sequence[str]) -> set[str]:
    """The fields of a dataclass that a command line sets."""
    words = {_flag(word) for word in argv}
    return {field.name for field in dataclasses.fields(kind) if not words.isdisjoint(_flags_of(field.name))}


def _refuse_unknown_flags(kind: Any, argv: Sequence[str], command: str, hint: Hint | None) -> None:
    known = set(_flags(kind))
    unknown = {flag: words for flag, words in _values(argv).items() if flag not in known}
    for flag in unknown:
        answer = hint(flag, unknown, known) if hint else None
        answer = answer or did_you_mean(flag, known, f"textrlhf {command} --help lists the options")
        raise UserError(f"{command} has no option {flag}: {answer}")


def _values(argv: Sequence[str]) -> dict[str, list[str]]:
    """The words that follow each option of a command line."""
    found: dict[str, list[str]] = {}
    words: list[str] = []
    for word in argv:
        if word.startswith("--"):
            _, given, value = word.partition("=")
            words = found[_flag(word)] = [value] if given else []
        else:
            words.append(word)
    return found


def _flags(kind: Any) -> Iterator[str]:
    """Every option of a dataclass, nested dataclasses included."""
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _flags(hints[field.name])
        else:
            yield from _flags_of(field.name)


def _flag(word: str) -> str:
    return word.partition("=")[0].replace("_", "-")


def _flags_of(field: str) -> tuple[str, str]:
    name = field.replace("_", "-")
    return f"--{name}", f"--no-{name}"


def _plain(printed: str) -> str:
    """The message in one of tyro's boxes: its lines up to the ruler, without frame and title."""
    rows = [re.sub(r"\x1b\[[0-9;]*m", "", row).strip("│|╭╮╰╯+ ") for row in printed.splitlines()]
    message: list[str] = []
    for row in rows[1:]:
        if not set(row) <= set("─-"):
            message.append(row)
        elif message:
            break
    text = " ".join(message) or " ".join(rows)
    return re.sub(r"^Error parsing hyperparameters: ", "", text.strip().rstrip("."))
