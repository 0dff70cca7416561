"""A reward model's run folder, as the commands see it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...reward_models.text.config import MODEL_FOLDER
from ..console.checks import check_device, existing_file, function_named, similar_path
from ..console.errors import UserError, as_user_error
from .run_folder import REWARD_COMMAND, stored_request

if TYPE_CHECKING:
    from ...reward_models import RewardFunction
    from ...reward_models.feedback import Judgement


def is_reward_run(folder: Path) -> bool:
    """Whether `textrlhf reward train` started a run there."""
    try:
        stored = stored_request(folder)
    except UserError:
        return False
    return stored is not None and stored["command"] == REWARD_COMMAND


def existing_reward_run(name: str) -> Path:
    """The folder of a reward model's run that must exist."""
    run = Path(name)
    if is_reward_run(run):
        return run
    what = "is no run of a reward model" if run.exists() else "does not exist"
    hint = similar_path(run, is_reward_run, "`textrlhf reward train --run DIR` creates one")
    raise UserError(f"{name} {what}: {hint}")


def open_reward_model(name: str, device: str) -> RewardFunction:
    """Load a reward model: a run's, a saved one, a shipped one, any sequence classifier or a function of the user's."""
    from ...reward_models import load_reward_model

    check_device(device)
    function: RewardFunction | None = function_named(name)
    if function is not None:
        return function
    if is_reward_run(Path(name)) and not (Path(name) / MODEL_FOLDER).is_dir():
        raise UserError(f"{name} has no reward model yet: finish its training with `textrlhf reward resume {name}`")
    with as_user_error(ValueError):
        return load_reward_model(name, device)


def digest(file: str) -> str:
    """The hash of a file's content."""
    return hashlib.sha256(existing_file(file).read_bytes()).hexdigest()


def read_data(
    data: str, heldout: str | None, scale: tuple[float, float] | None, sha256: Mapping[str, str]
) -> tuple[list[Judgement], list[Judgement]]:
    """Read the judgements to train on and those held out; the files must have the content of these hashes."""
    from ...reward_models import Rated, read_judgements
    from ...reward_models.feedback import DataError

    for file, stored in sha256.items():
        if digest(file) != stored:
            raise UserError(
                f"{file} has changed since the run was started: restore it, or train in another folder with --run"
            )
    with as_user_error(DataError):
        if heldout is None:
            return read_judgements(data, "train", scale=scale), read_judgements(data, "heldout", scale=scale)
        learned = read_judgements(data, "train" if _has_splits(data) else None, scale=scale)
        scales = {one.scale for one in learned if isinstance(one, Rated)}
        same = scales.pop() if len(scales) == 1 else scale  # ratings mean the same in both files
        return learned, read_judgements(heldout, None, scale=same)


def _has_splits(file: str) -> bool:
    from ...records.jsonl import read_jsonl

    return any(isinstance(row, dict) and row.get("split") is not None for _, row in read_jsonl(file))
