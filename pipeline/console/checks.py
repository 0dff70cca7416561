"""Checks before any work starts: counts, files, devices, environments, and the code that the user names."""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import UserError, did_you_mean, nearest

REFERENCE = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*")  # module:function


def at_least_one(flag: str, value: int | None) -> None:
    """Refuse a count below one; None is a count that was not given."""
    if value is not None and value < 1:
        raise UserError(f"{flag} {value}: accepted is at least 1")


def existing_file(name: str, expected: str = "JSONL, one judgement per line") -> Path:
    """The path of a file that must exist."""
    path = Path(name)
    if path.is_file():
        return path
    what = f"{name} is a folder" if path.is_dir() else f"there is no file {name}"
    raise UserError(f"{what}: {similar_path(path, Path.is_file, f'expected {expected}')}")


def existing_folder(name: str) -> Path:
    """The path of a folder that must exist."""
    path = Path(name)
    if path.is_dir():
        return path
    raise UserError(
        f"there is no folder {name}: {similar_path(path, Path.is_dir, '`textrlhf train --run DIR` creates one')}"
    )


def similar_path(path: Path, accepted: Callable[[Path], bool], otherwise: str) -> str:
    """A hint at the accepted path beside a misspelt one that is most similar, else `otherwise`."""
    siblings = [p.name for p in path.parent.iterdir() if accepted(p)] if path.parent.is_dir() else []
    near = nearest(path.name, siblings)
    return f"did you mean {path.with_name(near)}?" if near else otherwise


def folder_to_write(flag: str, name: str) -> Path:
    """The path of a folder that may be new."""
    path = Path(name)
    if path.exists() and not path.is_dir():
        raise UserError(f"{flag} {name} is a file: name a folder")
    return path


def check_device(device: str) -> None:
    """Refuse a device that torch does not have."""
    import torch

    try:
        if device != "auto":
            torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {device!r} is not available: accepted is --device auto, cpu, or cuda where torch finds one"
        ) from error


def find_environment(name: str) -> None:
    """Refuse an environment that is neither registered nor made by a function of the module before the colon."""
    import gymnasium as gym

    module, _, env_id = name.rpartition(":")
    named = getattr(import_module(module), env_id, None) if module else None
    if env_id not in gym.registry and callable(named):
        return
    try:
        gym.spec(env_id)
    except gym.error.Error as error:
        own = "If a module of yours registers it, or has a function that makes it: module:Id-v0, module:function."
        why = did_you_mean(env_id, gym.registry, f"{error} {own}")
        raise UserError(f"no environment {name!r}: {why} `textrlhf envs --all` lists all") from error


def takes_arguments(name: str, arguments: Iterable[str]) -> bool:
    """Whether an environment (or the function that makes it) has these arguments, or any."""
    known = _arguments(name)
    return any(one.kind is one.VAR_KEYWORD for one in known.values()) or set(arguments) <= known.keys()


def check_kl_options(env: str, given: Iterable[tuple[str, float | None]]) -> None:
    """Refuse options of the KL penalty (flags and values, None where not given) that the environment cannot follow."""
    found = {flag: value for flag, value in given if value is not None}
    if found and argument_names(env) and not takes_arguments(env, ["kl_coef"]):
        raise UserError(f"{', '.join(found)}: {env} has no KL penalty; text environments have (`textrlhf envs`)")
    for flag, value in found.items():
        if value < 0 or not (value or flag == "--kl-coef"):
            raise UserError(f"{flag} {value:g}: accepted is {'at least' if flag == '--kl-coef' else 'above'} 0")
    if "--kl-target" in found and found.get("--kl-coef") == 0:
        raise UserError("--kl-coef 0: --kl-target multiplies it, so begin above 0, with 0.05 for example")


def argument_names(name: str) -> frozenset[str]:
    """The names of an environment's arguments; none where there is no such environment."""
    try:
        known = _arguments(name)
    except (UserError, AttributeError):
        return frozenset()
    return frozenset(one.name for one in known.values() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL))


def _arguments(name: str) -> Mapping[str, inspect.Parameter]:
    import gymnasium as gym

    module, _, env_id = name.rpartition(":")
    if env_id in gym.registry:
        spec = gym.spec(env_id)
        made_by: Any = spec.entry_point or spec.vector_entry_point
        made_by = gym.envs.registration.load_env_creator(made_by) if isinstance(made_by, str) else made_by
    elif module:
        made_by = getattr(import_module(module), env_id)
    else:
        raise UserError(f"no environment {name!r}")
    return inspect.signature(made_by).parameters


def function_named(name: str) -> Any:
    """What `module:function` names, after importing the module; None for any other name, such as a path or a hub id."""
    if not REFERENCE.fullmatch(name) or os.path.exists(name):
        return None
    module, _, path = name.partition(":")
    found: Any = import_module(module)
    names = [one for one in dir(found) if callable(getattr(found, one))]
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise UserError(
            f"{module} has no function or class {path!r}: {did_you_mean(path, names, 'define it there with def')}"
        )
    return found


def import_module(name: str) -> ModuleType:
    """Import a module that the user named."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module exists, but something that it imports does not
        raise UserError(
            f"no module named {name!r}: install the package that has it; for a file in the current folder use "
            "`PYTHONPATH=. textrlhf …` or `python -m textrlhf …`"
        ) from error
