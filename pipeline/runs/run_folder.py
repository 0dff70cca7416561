"""An agent's run folder, as the commands see it: the request, the checkpoints, the evaluation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...records.folder import write_file
from ...reward_models.text.config import MODEL_FOLDER
from ..console.checks import check_device, existing_folder, folder_to_write, import_module
from ..console.errors import UserError, as_user_error

if TYPE_CHECKING:
    from ...agents import Agent, Callback, Scores
    from ...records.checkpoint import Checkpoint

COMMAND_FILE = "command.json"
REWARD_COMMAND = "reward train"  # there, in a reward model's run
EVALUATION_SEED = 10_000
"""of a run's last evaluation and of `textrlhf evaluate`: not the episodes that chose the best agent"""


@dataclass(frozen=True)
class Request:
    """What a command line asked for beyond hyperparameters."""

    command: str
    env: str
    steps: int
    evaluate_every: int | None = None
    evaluation_episodes: int = 100
    stop_at: float | None = None
    kl_target: float | None = None

    def save(self, run: Path) -> None:
        """Store it in the run's folder."""
        save_request(run, dataclasses.asdict(self))

    def callbacks(self) -> list[Callback]:
        """The callbacks it asks for; a checkpoint stores their states by class."""
        from ...agents import AdaptiveKL, Evaluate, StopAtReturn

        adaptive: list[Callback] = [] if self.kl_target is None else [AdaptiveKL(self.kl_target)]
        if self.evaluate_every:
            return [*adaptive, Evaluate(self.evaluate_every, stop_at=self.stop_at)]
        return adaptive if self.stop_at is None else [*adaptive, StopAtReturn(self.stop_at)]


def save_request(run: Path, request: Mapping[str, Any]) -> None:
    """Store what a command line asked for, its "command" among it, from which `resume` continues."""
    write_file(run / COMMAND_FILE, json.dumps(request, indent=1))


def stored_request(run: Path) -> dict[str, Any] | None:
    """What `save_request` stored; None for a run that was started from Python."""
    file = run / COMMAND_FILE
    if not file.is_file():
        return None
    try:
        stored: dict[str, Any] = {"command": None, **json.loads(file.read_text())}
    except (ValueError, TypeError) as error:
        raise damaged(run, error) from error
    return stored


def damaged(run: Path, error: Exception) -> UserError:
    """The error for a stored request that cannot be used."""
    return UserError(
        f"{run / COMMAND_FILE} is damaged or of another version ({error!r}): start a new run in another folder"
    )


def read_request(run: Path) -> Request | None:
    """The request a run was started with; None for a run that was started from Python."""
    stored = stored_request(run)
    if stored is None:
        return None
    names = {field.name for field in dataclasses.fields(Request)}
    try:
        return Request(**{name: value for name, value in stored.items() if name in names})
    except TypeError as error:
        raise damaged(run, error) from error


def holds_run(folder: Path) -> bool:
    """Whether a folder has checkpoints of a run."""
    return any((folder / "checkpoints").glob("step-*"))


def holds_reward_model(folder: Path) -> bool:
    """Whether a folder is a reward model's run."""
    return (folder / MODEL_FOLDER).is_dir() or (stored_request(folder) or {}).get("command") == REWARD_COMMAND


def new_run(name: str, command: str) -> Path:
    """The path of a folder for a run of `textrlhf <command>`, which must not have another yet."""
    from ...records.run import Run

    run = folder_to_write("--run", name)
    started = stored_request(run)
    if Run(run).has_checkpoints() or (run / MODEL_FOLDER).exists() or (started and started["command"] != command):
        raise UserError(f"{run} already holds a run: finish it with `textrlhf resume {run}`, or name another --run")
    return run


def find_checkpoint(folder: str, *, best: bool = False) -> Checkpoint:
    """Load a checkpoint's folder, or the last (or the best) checkpoint of a run's."""
    from ...records.checkpoint import CheckpointError, load_checkpoint
    from ...records.folder import recovered
    from ...records.run import Run

    path = existing_folder(folder)
    if best and not recovered(path / "best").is_dir():
        raise UserError(f"{folder} has no best agent: train with --evaluate-every N, or leave out --best")
    if holds_reward_model(path):
        raise UserError(f"{folder} is a reward model's run: evaluate it with `textrlhf reward evaluate {folder} DATA`")
    if not best and (empty := Run(path).why_empty()):
        raise UserError(empty)
    if not (best or holds_run(path) or (path / "state.json").exists()):
        inside = [str(run) for run in sorted(path.iterdir()) if holds_run(run)]
        hint = f"inside are {', '.join(inside)}" if inside else "`textrlhf train --run DIR` creates one"
        raise UserError(f"{folder} is neither a run nor a checkpoint: {hint}")
    with as_user_error(CheckpointError):
        if best:
            return load_checkpoint(path / "best")
        return Run(path).last_checkpoint() if holds_run(path) else load_checkpoint(path)


def load_agent(
    checkpoint: Checkpoint,
    module: str | None,
    device: str | None,
    trust: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Agent:
    """Restore an agent; `module` registers its environment, `trust` imports what the checkpoint names.

    `changes` are hyperparameters other than those saved.
    """
    changes = {**(changes or {}), **({"device": device} if device else {})}
    import gymnasium as gym

    from ...agents import Agent
    from ...agents.training.resume import restore
    from ...records.checkpoint import CheckpointError

    check_checkpoint(checkpoint, module, changes.get("device"), trust=trust)
    with as_user_error(CheckpointError, gym.error.Error):
        base: Any = Agent  # mypy wants a concrete class
        agent: Agent = restore(base, checkpoint, trust=trust, changes=changes)
        return agent


def check_checkpoint(
    checkpoint: Checkpoint, module: str | None, device: str | None = None, *, trust: bool = False
) -> None:
    """Refuse a checkpoint whose environment nothing can make, or whose device (or the one given) is not available.

    The module that the user names is imported; what the checkpoint names is not, as it may be from someone else.
    """
    import gymnasium as gym

    from ...agents.environment.recipe import imports

    if module:
        import_module(module)
    recipe, config = checkpoint.state.get("env"), checkpoint.state.get("config")
    plain = isinstance(recipe, dict) and recipe.keys().isdisjoint({"factory", "entry_point", "module"})
    env_id = recipe.get("id") if isinstance(recipe, dict) else None
    if plain and env_id not in gym.registry:
        raise UserError(f"the environment {env_id!r} is not registered: name the module that does it, --module MODULE")
    if isinstance(recipe, dict) and not trust and (named := imports(recipe)):
        raise UserError(f"{checkpoint.path} imports {', '.join(named)}: if you trust that code, add --trust")
    check_device(device or (str(config.get("device", "auto")) if isinstance(config, dict) else "auto"))


def outcome(agent: Agent, scores: Scores, *, seed: int) -> dict[str, Any]:
    """An evaluation as plain JSON."""
    return {
        "agent": agent.name,
        "env": agent.env.name,
        "step": agent.num_timesteps,
        "episodes": len(scores.returns),
        "deterministic": scores.deterministic,
        "split": scores.split,
        "seed": seed,
        "mean": scores.mean,
        "std": scores.std,
        "worst": min(scores.returns),
        "best": max(scores.returns),
        "length": sum(scores.lengths) / len(scores.lengths),
        **{f"mean_{name}": mean for name, mean in scores.means().items() if name != "length"},
    }
