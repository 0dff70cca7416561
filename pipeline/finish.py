"""How a run ends, for every command that learns: the last evaluation, and where everything lies."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..records.progress import rounded
from .errors import UserError, blaming_user
from .run_folder import EVALUATION_SEED, Request, holds_run, outcome
from .words import facts, line, try_next

if TYPE_CHECKING:
    from ..agents import Agent, Scores


@contextlib.contextmanager
def learning(run: Path) -> Iterator[None]:
    """Held around learning: an interruption, or a world or a loss gone wrong, ends it with what to do next."""
    from ..agents.diagnostics import DivergedError
    from ..agents.world import WorldError

    try:
        with blaming_user(DivergedError, WorldError, FileExistsError):
            yield
    except KeyboardInterrupt:
        remedy = f"`textrlhf resume {run}` goes on from its last checkpoint"
        if not holds_run(run):
            remedy = "there was no checkpoint yet (--checkpoint-every N makes them more often)"
        raise UserError(f"interrupted: {remedy}", status=130) from None


def evaluated(agent: Agent, run: Path, episodes: int) -> Scores:
    """Evaluate what a run has learnt, and keep the scores as its `evaluation.json`."""
    from ..agents import evaluate
    from ..records.folder import write_file

    scores = evaluate(agent, n_episodes=episodes, seed=EVALUATION_SEED)
    write_file(
        run / "evaluation.json", json.dumps(outcome(agent, scores, deterministic=True, seed=EVALUATION_SEED), indent=1)
    )
    return scores


def report(agent: Agent, run: Path, request: Request, *, quiet: bool) -> None:
    """Evaluate, and say where everything lies and what to do with it."""
    scores = evaluated(agent, run, request.evaluation_episodes)
    if quiet:
        facts([("Evaluation", str(scores)), ("Run", str(run))])
        return
    line()
    if agent.plan and agent.num_timesteps < agent.plan.end and request.stop_at is not None:
        line(
            f"It stopped at step {agent.num_timesteps:,} of {agent.plan.end:,}, having reached --stop-at "
            f"{rounded(request.stop_at)}."
        )
    facts([("Evaluation", str(scores)), *places(run)])
    best = [(f"textrlhf evaluate {run} --best", "the best agent on the way")] if (run / "best").is_dir() else []
    try_next(
        [
            (f"textrlhf watch {run}", "see it play"),
            (f"textrlhf evaluate {run} --stochastic", "with actions drawn, as in training"),
            *best,
            (f"tensorboard --logdir {run}", "every curve"),
        ]
    )


def places(run: Path) -> list[tuple[str, str]]:
    """Where the parts of a run lie."""
    last = max((run / "checkpoints").glob("step-*")).name
    best = [("Best", f"{run / 'best'}")] if (run / "best").is_dir() else []
    return [
        ("Run", f"{run} (metrics.jsonl has every number)"),
        ("Curve", f"{run / 'curves.png'}"),
        ("Checkpoints", f"{run / 'checkpoints'} (the last is {last})"),
        *best,
    ]
