"""Checks before any work starts: counts, files, devices, environments and the modules that register them."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from .errors import UserError, did_you_mean, nearest


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
    """Refuse an environment that is not registered, after importing the module before a colon."""
    import gymnasium as gym

    module, _, env_id = name.rpartition(":")
    if module:
        import_module(module)
    try:
        gym.spec(env_id)
    except gym.error.Error as error:
        why = did_you_mean(env_id, gym.registry, f"{error} If a module of yours registers it, name it: module:Id-v0.")
        raise UserError(f"no environment {name!r}: {why} `textrlhf envs --all` lists all") from error


def import_module(name: str) -> None:
    """Import a module that the user named (it registers environments), also from the current folder."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module exists, but something that it imports does not
        raise UserError(
            f"no module named {name!r}: install the package that has it, or run from the folder of {name}.py"
        ) from error
