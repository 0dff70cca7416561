"""What is looked at before any work starts: counts, devices, environments, the modules that register them."""

from __future__ import annotations

import importlib
import os
import sys

from .errors import UserError, nearest


def at_least_one(flag: str, value: int | None) -> None:
    """Refuse a count below one; None is a count left out."""
    if value is not None and value < 1:
        raise UserError(f"{flag} {value}: accepted is at least 1")


def check_device(device: str) -> None:
    """See that torch can put something there."""
    import torch

    try:
        if device != "auto":
            torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {device!r} is not there: accepted is --device auto, cpu, or cuda where torch finds one"
        ) from error


def find_environment(name: str) -> None:
    """See that an environment is registered, importing the module in front of a colon."""
    import gymnasium as gym

    module, _, env_id = name.rpartition(":")
    if module:
        import_module(module)
    try:
        gym.spec(env_id)
    except gym.error.Error as error:
        near = nearest(env_id, gym.registry)
        why = f"did you mean {near}?" if near else f"{error} Or is a module missing that registers it (module:Id-v0)?"
        raise UserError(f"no environment {name!r}: {why} `textrlhf envs --all` lists every one") from error


def import_module(name: str) -> None:
    """Import a module the user named (it registers environments), also from the folder they are in."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there; something it imports is not
        raise UserError(
            f"no module named {name!r}: install the package that holds it, or run from the folder {name}.py lies in"
        ) from error
