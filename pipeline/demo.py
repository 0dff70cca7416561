"""`textrlhf demo`: the shortest way to see something learn."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .arguments import parse
from .checks import at_least_one
from .errors import UserError
from .run_folder import Request, read_request
from .words import facts, heading, try_next

ENV = "CartPole-v1"


@dataclass
class Options:
    """PPO learns to balance a pole on a cart, in under a minute.

    Example:
      textrlhf demo
    """

    run: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/demo"
    """where to keep it; the demo that was there before is replaced"""
    steps: int | None = None
    """learn for fewer steps, or for more"""


def demo(argv: Sequence[str]) -> None:
    """Run `textrlhf demo`."""
    options = parse(Options, argv, "demo")
    at_least_one("--steps", options.steps)
    run = Path(options.run)
    _clear(run)

    from ..agents import PPO, evaluate
    from ..agents.config import tuned_settings
    from .finish import evaluated, learning, places

    steps = options.steps or tuned_settings(PPO.name)[ENV].total_timesteps
    agent = PPO.tuned(ENV, seed=1)
    heading(f"PPO learns {ENV}: keep a pole upright on a cart for 500 steps, one point each")
    facts([("Before", str(evaluate(agent, n_episodes=20)))])
    Request(command="demo", env=ENV, steps=steps).save(run)
    with learning(run):
        agent.learn(steps, run=run)
    facts([("After", str(evaluated(agent, run, 100))), *places(run)])
    agent.close()
    try_next(
        [
            (f"textrlhf watch {run}", "see it play"),
            (f"textrlhf evaluate {run} --stochastic", "with actions drawn, as in training"),
            ("textrlhf train --env Acrobot-v1 --seed 0", "another environment"),
        ]
    )


def _clear(run: Path) -> None:
    """Delete an earlier demo, and nothing else."""
    if not run.exists() or (run.is_dir() and not any(run.iterdir())):
        return
    request = read_request(run) if run.is_dir() else None
    if request is None or request.command != "demo":
        raise UserError(f"{run} holds something other than a demo, which will not be deleted: name another --run")
    shutil.rmtree(run)
