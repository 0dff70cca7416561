"""`command.json` in a run's folder: what a command line asked for, from which `resume` continues."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...records.folder import write_file
from ..console.errors import UserError

FILE = "command.json"


def save_request(run: Path, command: str, options: Mapping[str, Any]) -> None:
    """Store a command and its options."""
    write_file(run / FILE, json.dumps({"command": command, **options}, indent=1))


def stored_request(run: Path) -> dict[str, Any] | None:
    """The stored command and options; None for a run that was started from Python."""
    file = run / FILE
    if not file.is_file():
        return None
    try:
        stored: dict[str, Any] = {"command": None, **json.loads(file.read_text())}
    except (ValueError, TypeError) as error:
        raise damaged(run, error) from error
    return stored


def damaged(run: Path, error: Exception) -> UserError:
    """The error for options that cannot be used."""
    return UserError(f"{run / FILE} is damaged or of another version ({error!r}): start a new run in another folder")
