"""The end of an agent's run, for every command that trains one: the final evaluation, and where everything is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...records.curves import draw_frontier
from ...records.folder import write_file
from ...records.progress import rounded
from ..console.errors import UserError, as_user_error
from ..console.printing import key_values, line, try_next
from .run_folder import EVALUATION_SEED, Request, holds_run, outcome

if TYPE_CHECKING:
    from ...agents import Agent, Scores

_NAMES = {"kl": "KL", "eos": "ended by itself"}


@contextlib.contextmanager
def learning(run: Path) -> Iterator[None]:
    """Wrap training: report an interruption, an error of the environment or a diverged loss with the remedy."""
    from ...agents.environment.adapter import EnvError
    from ...records.run import DivergedError
    from ...reward_models import RewardFunctionError

    try:
        with as_user_error(DivergedError, EnvError, RewardFunctionError, FloatingPointError, FileExistsError):
            yield
    except KeyboardInterrupt:
        remedy = f"resume with `textrlhf resume {run}` from the last checkpoint"
        if not holds_run(run):
            remedy = "there was no checkpoint yet (--checkpoint-every N saves them more often)"
        raise UserError(f"interrupted: {remedy}", status=130) from None


def evaluated(agent: Agent, run: Path, episodes: int) -> Scores:
    """Evaluate a trained agent, and save the scores as the run's `evaluation.json`."""
    from ...agents import evaluate

    sampled = writes(agent)
    scores = sampled_scores(agent, episodes) if sampled else evaluate(agent, n_episodes=episodes, seed=EVALUATION_SEED)
    found = outcome(agent, scores, deterministic=not sampled, seed=EVALUATION_SEED)
    write_file(run / "evaluation.json", json.dumps(found, indent=1))
    return scores


def writes(agent: Agent) -> bool:
    """Whether the agent writes texts: then it is evaluated on sampled texts, not on the most likely ones."""
    return agent.env.reference_model is not None


def sampled_scores(agent: Agent, episodes: int) -> Scores:
    """Scores of texts sampled after held-out prompts."""
    from ...agents import evaluate

    recipe = agent.env.recipe
    heldout = {"split": "heldout"} if recipe and has_heldout(recipe) else {}
    return evaluate(
        agent, n_episodes=episodes, seed=EVALUATION_SEED, deterministic=False, n_envs=64, env_kwargs=heldout
    )


def has_heldout(recipe: Mapping[str, Any]) -> bool:
    """Whether an environment has held-out prompts."""
    import gymnasium as gym

    try:
        gym.make(recipe["id"], **{**recipe["kwargs"], "split": "heldout"}).close()
    except (TypeError, ValueError):
        return False
    return True


def text_means(scores: Scores) -> str:
    """The means of the episodes' infos, in a line."""
    named = {name: mean for name, mean in scores.means().items() if name != "length"}
    parts = [f"{_NAMES.get(name, name)} {rounded(mean)}" for name, mean in named.items()]
    return ", ".join([*parts, f"{np.mean(scores.lengths):.1f} tokens"]) + f" (means of {len(scores.lengths)} texts)"


def report(agent: Agent, run: Path, request: Request, *, quiet: bool) -> None:
    """Evaluate, and print the scores, where everything is and what to try next."""
    scores = evaluated(agent, run, request.evaluation_episodes)
    draw_frontier(run, agent.title)
    if quiet:
        key_values([("Evaluation", str(scores)), ("Run", str(run))])
        return
    line()
    if agent.plan and agent.num_timesteps < agent.plan.end and request.stop_at is not None:
        step, stop_at = f"{agent.num_timesteps:,} of {agent.plan.end:,}", rounded(request.stop_at)
        line(f"Stopped at step {step}: --stop-at {stop_at} was reached.")
    key_values([("Evaluation", text_means(scores) if writes(agent) else str(scores)), *places(run)])
    commands = [(f'textrlhf write "PROMPT" --run {run}', "continue a prompt")]
    if not writes(agent):
        commands = [(f"textrlhf watch {run}", "watch it play")]
        commands += [(f"textrlhf evaluate {run} --stochastic", "with sampled actions, as in training")]
    if (run / "best").is_dir():
        commands += [(f"textrlhf evaluate {run} --best", "the best agent of the run")]
    try_next([*commands, (f"tensorboard --logdir {run}", "every curve")])


def places(run: Path) -> list[tuple[str, str]]:
    """Where the parts of a run are."""
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
