"""`textrlhf demo`: PPO on a small language model, in three minutes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ..console.arguments import parse
from ..console.checks import at_least_one
from ..console.errors import UserError, as_user_error
from ..console.printing import heading, key_values, line, side_by_side, try_next
from ..runs.run_folder import Request, read_request

if TYPE_CHECKING:
    from ...language import CausalLM

ENV = "TextRLHF-v0"
SHOWN = 4  # prompts
SEED = 1


@dataclass
class Options:
    """Train a small language model with PPO to write reviews that a reward model likes, in about three minutes.

    Example:
      textrlhf demo
    """

    run: Annotated[str, tyro.conf.arg(metavar="DIR")] = "runs/demo"
    """where to save it; an earlier demo there is replaced"""
    steps: int | None = None
    """number of steps to train for"""


def demo(argv: Sequence[str]) -> None:
    """Run `textrlhf demo`."""
    options = parse(Options, argv, "demo")
    at_least_one("--steps", options.steps)
    run = Path(options.run)
    _clear(run)

    from ...agents import PPO
    from ...agents.settings.config import tuned_settings
    from ...records.curves import draw_frontier
    from ..runs.run_report import evaluated, in_words, places, scores_of, train_new

    steps = options.steps or tuned_settings(PPO.name)[ENV].total_timesteps
    agent = PPO.tuned(ENV, seed=SEED)
    reference = agent.env.reference_model
    size = sum(parameter.numel() for parameter in reference.model.parameters())
    heading("PPO trains a small language model to write reviews that a learned reward model likes")
    key_values(
        [
            ("Model", f"{reference.name}, {size:,} weights: it continues reviews, positive and negative alike"),
            ("Reward", "a reward model trained on 4,000 comparisons of such reviews, a tenth of them wrong"),
            ("Score", "of the reward model: the original model's reviews have mean 0 and standard deviation 1"),
            ("Gold", "how positive a review truly is, from -1 to 1; neither reward model nor PPO sees it"),
            ("KL", "of the trained model from the original one, in nats per text; the reward has a penalty for it"),
            ("Before", in_words(agent, scores_of(agent, 200, progress=True))),
        ]
    )
    train_new(agent, run, Request(command="demo", env=ENV, steps=steps, evaluation_episodes=400))
    draw_frontier(run, "The demo's score against its KL")
    line()
    side_by_side(("before", "after"), pairs(reference, agent.policy.lm))  # type: ignore[attr-defined]
    key_values([("After", in_words(agent, evaluated(agent, run, 400))), *places(run)])
    agent.close()
    try_next(
        [
            (f'textrlhf write "The film was" --run {run} -n 5 --reward-model reviews', "write, and score the texts"),
            (f"tensorboard --logdir {run}", "every curve, and samples of the same prompts over time"),
            ("textrlhf train --env TextRLHF-v0 --run runs/text", "the same with settings of yours (--help)"),
            ("textrlhf train --env CartPole-v1 --seed 0", "the same PPO on control"),
        ]
    )


def pairs(before: CausalLM, after: CausalLM) -> list[tuple[str, str]]:
    """Continuations of some held-out prompts by both models, with the same seed, each with its gold score."""
    from ...envs.text.tasks import make_task
    from ...language import generate

    task = make_task("reviews", False)
    every = task.prompts("heldout")
    prompts = [every[i * len(every) // SHOWN] for i in range(SHOWN)]
    columns = []
    for lm in (before, after):
        ids = [tokens.tolist() for tokens in lm.encode_all([prompt.text for prompt in prompts])]
        texts = generate(lm, ids, task.max_new_tokens, seed=SEED)
        responses = [lm.continuation(text.prompt, text.tokens) for text in texts]
        gold = task.measure(prompts, responses)["gold"]
        columns.append([f"{p.text}{r}  [{g:+.2f}]" for p, r, g in zip(prompts, responses, gold, strict=True)])
    return list(zip(*columns, strict=True))


def _clear(run: Path) -> None:
    """Delete an earlier demo; refuse to delete anything else."""
    from ...records.run import LOCK, Run

    inside = [path for path in run.iterdir() if path.name != LOCK] if run.is_dir() else []
    if not run.exists() or (run.is_dir() and not inside):
        return
    request = read_request(run) if run.is_dir() else None
    if request is None or request.command != "demo":
        raise UserError(f"{run} is not a demo's folder and will not be deleted: name another --run")
    with as_user_error(FileExistsError), Run(run).writing():  # refused while another demo runs there
        for path in inside:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
