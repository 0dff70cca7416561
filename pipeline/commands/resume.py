"""`textrlhf resume`: finish a run that was interrupted, or train it further."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from ...records.progress import rounded
from ..console.arguments import Hint, parse
from ..console.checks import check_kl_options, existing_folder
from ..console.errors import UserError, as_user_error
from ..console.hints import hint_for_resuming
from ..console.printing import heading, key_values, line
from ..runs.reward_run import is_reward_run
from ..runs.run_folder import Request, check_checkpoint, find_checkpoint, holds_run, read_request

if TYPE_CHECKING:
    from ...agents.settings.config import Config
    from ...records.checkpoint import Checkpoint


SomeOptions = TypeVar("SomeOptions")


@dataclass
class Options:
    """Finish a run that was interrupted, as if it had never stopped; or train it further, also with other settings.

    Example:
      textrlhf resume runs/cartpole
      textrlhf resume runs/cartpole --steps +100000 --learning-rate 1e-5
      textrlhf resume runs/text --kl-coef 0.02

    Hyperparameters of the run are options too; textrlhf resume DIR --help lists them. With other ones, another KL
    penalty or other steps, the run no longer ends with the same bits as an uninterrupted one.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """the run's folder, as given to train --run"""
    steps: Annotated[str | None, tyro.conf.arg(metavar="N|+N")] = None
    """train up to step N, which may be before the planned end, or for N more steps than planned"""
    kl_coef: Annotated[float | None, tyro.conf.arg(metavar="BETA")] = None
    """for text: another coefficient of the KL penalty; with a --kl-target it is adapted from there on"""
    kl_target: Annotated[float | None, tyro.conf.arg(metavar="NATS")] = None
    """for text: adapt the KL penalty from now on, towards this KL from the reference model per text"""
    ignore_stop_at: bool = False
    """train for all steps, although the run has reached its --stop-at"""
    module: str | None = None
    """a module to import first, which registers the environment"""
    trust: bool = False
    """import the code that the run names (environments, wrappers, reward functions, agents): only if you trust it"""
    quiet: bool = False
    """print nothing but the result"""


def resume(argv: Sequence[str]) -> None:
    """Run `textrlhf resume`."""
    options, changes, checkpoint = _parse(argv)
    run = _existing_run(options.run)
    if is_reward_run(run):
        from .reward.train import resume_run

        for flag, given in (("--steps", options.steps), *_kl_options(options)):
            if given is not None:
                raise UserError(f"{flag} is for agents: a reward model's training goes on as it was started")
        resume_run(run, quiet=options.quiet)
        return
    checkpoint = checkpoint or find_checkpoint(options.run)
    request = read_request(run)
    step, planned = _progress(checkpoint)
    if options.steps is not None:  # an update may have ended beyond the plan
        planned = max(step, planned)
    more = _more_steps(options.steps, step, planned)
    if _is_over(run, request, options, step, planned + more):
        return
    check_checkpoint(checkpoint, options.module, changes.get("device"), trust=options.trust)
    check_kl_options(str((checkpoint.state.get("env") or {}).get("id")), _kl_options(options))

    import gymnasium as gym

    from ...agents import Agent
    from ...language.free_memory import TooLittleMemoryError
    from ...records.checkpoint import CheckpointError
    from ..runs.run_report import learning, report

    if request is None:  # started by agent.learn(run=…)
        if any(name != "Warn" for name, _ in checkpoint.state.get("callbacks", [])):
            line("This run was started from Python with callbacks, which a command cannot recreate: resuming without.")
        request = Request(command="learn", env=str((checkpoint.state.get("env") or {}).get("id")), steps=planned)
    else:
        stop_at = None if options.ignore_stop_at else request.stop_at
        request = dataclasses.replace(request, steps=planned + more, stop_at=stop_at)
    if options.kl_target is not None:
        request = dataclasses.replace(request, kl_target=options.kl_target)
    if not options.quiet:
        heading(f"{run} resumes from step {step:,} of {planned + more:,}")
    with learning(run) as folder, as_user_error(CheckpointError, TooLittleMemoryError, gym.error.Error):
        if request.command != "learn":
            request.save(run)  # so that resuming again does not bring back what was changed
        agent: Agent = Agent.resume(
            folder,
            env_kwargs={} if options.kl_coef is None else {"kl_coef": options.kl_coef},
            callbacks=request.callbacks(),
            progress=not options.quiet,
            trust=options.trust,
            more_timesteps=more,
            **changes,
        )
    report(agent, run, request, quiet=options.quiet)
    agent.close()


def _kl_options(options: Options) -> list[tuple[str, float | None]]:
    return [("--kl-coef", options.kl_coef), ("--kl-target", options.kl_target)]


def _existing_run(name: str) -> Path:
    run = existing_folder(name)
    if not (is_reward_run(run) or holds_run(run)):
        from ...records.run import Run

        if empty := Run(run).why_empty():
            raise UserError(empty)
        raise UserError(f"no checkpoint in {run}: name a run's folder, as given to `textrlhf train --run`")
    return run


def _parse(argv: Sequence[str]) -> tuple[Options, dict[str, Any], Checkpoint | None]:
    """Parse a command line whose options depend on the run.

    Returns them, the hyperparameters that it changes, and the run's last checkpoint, if it was needed.
    """
    run = next((word for word in argv if holds_run(Path(word)) and not is_reward_run(Path(word))), None)
    checkpoint = find_checkpoint(run) if run else None
    begin = hyperparameters(checkpoint) if checkpoint else None
    if run is None or checkpoint is None or begin is None:
        if argv and not argv[0].startswith("-"):
            _existing_run(argv[0])  # before its options, which are not known without it
        return parse(Options, argv, "resume"), {}, checkpoint

    hint = functools.partial(hint_for_resuming, run, str((checkpoint.state.get("env") or {}).get("id")))
    options, changes = parse_changes(Options, argv, "resume", begin, hint)
    return options, changes, checkpoint


def parse_changes(
    options_class: type[SomeOptions], argv: Sequence[str], command: str, begin: Config, hint: Hint | None = None
) -> tuple[SomeOptions, dict[str, Any]]:
    """Parse a command line with the hyperparameters of a run as further options; also returns those it changes."""
    from ...agents.training.resume import FIXED

    both: Any = dataclasses.make_dataclass(
        command.title(),
        [("hyperparameters", type(begin))],
        bases=(options_class,),
        namespace={"__doc__": options_class.__doc__},
        kw_only=True,
    )
    options = parse(both, argv, command, both(run=tyro.MISSING, hyperparameters=begin), hint)
    chosen = {field.name: getattr(options.hyperparameters, field.name) for field in dataclasses.fields(begin)}
    changes = {name: value for name, value in chosen.items() if value != getattr(begin, name)}
    if fixed := sorted(FIXED & changes.keys()):
        raise UserError(f"--{fixed[0].replace('_', '-')} cannot be changed on {command}: start a new run")
    return options, changes


def hyperparameters(checkpoint: Checkpoint) -> Config | None:
    """Those of a checkpoint, without what would have to be imported; None where its agent is unknown."""
    from ...agents.settings.config import make_config
    from ...agents.settings.registry import AGENTS, agent_class
    from ...records.references import references

    name, stored = checkpoint.state.get("agent"), checkpoint.state.get("config")
    if name not in AGENTS or not isinstance(stored, dict):
        return None
    plain = {key: value for key, value in stored.items() if not list(references(value))}
    with as_user_error(TypeError, ValueError, about=str(checkpoint.path)):
        config: Config = make_config(agent_class(name).config_class, **plain)
    return config


def _more_steps(given: str | None, step: int, planned: int) -> int:
    """The steps that are trained beyond the plan, or if negative those of it that are not."""
    if given is None:
        return 0
    if not re.fullmatch(r"\+?[\d_]+", given):
        raise UserError(
            f"--steps {given}: accepted is a step to train to, or +N for N more than the planned {planned:,}"
        )
    more = int(given) if given.startswith("+") else int(given) - planned
    if more and planned + more <= step:
        raise UserError(
            f"--steps {given}: the run is at step {step:,} of {planned:,}; accepted is a later step, or +N for N more "
            "than planned"
        )
    return more


def _is_over(run: Path, request: Request | None, options: Options, step: int, end: int) -> bool:
    """Whether the run is finished; if so, print why."""
    from ..runs.run_report import places

    stop_at = request.stop_at if request else None
    if step >= end:
        heading(f"{run} is finished: all of its {end:,} steps are done.")
        line("To train it further, add --steps +N.")
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
