"""The reference scores of the tuned control settings: several seeds, deterministic, all of them written down.

    python benchmarks/control_scores.py                                  # all environments, 5 seeds
    python benchmarks/control_scores.py --env CartPole-v1 --seeds 3      # one run, printed and not written

Writes runs/reference/control/<env>.json and scores.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from matplotlib.figure import Figure

import textrlhf
from textrlhf.agents import PPO, evaluate
from textrlhf.agents.settings.config import tuned_settings
from textrlhf.records.folder import write_file
from textrlhf.records.metrics import read_metrics

FOLDER = Path(__file__).resolve().parent.parent / "runs" / "reference" / "control"
GOALS = {"CartPole-v1": 490, "Acrobot-v1": -85, "MountainCar-v0": -115, "Pendulum-v1": -180}


def run(env: str, seed: int) -> dict[str, object]:
    """Train one seed and grade it over 100 fresh episodes."""
    steps = tuned_settings("ppo")[env].total_timesteps
    since = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        agent = PPO.tuned(env, seed=seed).learn(steps, run=folder, progress=sys.stdout.isatty())
        rows = [row for row in read_metrics(Path(folder) / "metrics.jsonl") if "rollout/return" in row]
    seconds = time.perf_counter() - since
    scores = evaluate(agent, n_episodes=100, seed=10_000)
    agent.close()
    curve = [[row["step"], round(row["rollout/return"], 2)] for row in rows[:: max(1, len(rows) // 60)]]
    result = {"seed": seed, "mean": round(scores.mean, 2), "std": round(scores.std, 2)}
    print(env, json.dumps(result), f"{seconds:.0f} s", flush=True)
    return {**result, "curve": curve}


def reference(env: str, seeds: list[int]) -> None:
    """Write one environment's reference."""
    runs = [run(env, seed) for seed in seeds]
    means = [float(str(row["mean"])) for row in runs]
    settings = tuned_settings("ppo")[env]
    summary = {
        "env": env,
        "command": f"python benchmarks/control_scores.py --env {env}",
        "versions": {"textrlhf": textrlhf.__version__, "torch": torch.__version__},
        "total_timesteps": settings.total_timesteps,
        "hyperparameters": settings.hyperparameters,
        "goal": GOALS[env],
        "mean": round(sum(means) / len(means), 2),
        "worst": min(means),
        "runs": runs,
    }
    write_file(FOLDER / f"{env}.json", json.dumps(summary, indent=1) + "\n")
    print(f"{env}: mean {summary['mean']}, worst {summary['worst']}, goal {GOALS[env]}")


def draw() -> None:
    """Draw every reference there is into scores.png."""
    files = sorted(FOLDER.glob("*.json"))
    figure = Figure(figsize=(4 * len(files), 3.6), layout="constrained")
    figure.suptitle("return of the last 100 training episodes; dotted: the goal for the final evaluation", fontsize=9)
    for axes, file in zip(figure.subplots(1, len(files), squeeze=False)[0], files, strict=True):
        summary = json.loads(file.read_text())
        for row in summary["runs"]:
            steps, returns = zip(*row["curve"], strict=True)
            axes.plot([step / 1000 for step in steps], returns, lw=1, label=f"seed {row['seed']}: {row['mean']:.0f}")
        axes.axhline(summary["goal"], color="black", ls=":", lw=1)
        axes.set_title(f"{summary['env']}\nmean {summary['mean']:.1f}, worst {summary['worst']:.1f}", fontsize=10)
        axes.set_xlabel("thousand steps")
        axes.legend(fontsize=7, title="final evaluation", title_fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(FOLDER / "scores.png", dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=list(GOALS), action="append", help="several times for several; default all")
    parser.add_argument(
        "--seeds", type=int, nargs="*", help="only these, printed and not written; default writes 0 to 4"
    )
    options = parser.parse_args()
    for env in options.env or GOALS:
        if options.seeds is not None:
            for seed in options.seeds:
                run(env, seed)
        else:
            reference(env, list(range(5)))
    if options.seeds is None:
        draw()


if __name__ == "__main__":
    main()
