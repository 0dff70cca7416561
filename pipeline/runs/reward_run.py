"""A reward model's run folder, as the commands see it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...records.jsonl import DataError
from ...reward_models.text.config import MODEL_FOLDER
from ..console.checks import check_device, existing_file, function_named, similar_path
from ..console.errors import UserError, as_user_error
from .run_folder import REWARD_COMMAND, stored_request

if TYPE_CHECKING:
    from ...reward_models import RewardFunction
    from ...reward_models.feedback import Judgement, ReadReport


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


def digest(data: str) -> str:
    """The hash of a file's content, of all files of a folder, or of the rows of a hub's data set."""
    from ...records.rows import content_hash
    from ...reward_models.feedback.vader import files_of

    with as_user_error(DataError):
        return "".join(content_hash(existing_data(source)) for source in files_of(data))


def existing_data(name: str) -> str:
    """The name of a file of data or of a folder that must exist, or a hub id."""
    from ...records.hub import is_id

    if not is_id(name) and not Path(name).is_dir():
        existing_file(name, "a .jsonl, .json, .csv, .tsv or .parquet file, a folder of `datasets` or a hub id")
    return name


def read_data(
    data: str, heldout: str | None, how: Mapping[str, Any], sha256: Mapping[str, str]
) -> tuple[list[Judgement], list[Judgement], list[ReadReport]]:
    """Read the judgements to train on and those held out, with a report on each source.

    The sources must have the content of these hashes. `how` are the keyword arguments of `import_judgements`.
    """
    from ...reward_models import Rated, import_judgements

    for source, stored in sha256.items():
        if digest(source) != stored:
            raise UserError(
                f"{source} has changed since the run was started: restore it, or train in another folder with --run"
            )
    with as_user_error(DataError):
        found = import_judgements(data, **how)
        if heldout is None:
            if not (learned := found.of("train")):
                raise UserError(f'{data} holds out every row: some need "split": "train", or no split')
            return learned, found.of("heldout"), [found.report]
        learned = found.of("train") if found.declares_splits else found.judgements
        scales = {one.scale for one in learned if isinstance(one, Rated)}
        same = scales.pop() if len(scales) == 1 else how.get("scale")  # ratings mean the same in both files
        watched = import_judgements(heldout, **{**how, "scale": same})
        return learned, watched.judgements, [found.report, watched.report]
