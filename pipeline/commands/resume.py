"""`textrlhf resume`: finish a run that was interrupted."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ...records.progress import rounded
from ..console.arguments import parse
from ..console.checks import existing_folder
from ..console.errors import UserError, as_user_error
from ..console.printing import heading, key_values, line
from ..runs.reward_run import is_reward_run
from ..runs.run_folder import Request, check_checkpoint, find_checkpoint, holds_run, read_request

if TYPE_CHECKING:
    from ...records.checkpoint import Checkpoint


@dataclass
class Options:
    """Finish a run that was interrupted, as if it had never stopped.

    Example:
      textrlhf resume runs/cartpole
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """the run's folder, as given to train --run"""
    ignore_stop_at: bool = False
    """train for all steps, although the run has reached its --stop-at"""
    module: str | None = None
    """a module to import first, which registers the environment"""
    quiet: bool = False
    """print nothing but the result"""


def resume(argv: Sequence[str]) -> None:
    """Run `textrlhf resume`."""
    options = parse(Options, argv, "resume")
    run = existing_folder(options.run)
    if is_reward_run(run):
        from .reward.train import resume_run

        resume_run(run, quiet=options.quiet)
        return
    if not holds_run(run):
        raise UserError(f"no checkpoint in {run}: name a run's folder, as given to `textrlhf train --run`")
    checkpoint = find_checkpoint(options.run)
    request = read_request(run)
    if _is_over(checkpoint, run, request, options):
        return
    check_checkpoint(checkpoint, options.module)

    import gymnasium as gym

    from ...agents import Agent
    from ...records.checkpoint import CheckpointError
    from ..runs.run_report import learning, report

    step, end = _progress(checkpoint)
    if request is None:  # started by agent.learn(run=…)
        if checkpoint.state.get("callbacks"):
            line("This run was started from Python with callbacks, which a command cannot recreate: resuming without.")
        request = Request(command="learn", env=str((checkpoint.state.get("env") or {}).get("id")), steps=end)
    if options.ignore_stop_at:
        request = dataclasses.replace(request, stop_at=None)
        request.save(run)  # so that resuming again does not bring it back
    if not options.quiet:
        heading(f"{run} resumes from step {step:,} of {end:,}")
    with learning(run), as_user_error(CheckpointError, gym.error.Error):
        agent: Agent = Agent.resume(run, callbacks=request.callbacks(), progress=not options.quiet)
    report(agent, run, request, quiet=options.quiet)
    agent.close()


def _is_over(checkpoint: Checkpoint, run: Path, request: Request | None, options: Options) -> bool:
    """Whether the run is finished; if so, print why."""
    from ..runs.run_report import places

    step, end = _progress(checkpoint)
    stop_at = request.stop_at if request else None
    if step >= end:
        heading(f"{run} is finished: all of its {end:,} steps are done.")
    # A run that stopped by itself was evaluated at its last step; one that was killed was not.
    elif stop_at is not None and _evaluated_at(run) == step and not options.ignore_stop_at:
        heading(f"{run} is finished: it reached --stop-at {rounded(stop_at)} at step {step:,} of {end:,}.")
        line("To train for the remaining steps too, add --ignore-stop-at.")
    else:
        return False
    key_values(places(run))
    return True


def _progress(checkpoint: Checkpoint) -> tuple[int, int]:
    try:
        return int(checkpoint.state["learning"]["num_timesteps"]), int(checkpoint.state["plan"]["end"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{checkpoint.path} cannot be resumed: it has no plan") from error


def _evaluated_at(run: Path) -> int | None:
    try:
        return int(json.loads((run / "evaluation.json").read_text())["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
