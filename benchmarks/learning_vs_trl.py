"""Learning to praise, side by side with TRL: how long until the texts are good.

    python -m venv trl-1.12.0                               # the last version with PPO, in an environment of its own
    trl-1.12.0/bin/pip install trl==1.12.0 torch==2.13.0 transformers==5.23.0 accelerate datasets
    python benchmarks/learning_vs_trl.py --trl-python trl-1.12.0/bin/python --write
    python benchmarks/learning_vs_trl.py --draw             # the picture again, from the JSON

`ours` pays each token what it adds to the score (credit="token"); `ours_credit_at_end` at the end of a text, as TRL
does. The others are TRL's PPO. All sides: the shipped model of `reviews`, its training prompts and its learned reward
model, which nobody may change; 32 new tokens, β .1 per token (k1), γ 1, λ .95, clips .2, constant learning rates, fp32.
Ours learns from short rollouts, once: 64 slots × 32 tokens an update (about 120 texts), one epoch of four minibatches,
and otherwise as tuned. TRL has 128 texts an update, and one step of its optimiser an epoch, whose gradient it adds up
from two halves; four epochs, as it has by default (`trl`), or two (`trl_two_epochs`); `trl_as_ours` makes one epoch of
four minibatches, with a step each. Its critic has a trunk of its own, begun as the model, and a random head.

Gold, the true sentiment between −1 and 1, is what nobody learns from. A side is there when the mean over its last 256
texts is .8, nine tenths of that range, at a KL to the reference of at most 10 nats a text. Seconds are those of its
updates: ours include gold, which its environment tells, TRL's do not. Every learning rate is run with every seed, and
a side is judged by the one whose median is best; a run that goes too far first is never there, and counts as the
longest. Each process runs alone, with --threads; sides take turns, run by run. With --cells, a file, runs that are done
are kept there and not done again.

How ours came to be so short: rollouts of 16 to 128 tokens and one or two epochs were tried on this very task, four
seeds each. TRL's three schedules are what it does by itself and two that do less between two rollouts, as ours does.

Prints JSON lines; --write puts them into runs/reference/benchmarks/learning_vs_trl.json and draws learning_vs_trl.png.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from collections import deque
from math import inf, isfinite
from pathlib import Path

import numpy as np
from sides import Worker

from textrlhf.records import plots

FOLDER = Path(__file__).resolve().parent.parent / "runs" / "reference" / "benchmarks"
WINDOW, GOOD, FAR = 256, 0.8, 10.0
GIVEN = {"bf16": False, "response": 32, "kl_coef": 0.1}
RATES = (5e-4, 1e-3, 2e-3)
TRL = {"batch": 128, "accumulate": 2, "minibatches": 2, "epochs": 4}
SIDES = {
    "ours": {"credit": "token"},
    "ours_credit_at_end": {"credit": "end"},
    "trl": TRL,
    "trl_two_epochs": {**TRL, "epochs": 2},
    "trl_as_ours": {"batch": 128, "accumulate": 1, "minibatches": 4, "epochs": 1},
}


RATIOS = {
    "ours_credit_at_end": "ratio_credit_at_end",
    "trl": "ratio",
    "trl_two_epochs": "ratio_two_epochs",
    "trl_as_ours": "ratio_as_ours",
}
DRAWN = {
    "ours": ("textrlhf", plots.BLUE),
    "ours_credit_at_end": ("textrlhf, scores at the end", plots.MUTED),
    "trl": ("TRL, 4 epochs", plots.RED),
    "trl_two_epochs": ("TRL, 2 epochs", plots.PURPLE),
    "trl_as_ours": ("TRL, 1 epoch of 4 minibatches", plots.GREEN),
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
        (sys.executable, "our_learning_worker.py")
        if "credit" in SIDES[side]
        else (options.trl_python, "trl_learning_worker.py")
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
    found = {RATIOS[side]: median(seconds[side]) / median(seconds["ours"]) for side in others}
    return {name: round(ratio, 2) for name, ratio in found.items() if isfinite(ratio)}


def draw(result: dict) -> None:
    """The true score over seconds of updates: each side at its best learning rate, mean and range of its seeds."""
    best = {
        side: [run for run in result["runs"] if run["side"] == side and run["learning_rate"] == rate]
        for side, rate in result["learning_rates"].items()
    }
    levels = np.linspace(0.1, GOOD, 36)
    medians = {side: median(seconds) for side, seconds in result["seconds"].items()}

    def curves(figure) -> None:
        axes = figure.subplots()
        order = sorted(best, key=medians.__getitem__)
        for at, side in enumerate(order):
            name, color = DRAWN[side]
            needed = np.array([seconds_to(run["curve"], levels) for run in best[side]])
            axes.fill_betweenx(levels, needed.min(0), needed.max(0), color=color, alpha=0.2, lw=0)
            axes.plot(np.median(needed, 0), levels, color=color)
            top = GOOD + 0.07 * (len(order) - at)
            axes.plot([medians[side]] * 2, [GOOD, top], color=color, lw=1)
            axes.plot(medians[side], GOOD, "o", ms=8, color=color, zorder=4)
            words, weight = f"{name}: {medians[side]:.1f} s", "bold" if side == "ours" else "normal"
            plots.label(axes, medians[side], top, words, color, xytext=(4, 0), weight=weight)
        axes.axhline(GOOD, color=plots.MUTED, ls=":", lw=1.5)
        axes.set(xlim=(0, 1.3 * max(medians.values())), ylim=(0.1, GOOD + 0.32), xlabel="seconds of updates")
        axes.set_yticks(np.arange(0.2, 0.9, 0.2))
        axes.set_ylabel(f"true score, mean over {WINDOW} texts", y=0.32)

    title = f"To a true score of {GOOD}: {result['ratio']:.1f}× faster than TRL's default PPO"
    ends = [run["kl"] for runs in best.values() for run in runs]
    seeds = len(best["ours"])
    note = (
        f"Seconds to each score: median (line) and min–max (band) over {seeds} seeds. TRL's default is 4 epochs.\n"
        f"Best of three learning rates for each side. KL at the end: {min(ends):.1f} to {max(ends):.1f} nats per text."
    )
    plots.picture(FOLDER / "learning_vs_trl.png", curves, (9, 5.6), title, note, dark=True)


def seconds_to(curve: list[list[float]], levels: np.ndarray) -> np.ndarray:
    """When a run first came to each level, between two updates in proportion."""
    seconds, gold, _ = (np.array(column) for column in zip(*curve, strict=True))
    return np.interp(levels, np.minimum(np.maximum.accumulate(gold), GOOD), seconds)


def known_rows(cells: Path | None) -> list[dict]:
    """The runs that are done."""
    return [json.loads(line) for line in cells.read_text().splitlines()] if cells and cells.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", metavar="PATH", help="of an environment that has TRL 1.12.0")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=300, help="seconds of updates that a run may take")
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--rates", nargs="+", type=float, default=RATES)
    parser.add_argument("--cells", type=Path, metavar="FILE", help="where to keep each run as it is done")
    parser.add_argument("--write", action="store_true", help="keep the result")
    parser.add_argument("--draw", action="store_true", help="only draw the picture from what is written")
    options = parser.parse_args()
    if options.draw:
        draw(json.loads((FOLDER / "learning_vs_trl.json").read_text()))
        return
    if not options.trl_python:
        parser.error("--trl-python is missing")
    from textrlhf.language import load
    from textrlhf.records.folder import write_file
    from textrlhf.reward_models import RewardModel

    if options.write and set(options.sides) != set(SIDES):
        parser.error("--write keeps all sides or none: leave --sides out")
    rows, gold = known_rows(options.cells), Gold()
    with tempfile.TemporaryDirectory() as folder:
        options.model, options.reward_model = Path(folder) / "model", Path(folder) / "reward_model"
        load("reviews", "cpu").save(options.model)
        RewardModel.load("reviews", device="cpu").save(options.reward_model)
        for seed, rate, side in itertools.product(range(options.seeds), options.rates, options.sides):
            cell = {"side": side, "learning_rate": rate, "seed": seed}
            if not any(cell.items() <= row.items() for row in rows):
                rows.append(learn(options, gold, folder, side, rate, seed))
                if options.cells:
                    write_file(options.cells, "".join(json.dumps(row) + "\n" for row in rows))
    seconds, rates = {}, {}
    for side in options.sides:
        needed: dict[float, list[float | None]] = {rate: [] for rate in options.rates}
        for row in rows:
            if row["side"] == side and row["learning_rate"] in needed and row["seed"] < options.seeds:
                needed[row["learning_rate"]].append(row["seconds"] if row["reached"] else None)
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
        draw(result)
    print(json.dumps({name: value for name, value in result.items() if name == "seconds" or "ratio" in name}))


if __name__ == "__main__":
    main()
