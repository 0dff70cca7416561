"""The reference scores of agents on text: several seeds, sampled texts for held-out prompts, all of them recorded.

    python benchmarks/text_scores.py                                   # everything, 5 seeds; --jobs 2: two at a time
    python benchmarks/text_scores.py --run reviews --seeds 0 1         # one kind, printed and not written
    python benchmarks/text_scores.py --draw                            # the pictures again, from the JSON

reviews        TextRLHF-v0, the shipped model and the shipped, learned reward model
reviews-gold   the same with the true score as the reward model: what the reward model's mistakes cost. Over the
               model's own texts the reward model has deviation 1 and gold .583, so the KL penalty and the penalty for a
               missing end are .583 times as large
reviews-reinforce   the same as reviews by REINFORCE
arithmetic, qa, dialogue
               a model of the shape of the shipped `tasks`, cloned first (by the agent `clone`) from few demonstrations:
               the shipped one knows what it can know, and sells nearly without fault

Writes runs/reference/text/<kind>.json, scores.png and kl.png.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

import textrlhf
from textrlhf.agents import Agent, Clone, evaluate
from textrlhf.agents.settings.config import tuned_settings
from textrlhf.agents.settings.registry import agent_class
from textrlhf.envs.text.demonstrations import demonstrations
from textrlhf.language import CausalLM, load
from textrlhf.records import plots
from textrlhf.records.folder import write_file
from textrlhf.records.metrics import read_metrics

FOLDER = Path(__file__).resolve().parent.parent / "runs" / "reference" / "text"
TEXTS = 500  # that an evaluation draws
Start = Callable[[int, Path], dict[str, Any]]  # seed and folder to further arguments of the environment
TOLD = ("gold", "score", "grammatical", "kl", "eos", "length")
DRAWN = {"reviews": "Positive reviews", "dialogue": "Sales dialogue", "qa": "Questions", "arithmetic": "Arithmetic"}
CURVE = ("rollout/gold", "rollout/score", "rollout/kl", "train/explained_variance")


@dataclass(frozen=True)
class Kind:
    """One row of references."""

    env: str
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    start: Start | None = None  # makes the model to start from, where it is not the shipped one
    agent: str = "ppo"


def graded(agent: Agent) -> dict[str, float]:
    """Means over drawn texts for held-out prompts, and gold for the training prompts."""
    seen, unseen = (
        evaluate(agent, n_episodes=TEXTS, deterministic=False, n_envs=100, seed=10_000, env_kwargs={"split": split})
        for split in ("train", "heldout")
    )
    means = {**unseen.means(), "length": sum(unseen.lengths) / len(unseen.lengths)}
    chosen = {name: round(means[name], 3) for name in TOLD if name in means}
    return {**chosen, "gold_of_training_prompts": round(seen.means()["gold"], 3)}


def run(name: str, seed: int) -> dict[str, Any]:
    """Train one seed and grade it before and after."""
    kind, folder = KINDS[name], tempfile.TemporaryDirectory()
    with folder:
        further = kind.start(seed, Path(folder.name) / "start") if kind.start else {}
        settings = tuned_settings(kind.agent)[kind.env]
        env_kwargs = {**settings.env_kwargs, **kind.env_kwargs, **further}
        agent = agent_class(kind.agent).tuned(kind.env, seed=seed, env_kwargs=env_kwargs, **settings.hyperparameters)
        before = graded(agent)
        since, busy = time.perf_counter(), time.process_time()
        agent.learn(settings.total_timesteps, run=Path(folder.name) / "run", progress=sys.stdout.isatty())
        seconds, busy = time.perf_counter() - since, time.process_time() - busy
        rows = read_metrics(Path(folder.name) / "run" / "metrics.jsonl")
        after = graded(agent)
    agent.close()
    curve = [
        [row["step"], *(round(row[column], 3) if row.get(column) is not None else None for column in CURVE)]
        for row in rows[:: max(1, len(rows) // 40)]
    ]
    result = {
        "seed": seed,
        "before": before,
        "after": after,
        "seconds": round(seconds),
        "processor_seconds": round(busy),
    }
    print(name, json.dumps(result), flush=True)
    return {**result, "curve": curve}


def novice(env: str, n: int, passes: int) -> Start:
    """A model of the shipped shape that has seen n demonstrations so many times."""

    def make(seed: int, folder: Path) -> dict[str, Any]:
        shipped = load("tasks", "cpu")
        torch.manual_seed(seed)
        fresh = AutoModelForCausalLM.from_config(shipped.model.config, dtype=torch.float32)
        CausalLM(fresh, shipped.tokenizer).save(folder / "fresh")
        agent = Clone(
            env,
            env_kwargs={"model": str(folder / "fresh")},
            demonstrations=demonstrations(env, n, seed=seed),
            learning_rate=3e-3,
            batch_size=512,
            warmup=20,
            torch_threads=1,
            seed=seed,
        )
        agent.learn(passes * agent.epoch_steps, run=folder / "clone", progress=False)
        agent.close()
        return {"model": str(folder / "clone" / "model")}

    return make


KINDS = {
    "reviews": Kind("TextRLHF-v0"),
    "reviews-gold": Kind("TextRLHF-v0", {"reward_model": "gold", "kl_coef": 0.146, "missing_eos_penalty": 2.33}),
    "reviews-reinforce": Kind("TextRLHF-v0", agent="reinforce"),
    "arithmetic": Kind("TextArithmetic-v0", start=novice("TextArithmetic-v0", 4000, 6)),
    "qa": Kind("TextQA-v0", start=novice("TextQA-v0", 2000, 5)),
    "dialogue": Kind("TextDialogue-v0", start=novice("TextDialogue-v0", 300, 8)),
}


def reference(name: str, seeds: list[int], jobs: int) -> None:
    """Write one kind's reference."""
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        runs = list(pool.map(run, [name] * len(seeds), seeds))
    settings = tuned_settings(KINDS[name].agent)[KINDS[name].env]
    gold = [row["after"]["gold"] for row in runs]
    summary = {
        "env": KINDS[name].env,
        "env_kwargs": {**settings.env_kwargs, **KINDS[name].env_kwargs},
        "command": f"python benchmarks/text_scores.py --run {name}",
        "versions": {"textrlhf": textrlhf.__version__, "torch": torch.__version__},
        "total_timesteps": settings.total_timesteps,
        "hyperparameters": settings.hyperparameters,
        "gold_before": mean(runs, "before", "gold"),
        "gold": mean(runs, "after", "gold"),
        "worst": min(gold),
        "training_prompts": [mean(runs, when, "gold_of_training_prompts") for when in ("before", "after")],
        "curve": ["step", *CURVE],
        "runs": runs,
    }
    write_file(FOLDER / f"{name}.json", json.dumps(summary) + "\n")
    print(f"{name}: gold {summary['gold_before']} to {summary['gold']}, worst {summary['worst']}")


def mean(runs: list[dict[str, Any]], when: str, name: str) -> float:
    """Of all seeds."""
    return round(sum(row[when][name] for row in runs) / len(runs), 3)


def draw() -> None:
    """Draw the true score over tokens (scores.png) and over KL (kl.png), each light and dark."""
    tasks = {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in DRAWN}
    curves = {name: columns(summary) for name, summary in tasks.items()}

    def over_tokens(figure) -> None:
        for axes, (name, summary) in zip(figure.subplots(2, 2).flat, tasks.items(), strict=True):
            steps, gold, _ = curves[name]
            plots.band(axes, steps[0], gold)
            before, after = summary["gold_before"], summary["gold"]
            plots.ends(axes, (0, steps[0][-1]), (before, after), plots.RED)
            plots.label(axes, steps[0][-1], after, f"{after:.2f}", plots.RED, weight="bold")
            axes.set_title(f"{DRAWN[name]}: {before:z.2f} → {after:.2f}")
            plots.thousands(axes.xaxis)

    def over_kl(figure) -> None:
        for axes, (name, summary) in zip(figure.subplots(2, 2).flat, tasks.items(), strict=True):
            _, gold, kl = curves[name]
            plots.trajectory(axes, kl.mean(0), gold.mean(0))
            axes.set_title(f"{DRAWN[name]}: ends at {mean(summary['runs'], 'after', 'kl'):.1f} nats")
            axes.set_xlim(left=-0.03 * axes.get_xlim()[1])

    note = (
        "True score over training tokens: mean (line) and min–max (band) over 5 seeds, on training prompts.\n"
        "Circles: held-out prompts, before (open) and after (filled) training, mean over 5 seeds, as in the headings."
    )
    title = "PPO raises the true score on four text tasks"
    plots.picture(FOLDER / "scores.png", over_tokens, (9, 6.4), title, note, dark=True)
    furthest = max(run["after"]["kl"] for summary in tasks.values() for run in summary["runs"])
    note = (
        "True score over KL to the reference model (nats per text), on training prompts, mean over 5 seeds.\n"
        "Open circle: start, filled circle: end; line: smoothed; points: one per policy update."
    )
    title = f"Every seed ends within {math.ceil(furthest)} nats of the reference model"
    plots.picture(FOLDER / "kl.png", over_kl, (9, 6.4), title, note, dark=True)


def columns(summary: dict[str, Any]) -> np.ndarray:
    """Steps, true score and KL of the training curves: (3, seeds, points)."""
    wanted = [summary["curve"].index(name) for name in ("step", "rollout/gold", "rollout/kl")]
    return np.array([run["curve"] for run in summary["runs"]], dtype=float)[..., wanted].transpose(2, 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", choices=list(KINDS), action="append", help="several times for several; default all")
    parser.add_argument("--jobs", type=int, default=1, help="how many seeds are trained at a time")
    parser.add_argument("--seeds", type=int, nargs="*", help="only these, printed and not written")
    parser.add_argument("--draw", action="store_true", help="only draw the pictures from what is written")
    options = parser.parse_args()
    for name in () if options.draw else options.run or KINDS:
        if options.seeds is not None:
            for seed in options.seeds:
                run(name, seed)
        else:
            reference(name, list(range(5)), options.jobs)
    if options.seeds is None:
        draw()


if __name__ == "__main__":
    main()
