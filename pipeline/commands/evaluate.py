"""`textrlhf evaluate`: play episodes without training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from ..console.arguments import parse
from ..console.checks import at_least_one
from ..console.printing import key_values
from ..runs.run_folder import EVALUATION_SEED, find_checkpoint, load_agent, outcome


@dataclass
class Options:
    """Play episodes without training, and print mean, standard deviation, worst and best of their returns.

    Example:
      textrlhf evaluate runs/cartpole --episodes 20
    """

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """a run's folder (its last checkpoint is used), or a checkpoint's"""
    episodes: int = 100
    """how many to play"""
    stochastic: bool = False
    """sample actions as in training, instead of taking the most likely"""
    seed: int = EVALUATION_SEED
    """which episodes: the same seed gives the same scores"""
    best: bool = False
    """use the best agent of the run (train --evaluate-every), not the last"""
    module: str | None = None
    """a module to import first, which registers the environment"""
    device: str | None = None
    """where the policy runs: auto, cpu or cuda; by default where it was trained"""
    json: bool = False
    """print one line of JSON"""


def evaluate(argv: Sequence[str]) -> None:
    """Run `textrlhf evaluate`."""
    options = parse(Options, argv, "evaluate")
    at_least_one("--episodes", options.episodes)
    checkpoint = find_checkpoint(options.run, best=options.best)
    agent = load_agent(checkpoint, options.module, options.device)

    from ... import agents

    scores = agents.evaluate(
        agent, n_episodes=options.episodes, deterministic=not options.stochastic, seed=options.seed
    )
    agent.close()
    if options.json:
        result = outcome(agent, scores, deterministic=not options.stochastic, seed=options.seed)
        print(json.dumps({**result, "checkpoint": str(checkpoint.path)}))
        return
    how = "sampled" if options.stochastic else "the most likely"
    key_values(
        [
            ("Agent", f"{agent!r}"),
            ("Checkpoint", str(checkpoint.path)),
            ("Return", str(scores)),
            ("Length", f"{sum(scores.lengths) / len(scores.lengths):.1f} steps"),
            ("Actions", f"{how}, seed {options.seed}"),
        ]
    )
