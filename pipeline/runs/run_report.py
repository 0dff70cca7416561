"""How a run ends, for every command that learns: the last evaluation, and where everything lies."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...records.curves import draw_frontier
from ...records.progress import rounded
from ..console.errors import UserError, as_user_error
from ..console.printing import key_values, line, try_next
from .run_folder import EVALUATION_SEED, Request, holds_run, outcome

if TYPE_CHECKING:
    from ...agents import Agent, Scores

_NAMES = {"kl": "KL", "eos": "ended by itself"}


@contextlib.contextmanager
def learning(run: Path) -> Iterator[None]:
    """Held around learning: an interruption, or a environment or a loss gone wrong, ends it with what to do next."""
    from ...agents.environment.adapter import EnvError
    from ...records.run import DivergedError

    try:
        with as_user_error(DivergedError, EnvError, FileExistsError):
            yield
    except KeyboardInterrupt:
        remedy = f"`textrlhf resume {run}` goes on from its last checkpoint"
        if not holds_run(run):
            remedy = "there was no checkpoint yet (--checkpoint-every N makes them more often)"
        raise UserError(f"interrupted: {remedy}", status=130) from None


def evaluated(agent: Agent, run: Path, episodes: int) -> Scores:
    """Evaluate what a run has learnt, and keep the scores as its `evaluation.json`."""
    from ...records.folder import write_file

    drawn = writes(agent)
    scores = drawn_scores(agent, episodes) if drawn else _likeliest_scores(agent, episodes)
    found = outcome(agent, scores, deterministic=not drawn, seed=EVALUATION_SEED)
    write_file(run / "evaluation.json", json.dumps(found, indent=1))
    return scores


def writes(agent: Agent) -> bool:
    """Whether the agent writes texts: then it is judged by what it draws, as people will read it."""
    return agent.env.reference_model is not None


def drawn_scores(agent: Agent, episodes: int) -> Scores:
    """Texts drawn from held-out prompts."""
    from ...agents import evaluate

    recipe = agent.env.recipe
    heldout = {"split": "heldout"} if recipe and has_heldout(recipe) else {}
    return evaluate(
        agent, n_episodes=episodes, seed=EVALUATION_SEED, deterministic=False, n_envs=64, env_kwargs=heldout
    )


def has_heldout(recipe: Mapping[str, Any]) -> bool:
    """Whether a environment's prompts come in splits of which one was held out."""
    import gymnasium as gym

    try:
        gym.make(recipe["id"], **{**recipe["kwargs"], "split": "heldout"}).close()
    except (TypeError, ValueError):
        return False
    return True


def told(scores: Scores) -> str:
    """What the environment said of the episodes, in a line."""
    named = {name: mean for name, mean in scores.means().items() if name != "length"}
    parts = [f"{_NAMES.get(name, name)} {rounded(mean)}" for name, mean in named.items()]
    return ", ".join([*parts, f"{np.mean(scores.lengths):.1f} tokens"]) + f" (means of {len(scores.lengths)} texts)"


def _likeliest_scores(agent: Agent, episodes: int) -> Scores:
    from ...agents import evaluate

    return evaluate(agent, n_episodes=episodes, seed=EVALUATION_SEED)


def report(agent: Agent, run: Path, request: Request, *, quiet: bool) -> None:
    """Evaluate, and say where everything lies and what to do with it."""
    scores = evaluated(agent, run, request.evaluation_episodes)
    draw_frontier(run, agent.title)
    if quiet:
        key_values([("Evaluation", str(scores)), ("Run", str(run))])
        return
    line()
    if agent.plan and agent.num_timesteps < agent.plan.end and request.stop_at is not None:
        line(
            f"It stopped at step {agent.num_timesteps:,} of {agent.plan.end:,}, having reached --stop-at "
            f"{rounded(request.stop_at)}."
        )
    key_values([("Evaluation", told(scores) if writes(agent) else str(scores)), *places(run)])
    best = [(f"textrlhf evaluate {run} --best", "the best agent on the way")] if (run / "best").is_dir() else []
    try_next(
        [
            *_first_words(agent, run),
            *best,
            (f"tensorboard --logdir {run}", "every curve"),
        ]
    )


def _first_words(agent: Agent, run: Path) -> list[tuple[str, str]]:
    if writes(agent):
        return [(f'textrlhf write "PROMPT" --run {run}', "let it write")]
    return [
        (f"textrlhf watch {run}", "see it play"),
        (f"textrlhf evaluate {run} --stochastic", "with actions drawn, as in training"),
    ]


def places(run: Path) -> list[tuple[str, str]]:
    """Where the parts of a run lie."""
    last = max((run / "checkpoints").glob("step-*")).name
    others = {
        "Gain over KL": run / "frontier.png",
        "Samples": run / "samples.jsonl",
        "Model": run / "model",
        "Best": run / "best",
    }
    return [
        ("Run", f"{run} (metrics.jsonl has every number)"),
        ("Curves", f"{run / 'curves.png'}"),
        *((name, str(path)) for name, path in others.items() if path.exists()),
        ("Checkpoints", f"{run / 'checkpoints'} (the last is {last})"),
    ]
