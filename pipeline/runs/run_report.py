"""The end of an agent's run, for every command that trains one: the final evaluation, and where everything is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...agents.environment.recipe import imports
from ...records.curves import draw_frontier
from ...records.folder import write_file
from ...records.progress import rounded
from ...records.references import references
from ..console.errors import UserError, as_user_error
from ..console.printing import key_values, line, try_next
from .run_folder import EVALUATION_SEED, Request, holds_run, outcome

if TYPE_CHECKING:
    from ...agents import Agent, Scores
    from ...records.run import Run

_NAMES = {"kl": "KL", "eos": "ended by itself"}


@contextlib.contextmanager
def learning(run: Path) -> Iterator[Run]:
    """Wrap training in a run's folder, which nobody else may write to meanwhile.

    An interruption, an error of the environment and a diverged loss are reported with the remedy.
    """
    from ...agents.environment.adapter import EnvError
    from ...records.run import Run
    from ...reward_models import RewardFunctionError

    mistakes = (EnvError, RewardFunctionError, FloatingPointError, FileExistsError)
    try:
        with as_user_error(*mistakes), Run(run).writing() as folder:
            yield folder
    except KeyboardInterrupt as stop:
        remedy = f"resume with `textrlhf resume {run}` from the last checkpoint"
        if not holds_run(run):
            remedy = "there was no checkpoint yet"
        said = str(stop)
        raise UserError(said if "resume" in said else f"interrupted: {remedy}", status=130) from None


def train_new(agent: Agent, run: Path, request: Request, *, quiet: bool = False) -> None:
    """Train an agent as requested in a folder of its own."""
    from ...agents.training.run_check import check_run

    with learning(run) as folder:
        check_run(agent, folder)
        request.save(run)
        agent.learn(request.steps, callbacks=request.callbacks(), run=folder, progress=not quiet)


def evaluated(agent: Agent, run: Path, episodes: int, *, progress: bool = True) -> Scores:
    """Evaluate a trained agent, and save the scores as the run's `evaluation.json`."""
    scores = scores_of(agent, episodes, progress=progress)
    write_file(run / "evaluation.json", json.dumps(outcome(agent, scores, seed=EVALUATION_SEED), indent=1))
    return scores


def scores_of(agent: Agent, episodes: int, **changes: Any) -> Scores:
    """Evaluate an agent on the episodes of every run's final evaluation; `changes` are arguments of `evaluate`."""
    from ...agents import evaluate
    from ...agents.environment.adapter import EnvError
    from ...reward_models import RewardFunctionError

    with as_user_error(EnvError, RewardFunctionError):
        return evaluate(agent, n_episodes=episodes, **{"seed": EVALUATION_SEED, **changes})


def in_words(agent: Agent, scores: Scores) -> str:
    """An evaluation in a line: of texts the means of what is known of each, else the return."""
    if not agent.env.is_text:
        return f"{scores}{'' if scores.deterministic else ', sampled actions'}"
    names = dict(_NAMES)
    if scores.deterministic:  # no KL, as the tokens are not drawn from π
        names["kl"] = "log π/π_ref"
    means = {name: mean for name, mean in scores.means().items() if name != "length"}
    parts = [f"{names.get(name, name)} {rounded(mean)}" for name, mean in means.items()]
    texts = f"{len(scores.lengths)} {'greedy' if scores.deterministic else 'sampled'} texts"
    prompts = {"heldout": ", held-out prompts", "train": ", training prompts"}.get(scores.split or "", "")
    return f"{', '.join(parts)}, {np.mean(scores.lengths):.1f} tokens (means of {texts}{prompts})"


def report(agent: Agent, run: Path, request: Request, *, quiet: bool) -> None:
    """Evaluate, and print the scores, where everything is and what to try next."""
    scores = evaluated(agent, run, request.evaluation_episodes, progress=not quiet)
    draw_frontier(run, agent.title)
    if quiet:
        key_values([("Evaluation", in_words(agent, scores)), ("Run", str(run))])
        return
    line()
    if agent.plan and agent.num_timesteps < agent.plan.end and request.stop_at is not None:
        step, stop_at = f"{agent.num_timesteps:,} of {agent.plan.end:,}", rounded(request.stop_at)
        line(f"Stopped at step {step}: --stop-at {stop_at} was reached.")
    key_values([("Evaluation", in_words(agent, scores)), *places(run)])
    recipe = agent.env.recipe
    named = recipe and (imports(recipe) or {"module", "entry_point"} & recipe.keys())
    trust = " --trust" if named or list(references(agent.config.to_json())) else ""
    commands = [(f'textrlhf write "PROMPT" --run {run}', "continue a prompt")]
    if not agent.env.is_text:
        commands = [(f"textrlhf watch {run}{trust}", "watch it play")]
        commands += [(f"textrlhf evaluate {run} --stochastic{trust}", "with sampled actions, as in training")]
    if (run / "best").is_dir():
        commands += [(f"textrlhf evaluate {run} --best{trust}", "the best agent of the run")]
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
