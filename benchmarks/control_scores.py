"""The reference scores of the tuned control settings: several seeds, deterministic, all of them written down.

    python benchmarks/control_scores.py                                  # all environments, 5 seeds
    python benchmarks/control_scores.py --env CartPole-v1 --seeds 3      # one run, printed and not written
    python benchmarks/control_scores.py --agent reinforce --env CartPole-v1   # another agent
    python benchmarks/control_scores.py --draw                           # the picture again, from the JSON

Writes runs/reference/control/<env>.json (of PPO; of others <agent>-<env>.json) and scores.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

import textrlhf
from textrlhf.agents import evaluate
from textrlhf.agents.settings.config import tuned_settings
from textrlhf.agents.settings.registry import agent_class
from textrlhf.records import plots
from textrlhf.records.folder import write_file
from textrlhf.records.metrics import read_metrics

FOLDER = Path(__file__).resolve().parent.parent / "runs" / "reference" / "control"
GOALS = {"CartPole-v1": 490, "Acrobot-v1": -85, "MountainCar-v0": -115, "Pendulum-v1": -180}


def run(agent_name: str, env: str, seed: int) -> dict[str, object]:
    """Train one seed and grade it over 100 fresh episodes."""
    steps = tuned_settings(agent_name)[env].total_timesteps
    since = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        agent = agent_class(agent_name).tuned(env, seed=seed).learn(steps, run=folder, progress=sys.stdout.isatty())
        rows = [row for row in read_metrics(Path(folder) / "metrics.jsonl") if "rollout/return" in row]
    seconds = time.perf_counter() - since
    scores = evaluate(agent, n_episodes=100, seed=10_000)
    agent.close()
    curve = [[row["step"], round(row["rollout/return"], 2)] for row in rows[:: max(1, len(rows) // 60)]]
    result = {"seed": seed, "mean": round(scores.mean, 2), "std": round(scores.std, 2)}
    print(agent_name, env, json.dumps(result), f"{seconds:.0f} s", flush=True)
    return {**result, "curve": curve}


def reference(agent_name: str, env: str, seeds: list[int]) -> None:
    """Write one environment's reference."""
    runs = [run(agent_name, env, seed) for seed in seeds]
    means = [float(str(row["mean"])) for row in runs]
    settings = tuned_settings(agent_name)[env]
    summary = {
        "env": env,
        "command": f"python benchmarks/control_scores.py --agent {agent_name} --env {env}",
        "versions": {"textrlhf": textrlhf.__version__, "torch": torch.__version__},
        "total_timesteps": settings.total_timesteps,
        "hyperparameters": settings.hyperparameters,
        "goal": GOALS[env],
        "mean": round(sum(means) / len(means), 2),
        "worst": min(means),
        "runs": runs,
    }
    name = env if agent_name == "ppo" else f"{agent_name}-{env}"
    write_file(FOLDER / f"{name}.json", json.dumps(summary, indent=1) + "\n")
    print(f"{env}: mean {summary['mean']}, worst {summary['worst']}, goal {GOALS[env]}")


def draw() -> None:
    """Draw every reference there is into scores.png and scores-dark.png."""
    summaries = [json.loads((FOLDER / f"{env}.json").read_text()) for env in GOALS]

    def panels(figure) -> None:
        for axes, summary in zip(figure.subplots(2, 2).flat, summaries, strict=True):
            steps = [step for step, _ in summary["runs"][0]["curve"]]
            plots.band(axes, steps, [[value for _, value in run["curve"]] for run in summary["runs"]])
            axes.axhline(summary["goal"], color=plots.MUTED, ls=":", lw=1.5)
            axes.plot(steps[-1], summary["mean"], "D", ms=8, color=plots.RED, clip_on=False, zorder=4)
            words = f"{summary['mean']:.1f}".replace("-", "−")
            plots.label(axes, steps[-1], summary["mean"], words, plots.RED, weight="bold")
            axes.set_title(f"{summary['env']}, target {summary['goal']}".replace(" -", " −"))
            plots.thousands(axes.xaxis)

    title = "PPO reaches its target on four control tasks"
    note = (
        "Return over environment steps: mean (line) and min–max (band) over 5 seeds, last 100 training episodes.\n"
        "Diamond: evaluation after training, deterministic, mean over 5 seeds. Dotted: its target."
    )
    plots.picture(FOLDER / "scores.png", panels, (9, 6.4), title, note, dark=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", default="ppo", help="of agents with tuned hyperparameters for the environment")
    parser.add_argument("--env", choices=list(GOALS), action="append", help="several times for several; default all")
    parser.add_argument(
        "--seeds", type=int, nargs="*", help="only these, printed and not written; default writes 0 to 4"
    )
    parser.add_argument("--draw", action="store_true", help="only draw the picture from what is written")
    options = parser.parse_args()
    for env in () if options.draw else options.env or GOALS:
        if options.seeds is not None:
            for seed in options.seeds:
                run(options.agent, env, seed)
        else:
            reference(options.agent, env, list(range(5)))
    if options.seeds is None:
        draw()


if __name__ == "__main__":
    main()
