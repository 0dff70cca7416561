"""A reward model's run, as the commands see it: what was asked for, and where its parts lie.

RUN/command.json                     what was asked for
RUN/metrics.jsonl, checkpoints/      of the one member; of several, each in RUN/member-0, RUN/member-1, …
RUN/reward model                            the reward model, once it is trained
RUN/report.html, evaluation.json     how it fares on held-out judgements, where there are some
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...records.folder import write_file
from ..console.errors import UserError, as_user_error, nearest
from .run_folder import holds_run

if TYPE_CHECKING:
    from ...reward_models import TrainConfig
    from ...reward_models.feedback import Judgement

COMMAND = "reward train"  # what command.json calls it
MODEL_FOLDER = "reward_model"  # where load_reward_model looks in a run's folder


@dataclass(frozen=True)
class RewardRequest:
    """What `textrlhf reward train` was asked for, from which `resume` goes on."""

    data: str
    heldout: str | None
    sha256: dict[str, str]  # of each file above, so that a changed one is not taken for the one begun with
    scale: tuple[float, float] | None
    model: str
    members: int
    combine: str
    head: str
    reads: str | None
    reference: str | None
    max_new_tokens: int
    device: str
    threads: int | None
    training: dict[str, Any]  # TrainConfig

    def save(self, run: Path) -> None:
        """Write it into the run's folder."""
        told = {"command": COMMAND, **dataclasses.asdict(self)}
        write_file(run / "command.json", json.dumps(told, indent=1))

    def folders(self, run: Path) -> list[Path]:
        """Where each member is trained, and its reward model kept."""
        return [run] if self.members == 1 else [run / f"member-{i}" for i in range(self.members)]

    def config(self, member: int) -> TrainConfig:
        """How a member is trained: the first with the seed given, each other with the next."""
        from ...reward_models import TrainConfig

        with as_user_error(TypeError, ValueError, about="command.json is of another version of textrlhf"):
            config = TrainConfig(**self.training)
        return dataclasses.replace(config, seed=config.seed + member)

    def read(self) -> tuple[list[Judgement], list[Judgement]]:
        """Read the judgements to learn from, and those held out."""
        from ...reward_models import Rated, read_judgements
        from ...reward_models.feedback import DataError

        for file, begun in self.sha256.items():
            if digest(file) != begun:
                raise UserError(
                    f"{file} is not what it was when the run began: put the old file back, or train anew in another "
                    "folder with --run"
                )
        with as_user_error(DataError):
            if self.heldout is None:
                learned = read_judgements(self.data, "train", scale=self.scale)
                return learned, read_judgements(self.data, "heldout", scale=self.scale)
            learned = read_judgements(self.data, "train" if _declares(self.data) else None, scale=self.scale)
            scales = {one.scale for one in learned if isinstance(one, Rated)}
            same = scales.pop() if len(scales) == 1 else self.scale  # ratings mean the same in both files
            return learned, read_judgements(self.heldout, None, scale=same)


def is_reward_run(folder: Path) -> bool:
    """Whether `textrlhf reward train` began a run there."""
    try:
        return bool(json.loads((folder / "command.json").read_text())["command"] == COMMAND)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_reward_request(run: Path) -> RewardRequest:
    """What a reward model's run was begun with."""
    file = run / "command.json"
    try:
        told = json.loads(file.read_text())
        request = RewardRequest(**{field.name: told[field.name] for field in dataclasses.fields(RewardRequest)})
        low_high = request.scale  # a list, in JSON
        return request if low_high is None else dataclasses.replace(request, scale=(low_high[0], low_high[1]))
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise UserError(
            f"{file} is damaged ({error}): train the reward model anew in another folder with --run"
        ) from error


def existing_reward_run(name: str) -> Path:
    """The folder of a reward model's run that a user named."""
    run = Path(name)
    if is_reward_run(run):
        return run
    siblings = [p.name for p in run.parent.iterdir() if is_reward_run(p)] if run.parent.is_dir() else []
    near = nearest(run.name, siblings)
    hint = f"did you mean {run.with_name(near)}?" if near else "`textrlhf reward train --run DIR` begins one"
    what = "is no run of a reward model" if run.exists() else "is not there"
    raise UserError(f"{name} {what}: {hint}")


def check_new(run: Path) -> None:
    """Refuse a folder in which a run has left something."""
    if run.exists() and not run.is_dir():
        raise UserError(f"--run {run} is a file: name a folder")
    places = [run, *run.glob("member-*")]
    if any(holds_run(place) or (place / MODEL_FOLDER).exists() for place in places):
        raise UserError(
            f"{run} already holds a run: finish it with `textrlhf resume {run}`, name another folder with --run, or "
            "delete it"
        )


def existing_file(name: str, expected: str = "JSONL, one judgement a line") -> Path:
    """The file a user named, if there is one."""
    path = Path(name)
    if path.is_file():
        return path
    siblings = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
    near = nearest(path.name, siblings)
    hint = f"did you mean {path.with_name(near)}?" if near else f"expected {expected}"
    raise UserError(f"{name} is a folder: {hint}" if path.is_dir() else f"there is no file {name}: {hint}")


def digest(file: str) -> str:
    """The hash of a file's content."""
    return hashlib.sha256(existing_file(file).read_bytes()).hexdigest()


def _declares(file: str) -> bool:
    """Whether any row says which split it is of."""
    from ...records.jsonl import read_jsonl

    return any(isinstance(row, dict) and row.get("split") is not None for _, row in read_jsonl(file))
