"""`textrlhf profile`: where the time of an agent's rollouts and updates goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..console.arguments import peek
from ..console.checks import at_least_one
from ..console.errors import UserError
from ..console.printing import heading, line, table
from ..runs.run_folder import find_checkpoint, load_agent
from .resume import hyperparameters, parse_changes
from .train import AgentOptions, checked_arguments, make_agent, parse_options

if TYPE_CHECKING:
    from ...agents import Agent
    from ...agents.training.profiling import Profile

ENV = "TextRLHF-v0"


@dataclass
class Options(AgentOptions):
    """Show where the time of rollouts and updates goes: matrix products, attention, the optimiser, Python.

    Example:
      textrlhf profile --model HuggingFaceTB/SmolLM2-135M --n-envs 16 --n-steps 20 --torch-threads 2
      textrlhf profile --env CartPole-v1
      textrlhf profile runs/text

    Trains for a few updates and forgets them. Every hyperparameter is an option too.
    """

    env: Annotated[str, tyro.conf.arg(metavar="ID")] = ENV
    """the environment, for example CartPole-v1"""
    updates: int = 2
    """how many are measured, after one that is not"""
    json: bool = False
    """print one line of JSON"""


@dataclass
class RunOptions:
    """Show where the time of a run's rollouts and updates goes; nothing in its folder is changed.

    Example:
      textrlhf profile runs/text --n-steps 32

    Hyperparameters of the run are options too.
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """a run's folder (its last checkpoint is used), or a checkpoint's"""
    updates: int = 2
    """how many are measured, after one that is not"""
    module: str | None = None
    """a module to import first, which registers the environment"""
    trust: bool = False
    """import the code that the run names (environments, wrappers, reward functions, agents): only if you trust it"""
    json: bool = False
    """print one line of JSON"""


def profile(argv: Sequence[str]) -> None:
    """Run `textrlhf profile`."""
    from ...agents.training.profiling import profile as measure

    agent, options = (_from_run if argv and not argv[0].startswith("-") else _new)(argv)
    if agent.device.type != "cpu":
        raise UserError(f"the agent is on {agent.device}, and only the CPU is profiled: add --device cpu")
    found = measure(agent, options.updates)
    about = {"agent": agent.name, "env": agent.env.name, "n_envs": agent.env.n_envs}
    if options.json:
        print(json.dumps(about | found.to_json()))
    else:
        steps = found.steps // found.updates
        heading(f"{agent.title}: {found.updates} updates of {steps:,} steps, {agent.env.n_envs} environments")
        _print(found)
    agent.close()


def _new(argv: Sequence[str]) -> tuple[Agent, Options]:
    argv = list(argv) if peek(argv, "--env") else ["--env", ENV, *argv]
    options, config = parse_options(argv, Options, "profile")
    at_least_one("--updates", options.updates)
    return make_agent(options, config, checked_arguments(options, config))[0], options


def _from_run(argv: Sequence[str]) -> tuple[Agent, RunOptions]:
    checkpoint = find_checkpoint(argv[0])
    begin = hyperparameters(checkpoint)
    if begin is None:
        raise UserError(f"{checkpoint.path} is of an agent of your own, whose hyperparameters are unknown here")
    options, changes = parse_changes(RunOptions, argv, "profile", begin)
    at_least_one("--updates", options.updates)
    return load_agent(checkpoint, options.module, None, options.trust, changes), options


def _print(found: Profile) -> None:
    """Print the shares of each part of an update."""
    from ...agents.training.profiling import KINDS, OTHER, PYTHON

    total = sum(sum(kinds.values()) for kinds in found.seconds.values())
    parts = [part for part, kinds in found.seconds.items() if sum(kinds.values()) >= 0.005 * total]
    rows = [[kind, *(f"{found.share(part, kind):.0%}" for part in parts)] for kind in (*KINDS, OTHER, PYTHON)]
    each: dict[str, Any] = {part: sum(found.seconds[part].values()) for part in parts}
    last = [["seconds", *(f"{each[part] / found.updates:.3g}" for part in parts)]]
    last += [["share of the time", *(f"{each[part] / total:.0%}" for part in parts)]]
    table(["", *parts], [rows, last])
    line("Python includes the environment's own code, and what operations wait for. Profiling itself slows small")
    line("operations down: for speeds see time/steps_per_second of a run.")
