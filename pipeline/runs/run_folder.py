"""A run's folder, as the commands see it: what was asked for, where its checkpoints are, how it ended."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console.checks import check_device, import_module
from ..console.errors import UserError, as_user_error, nearest

if TYPE_CHECKING:
    from ...agents import Agent, Callback
    from ...records.checkpoint import Checkpoint

EVALUATION_SEED = 10_000
"""of a run's last evaluation and of `textrlhf evaluate`: not the episodes by which a best agent was chosen"""


@dataclass(frozen=True)
class Request:
    """What a command line asked for beyond hyperparameters: `command.json`, from which `resume` makes it again."""

    command: str
    env: str
    steps: int
    evaluate_every: int | None = None
    evaluation_episodes: int = 100
    stop_at: float | None = None
    kl_target: float | None = None

    def save(self, run: Path) -> None:
        """Write it into the run's folder."""
        from ...records.folder import write_file

        write_file(run / "command.json", json.dumps(dataclasses.asdict(self), indent=1))

    def callbacks(self) -> list[Callback]:
        """The callbacks it stands for, of which a checkpoint keeps the states by class."""
        from ...agents import AdaptiveKL, Evaluate, StopAtReturn

        adaptive: list[Callback] = [] if self.kl_target is None else [AdaptiveKL(self.kl_target)]
        if self.evaluate_every:
            return [*adaptive, Evaluate(self.evaluate_every, stop_at=self.stop_at)]
        return adaptive if self.stop_at is None else [*adaptive, StopAtReturn(self.stop_at)]


def read_request(run: Path) -> Request | None:
    """The request a run was started by; None for a run that was started from Python."""
    file = run / "command.json"
    if not file.exists():
        return None
    try:
        told = json.loads(file.read_text())
        return Request(**{field.name: told[field.name] for field in dataclasses.fields(Request) if field.name in told})
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file} is damaged ({error}): delete it to go on without it") from error


def holds_run(folder: Path) -> bool:
    """Whether a run has left checkpoints there."""
    return any((folder / "checkpoints").glob("step-*"))


def existing(folder: str) -> Path:
    """The folder a user named, if there is one."""
    path = Path(folder)
    if path.is_dir():
        return path
    siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
    near = nearest(path.name, siblings)
    hint = f"did you mean {path.with_name(near)}?" if near else "`textrlhf train --run DIR` fills one"
    raise UserError(f"there is no folder {folder}: {hint}")


def find_checkpoint(folder: str, *, best: bool = False) -> Checkpoint:
    """Read a checkpoint's folder, or the last (or the best) checkpoint of a run's."""
    from ...records.checkpoint import CheckpointError, load_checkpoint
    from ...records.folder import recovered
    from ...records.run import Run

    path = existing(folder)
    if best and not recovered(path / "best").is_dir():
        raise UserError(f"{folder} keeps no best agent: train with --evaluate-every N, or leave out --best")
    if (path / "reward_model").is_dir():
        raise UserError(
            f"{folder} is a reward model's run: `textrlhf reward evaluate {folder} DATA` says how good it is"
        )
    if not (best or holds_run(path) or (path / "state.json").exists()):
        inside = [str(run) for run in sorted(path.iterdir()) if holds_run(run)]
        hint = f"inside are {', '.join(inside)}" if inside else "`textrlhf train --run DIR` fills one"
        raise UserError(f"{folder} is neither a run nor a checkpoint: {hint}")
    with as_user_error(CheckpointError):
        if best:
            return load_checkpoint(path / "best")
        return Run(path).last_checkpoint() if holds_run(path) else load_checkpoint(path)


def load_agent(checkpoint: Checkpoint, module: str | None, device: str | None) -> Agent:
    """Make the agent of a checkpoint; `module` registers its environment, where textrlhf does not."""
    import gymnasium as gym

    from ...agents import Agent
    from ...agents.training.saving import restore
    from ...records.checkpoint import CheckpointError

    check_checkpoint(checkpoint, module, device)
    with as_user_error(CheckpointError, gym.error.Error):
        agent: Agent = restore(Agent, checkpoint, None, device)
        return agent


def check_checkpoint(checkpoint: Checkpoint, module: str | None, device: str | None = None) -> None:
    """See that a checkpoint's environment is registered, and that its device (or the one given) is there.

    The module a run was trained with is never imported unasked: a run's folder may be a stranger's.
    """
    import gymnasium as gym

    if module:
        import_module(module)
    recipe, config = checkpoint.state.get("env"), checkpoint.state.get("config")
    if isinstance(recipe, dict) and recipe.get("id") not in gym.registry:
        request = read_request(checkpoint.path.parent.parent) or read_request(checkpoint.path.parent)
        known = request.env.rpartition(":")[0] if request else ""
        raise UserError(
            f"the environment {recipe.get('id')!r} is not registered: "
            f"name the module that registers it, --module {known or 'MODULE'}"
        )
    check_device(device or (str(config.get("device", "auto")) if isinstance(config, dict) else "auto"))


def outcome(agent: Agent, scores: Any, *, deterministic: bool, seed: int) -> dict[str, Any]:
    """An evaluation as plain JSON."""
    recipe = agent.env.recipe
    return {
        "agent": agent.name,
        "env": recipe["id"] if recipe else None,
        "step": agent.num_timesteps,
        "episodes": len(scores.returns),
        "deterministic": deterministic,
        "seed": seed,
        "mean": scores.mean,
        "std": scores.std,
        "worst": min(scores.returns),
        "best": max(scores.returns),
        "length": sum(scores.lengths) / len(scores.lengths),
        **{f"mean_{name}": mean for name, mean in scores.means().items() if name != "length"},
    }
