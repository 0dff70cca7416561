"""Learning to praise, side by side with TRL: how long until the texts are good.

    python -m venv trl-1.12.0                               # the last version with PPO, in an environment of its own
    trl-1.12.0/bin/pip install trl==1.12.0 torch==2.13.0 transformers==5.23.0 accelerate datasets
    python benchmarks/learning_vs_trl.py --trl-python trl-1.12.0/bin/python --write

All sides: the shipped model of `reviews`, its training prompts and its learned reward model, which nobody may change;
32 new tokens, β .1 per token (k1), γ 1, λ .95, clips .2, constant learning rates, fp32. Ours learns from short
rollouts, once: 64 slots × 32 tokens an update (about 120 texts), one epoch of four minibatches, and otherwise as
tuned. TRL has 128 texts an update, and one step of its optimiser an epoch, whose gradient it adds up from two halves;
four epochs, as it has unless told otherwise (`trl`), or two (`trl_two_epochs`); `trl_as_ours` makes one epoch of
four minibatches, with a step each. Its critic has a trunk of its own, begun as the model, and a random head.

Gold, the true sentiment between −1 and 1, is what nobody learns from. A side is there when the mean over its last 256
texts is .8, nine tenths of that range, at a KL to the reference of at most 10 nats a text. Seconds are those of its
updates: ours include gold, which its environment tells, TRL's do not. Every learning rate is run with every seed, and
a side is judged by the one whose median is best; a run that goes too far first is never there, and counts as the
longest. Each process runs alone, with --threads.

How ours came to be so short: rollouts of 16 to 128 tokens and one or two epochs were tried on this very task, four
seeds each. TRL's three schedules are what it does by itself and two that do less between two rollouts, as ours does.

Prints JSON lines; --write puts them into runs/reference/benchmarks/learning_vs_trl.json and draws learning_vs_trl.png.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import deque
from math import inf, isfinite
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sides import Worker

FOLDER = Path(__file__).resolve().parent.parent / "runs" / "reference" / "benchmarks"
WINDOW, GOOD, FAR = 256, 0.8, 10.0
GIVEN = {"bf16": False, "response": 32, "kl_coef": 0.1}
RATES = (5e-4, 1e-3, 2e-3)
TRL = {"batch": 128, "accumulate": 2, "minibatches": 2, "epochs": 4}
SIDES = {
    "ours": {},
    "trl": TRL,
    "trl_two_epochs": {**TRL, "epochs": 2},
    "trl_as_ours": {"batch": 128, "accumulate": 1, "minibatches": 4, "epochs": 1},
}


class Gold:
    """What each side's texts are worth, whoever measures it."""

    def __init__(self) -> None:
        from textrlhf.envs.text.tasks import make_task
        from textrlhf.language import load

        self.task, self.lm = make_task("reviews", False), load("reviews", "cpu")
        self.prompts = {prompt.text: prompt for prompt in self.task.prompts("train")}
        self.tokens = [self.lm.encode(text).tolist() for text in self.prompts]

    def of(self, turn: dict) -> list[float]:
        """Of the texts of an update."""
        if "gold" in turn:
            return turn["gold"]
        prompts = [self.prompts[self.lm.continuation([], prompt)] for prompt, _ in turn["texts"]]
        responses = []
        for prompt, response in turn["texts"]:
            ends = [i for i, token in enumerate(response) if token in self.lm.eos_ids]
            responses.append(self.lm.continuation(prompt, response[: ends[0]] if ends else response))
        return self.task.measure(prompts, responses)["gold"].tolist()


def learn(options: argparse.Namespace, gold: Gold, folder: str, side: str, rate: float, seed: int) -> dict:
    """One run: until it is there, has gone too far, or its time is over."""
    given = {
        **GIVEN,
        **SIDES[side],
        "model": str(options.model),
        "reward_model": str(options.reward_model),
        "prompts": gold.tokens,
        "text": (gold.tokens[0], gold.lm.encode(" was not good.").tolist()),
        "vocab": gold.lm.vocab_size,
        "folder": folder,
        "threads": options.threads,
        "learning_rate": rate,
        "seed": seed,
    }
    python, script = (
        (sys.executable, "our_learning_worker.py") if side == "ours" else (options.trl_python, "trl_learning_worker.py")
    )
    worker = Worker(python, script, given)
    texts: deque[float] = deque(maxlen=WINDOW)
    far: deque[float] = deque(maxlen=WINDOW)
    seconds, count, curve, reached = np.zeros(2), 0, [], False
    while seconds[0] < options.limit and not reached:
        turn = worker.turn()
        new = gold.of(turn)
        texts.extend(new)
        far.extend(turn["kl"] if isinstance(turn["kl"], list) else [turn["kl"]] * len(new))
        seconds, count = seconds + turn["seconds"], count + len(new)
        curve.append([round(float(seconds[0]), 1), round(float(np.mean(texts)), 3), round(float(np.mean(far)), 2)])
        reached = len(texts) == WINDOW and curve[-1][1] >= GOOD and curve[-1][2] <= FAR
        if len(far) == WINDOW and curve[-1][2] > 2 * FAR:
            break
    worker.close()
    row = {
        "side": side,
        "learning_rate": rate,
        "seed": seed,
        "reached": reached,
        "seconds": round(float(seconds[0]), 1),
        "processor_seconds": round(float(seconds[1]), 1),
        "texts": count,
        "gold": curve[-1][1],
        "kl": curve[-1][2],
        "score_of_one_text": round(worker.about["score"], 4),
        "versions": worker.about["versions"],
    }
    print(json.dumps(row), flush=True)
    return {**row, "curve": curve}


def median(seconds: list[float | None]) -> float:
    """A run that was never there is the longest."""
    return statistics.median(inf if needed is None else needed for needed in seconds)


def ratios(seconds: dict[str, list[float | None]]) -> dict[str, float]:
    """How many times as long the other sides took."""
    others = [side for side in seconds if side != "ours"] if "ours" in seconds else []
    found = {side.replace("trl", "ratio"): median(seconds[side]) / median(seconds["ours"]) for side in others}
    return {name: round(ratio, 2) for name, ratio in found.items() if isfinite(ratio)}


def draw(rows: list[dict], rates: dict[str, float]) -> None:
    """Gold over seconds, every run, those of the best rate stronger; beside it, gold over KL."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    over_time, over_kl = figure.subplots(1, 2)
    colors = {"ours": "tab:blue", "trl": "tab:orange", "trl_two_epochs": "tab:green", "trl_as_ours": "tab:red"}
    names = {
        "ours": "textrlhf",
        "trl": "TRL 1.12.0",
        "trl_two_epochs": "TRL 1.12.0, two epochs",
        "trl_as_ours": "TRL 1.12.0, one epoch of four minibatches",
    }
    for row in rows:
        seconds, gold, kl = zip(*row["curve"], strict=True)
        style = {"color": colors[row["side"]], "lw": 1}
        known = {line.get_label() for line in over_time.lines}
        name, best = names[row["side"]], row["learning_rate"] == rates[row["side"]]
        style["alpha"] = 0.9 if best else 0.25
        over_time.plot(seconds, gold, **style, label=name if best and name not in known else "_")
        over_kl.plot(kl, gold, **style)
    for axes, label in ((over_time, "seconds of updates"), (over_kl, "KL to the reference, nats a text")):
        axes.axhline(GOOD, color="black", ls=":", lw=1)
        axes.set_xlabel(label, fontsize=8)
        axes.grid(alpha=0.3)
    over_time.set_ylabel(f"gold, mean of {WINDOW} texts", fontsize=8)
    over_time.set_xscale("log")
    over_time.set_xticks([2, 5, 10, 20, 40], ["2", "5", "10", "20", "40"])
    over_time.minorticks_off()
    over_kl.legend(*over_time.get_legend_handles_labels(), fontsize=8, loc="lower right")
    figure.savefig(FOLDER / "learning_vs_trl.png", dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", metavar="PATH", required=True, help="of an environment that has TRL 1.12.0")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=300, help="seconds of updates that a run may take")
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--rates", nargs="+", type=float, default=RATES)
    parser.add_argument("--write", action="store_true", help="keep the result")
    options = parser.parse_args()
    from textrlhf.language import load
    from textrlhf.records.folder import write_file
    from textrlhf.reward_models import RewardModel

    if options.write and set(options.sides) != set(SIDES):
        parser.error("--write keeps all sides or none: leave --sides out")
    rows, gold, seconds, rates = [], Gold(), {}, {}
    with tempfile.TemporaryDirectory() as folder:
        options.model, options.reward_model = Path(folder) / "model", Path(folder) / "reward_model"
        load("reviews", "cpu").save(options.model)
        RewardModel.load("reviews", device="cpu").save(options.reward_model)
        for side in options.sides:
            needed: dict[float, list[float | None]] = {rate: [] for rate in options.rates}
            for rate in options.rates:
                for seed in range(options.seeds):
                    row = learn(options, gold, folder, side, rate, seed)
                    needed[rate].append(row["seconds"] if row["reached"] else None)
                    rows.append(row)
            rates[side] = min(needed, key=lambda rate: median(needed[rate]))
            seconds[side] = needed[rates[side]]
    result = {
        "command": "python benchmarks/learning_vs_trl.py --trl-python PATH --write",
        "threads": options.threads,
        **GIVEN,
        "sides": SIDES,
        "gold": GOOD,
        "kl_at_most": FAR,
        "learning_rates": rates,
        "seconds": seconds,
        "runs": rows,
    }
    result |= ratios(seconds)
    if options.write:
        write_file(FOLDER / "learning_vs_trl.json", json.dumps(result) + "\n")
        draw(rows, rates)
    print(json.dumps({name: value for name, value in result.items() if name == "seconds" or "ratio" in name}))


if __name__ == "__main__":
    main()
