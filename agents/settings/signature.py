"""Hyperparameters in signatures and docstrings: `help(PPO)` shows each with its type, default and description."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import sys
import textwrap
from typing import Any

from .config import Config


def show_hyperparameters(cls: type[Any], config_class: type[Config]) -> None:
    """Give an agent's class a `__signature__` and a docstring that list its config's fields."""
    parameters = [p for p in inspect.signature(cls.__init__).parameters.values() if p.kind is not p.VAR_KEYWORD][1:]
    fields = [field for field in dataclasses.fields(config_class) if field.name not in {p.name for p in parameters}]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters += [inspect.Parameter(f.name, keyword, default=f.default, annotation=f.type) for f in fields]
    cls.__signature__ = inspect.Signature(parameters)
    if doc := cls.__dict__.get("__doc__"):
        docs = field_docs(config_class)
        lines = [f"{f.name}: {f.type} = {f.default!r}\n    {docs.get(f.name, '')}" for f in fields]
        text = textwrap.indent("\n".join(line.rstrip() for line in lines), "        ")
        cls.__doc__ = f"{doc.rstrip()}\n\n    Hyperparameters:\n{text}\n    "


def field_docs(config_class: type[Any]) -> dict[str, str]:
    """The docstring behind each field of a dataclass and of its bases, as one line each."""
    found: dict[str, str] = {}
    for base in reversed(config_class.__mro__):
        if "__annotations__" in base.__dict__:
            found.update(_module_docs(base.__module__).get(base.__name__, {}))
    return found


@functools.cache
def _module_docs(module: str) -> dict[str, dict[str, str]]:
    """By class, the docstrings behind its annotated fields."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, KeyError):  # defined in a console: no source
        return {}
    found: dict[str, dict[str, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for field, doc in itertools.pairwise(node.body):
                match field, doc:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        found.setdefault(node.name, {})[name] = " ".join(text.split())
    return found
