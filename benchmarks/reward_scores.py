"""Accuracy of reward models trained on simulated judgements of `reviews`, where the true score is known.

    python benchmarks/reward_scores.py                       # everything: seeds, ensembles, rankings (two hours)
    python benchmarks/reward_scores.py --only pretrained     # only the rows of that name; the others are kept
    python benchmarks/reward_scores.py --only pretrained --seeds 3 4    # of these seeds
    python benchmarks/reward_scores.py --pairs 4000 --seeds 0 --set dropout=0.4    # one reward model, printed only
    python benchmarks/reward_scores.py --pairs 4000 --seeds 0 --pretrain           # one with pretraining, printed only
    python benchmarks/reward_scores.py --draw                # only the picture, from the JSON

Annotators compare two of the language model's responses to a prompt and are wrong one time in ten; ties in the true
score are left out. Accuracy is against the true score, on pairs of held-out prompts: every second one is for choosing
settings (`valid`), the others for the figures (`test`). ECE is against annotators with the same label noise.
Pretraining is on halves of unlabelled texts, with the plain reward model of the same seed as teacher; members of an
ensemble and the reward model distilled from it use the same texts. Writes runs/reference/reward_models/scores.json and
scores.png.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import multiprocessing
import re
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import torch

import textrlhf
from textrlhf.envs.text.tasks import make_task
from textrlhf.language import load
from textrlhf.pipeline.simulated_preferences import gold, simulated_rankings, write
from textrlhf.records import plots
from textrlhf.records.folder import write_file
from textrlhf.reward_models import Ensemble, RewardModel, TrainConfig, distill, evaluate, pretrain_on_halves, train
from textrlhf.reward_models.evaluation.metrics import pearson
from textrlhf.reward_models.reward_function import sigmoid
from textrlhf.reward_models.training.pretrain import PRETRAIN_CONFIG

FOLDER = Path(__file__).resolve().parent.parent / "runs" / "reference" / "reward_models"
ERROR_RATE = 0.1
TESTED = 5000  # pairs
SEEDS = 5
GOALS = {  # of accuracy
    "4,000 pairs": 0.88,
    "4,000 pairs: ensemble of four": 0.90,
    "4,000 pairs, pretrained": 0.88,
    "4,000 pairs, pretrained: ensemble of four": 0.90,
    "500 pairs": 0.70,
}
COUNTING = "counting words"
DRAWN = {  # what the picture calls a row
    "500 pairs": ("500 comparisons", plots.BLUE),
    f"{COUNTING}, 500 pairs": ("500, word counts", plots.MUTED),
    "pairs for 1,000 prompts": ("1,000 comparisons", plots.BLUE),
    "rankings of 4 for 1,000 prompts": ("1,000 rankings of four", plots.BLUE),
    "4,000 pairs": ("4,000 comparisons", plots.BLUE),
    f"{COUNTING}, 4,000 pairs": ("4,000, word counts", plots.MUTED),
    "4,000 pairs: ensemble of four": ("4,000, ensemble of four", plots.GREEN),
    "4,000 pairs: distilled from the four": ("4,000, distilled from the four", plots.GREEN),
    "4,000 pairs, pretrained": ("4,000 + unlabelled texts", plots.BLUE),
    "4,000 pairs, pretrained: ensemble of four": ("4,000 + unlabelled, ensemble", plots.GREEN),
    "4,000 pairs, pretrained: distilled from the four": ("4,000 + unlabelled, distilled", plots.GREEN),
}
SIZES = {  # rankings, and of how many responses
    "4,000 pairs": (4000, 2),
    f"{COUNTING}, 4,000 pairs": (4000, 2),
    "500 pairs": (500, 2),
    f"{COUNTING}, 500 pairs": (500, 2),
    "pairs for 1,000 prompts": (1000, 2),
    "rankings of 4 for 1,000 prompts": (1000, 4),
}
MANY, MEMBERS = ("4,000 pairs",), 4  # sizes with ensembles, with and without pretraining
PRETRAINED = "pretrained"
DISTILL_TEXTS, PRETRAIN_TEXTS = 4, 8  # texts to a prompt
WAYS = ("", ": mean of the four", ": ensemble of four", ": distilled from the four")
FEW = {"epochs": 8.0}  # what a small data set wants otherwise
TASK = make_task("reviews", False)
TRAIN = [prompt.text for prompt in TASK.prompts("train")]
HELDOUT = [prompt.text for prompt in TASK.prompts("heldout")]
PROMPTS = {"valid": HELDOUT[0::2], "test": HELDOUT[1::2]}


def preferences(n: int, seed: int, k: int = 2):
    """n rankings of k of the language model's responses to the training prompts."""
    return simulated_rankings(TASK, load("reviews"), TRAIN, n, k=k, error_rate=ERROR_RATE, seed=seed)


def unlabelled(seed: int, k: int):
    """Unlabelled prompts and responses, k to each training prompt, for pretraining or distillation."""
    some = write(TASK, load("reviews"), TRAIN, k, 5000 + seed)
    texts = [(prompt, text) for prompt, texts in zip(TRAIN, some, strict=True) for text in texts if text.strip()]
    return [prompt for prompt, _ in texts], [text for _, text in texts]


@functools.cache
def held_out(split: str):
    """The pairs a reward model is tested on, without and with label noise."""
    lm, prompts = load("reviews"), PROMPTS[split]
    seed = 900 + list(PROMPTS).index(split)
    return [simulated_rankings(TASK, lm, prompts, TESTED, error_rate=rate, seed=seed) for rate in (0.0, ERROR_RATE)]


def train_one(judgements, seed: int, reward_model: RewardModel | None = None, **changes) -> RewardModel:
    """Train one reward model."""
    reward_model = reward_model or RewardModel.new("reviews", seed=seed)
    return train(reward_model, judgements, TrainConfig(seed=seed, **changes), show=False).reward_model


def train_pretrained(judgements, seed: int, first: RewardModel, texts, **changes) -> RewardModel:
    """Train one reward model that is pretrained on halves of texts, with `first` as teacher."""
    config = dataclasses.replace(PRETRAIN_CONFIG, seed=seed)
    reward_model = pretrain_on_halves(RewardModel.new("reviews", seed=seed), first, *texts, config, show=False)
    return train_one(judgements, seed, reward_model, **changes)


class Once:
    """A reward model whose scores are computed once."""

    def __init__(self, reward_model, clean) -> None:
        texts = list(dict.fromkeys((pair.prompt, text) for pair in clean for text in pair.responses))
        scores = reward_model.raw([p for p, _ in texts], [r for _, r in texts])
        self.known, self.probability = (
            dict(zip(texts, scores, strict=True)),
            getattr(reward_model, "probability", sigmoid),
        )

    def raw(self, prompts, responses) -> np.ndarray:
        return np.array([self.known[text] for text in zip(prompts, responses, strict=True)])

    __call__ = raw


def grade(reward_model, clean, noisy) -> dict[str, float]:
    """Accuracy and correlation against the true score, calibration against annotators."""
    reward_model = Once(reward_model, clean)
    texts = [(pair.prompt, text) for pair in clean for text in pair.responses]
    prompts, responses = [p for p, _ in texts], [r for _, r in texts]
    return {
        "accuracy": round(evaluate(reward_model, clean).numbers()["accuracy"], 4),
        "correlation": round(float(pearson(reward_model.raw(prompts, responses), gold(TASK, prompts, responses))), 4),
        "ece": round(evaluate(reward_model, noisy).numbers()["ece"], 4),
    }


class Counting:
    """A logistic regression on words, counted separately after a negation in their clause."""

    NEGATIONS = re.compile(r"^(not|never|hardly|no|nothing|little|neither|nor|lacked|failed|stop|stopped|.*n't)$")

    def __init__(self, judgements, penalty: float) -> None:
        counts = [[self._words(text) for text in pair.responses] for pair in judgements]
        self.known = {word: i for i, word in enumerate(sorted({w for pair in counts for some in pair for w in some}))}
        x = torch.from_numpy(np.array([self._row(a) - self._row(b) for a, b in counts]))  # (pairs, words)
        weights = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

        def loss():
            optimizer.zero_grad()
            value = torch.nn.functional.softplus(-x @ weights).sum() + penalty * weights.square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        self.weights = weights.detach().numpy()

    def _words(self, text: str) -> list[str]:
        found, negated = [], False
        for word in re.findall(r"[a-z']+|[.,;:!?]", text.lower()):
            if word in ".,;:!?" or word in ("but", "and", "although", "because"):
                negated = False
            found.append("not " + word if negated else word)
            negated = negated or bool(self.NEGATIONS.match(word))
        return found

    def _row(self, words: list[str]) -> np.ndarray:
        row = np.zeros(len(self.known))
        for word in words:
            if word in self.known:
                row[self.known[word]] += 1
        return row

    def raw(self, prompts, responses) -> np.ndarray:
        return np.array([self._row(self._words(text)) @ self.weights for text in responses])

    __call__ = raw


def count_words(judgements, clean, noisy) -> dict[str, float]:
    """Grade the word counter, its penalty chosen on the validation pairs."""
    valid, _ = held_out("valid")
    counters = [Counting(judgements, penalty) for penalty in (0.03, 0.1, 0.3, 1.0, 3.0)]
    best = max(counters, key=lambda counter: evaluate(counter, valid).numbers()["accuracy"])
    return grade(best, clean, noisy)


def names(size: str) -> list[str]:
    """The rows that are measured together."""
    groups = (size, f"{size}, {PRETRAINED}") if size in MANY else ()
    return [group + way for group in groups for way in WAYS] or [size]


def measure(size: str, seed: int, only: str = "") -> dict[str, dict[str, float]]:
    """Rows of the reference whose names have `only`."""
    torch.set_num_threads(1)
    since, (clean, noisy) = time.perf_counter(), held_out("test")
    judgements = preferences(SIZES[size][0], seed, SIZES[size][1])
    if size not in MANY:
        if size.startswith(COUNTING):
            row = count_words(judgements, clean, noisy)
        else:
            row = grade(train_one(judgements, seed, **(FEW if len(judgements) == 500 else {})), clean, noisy)
        return {size: report(size, seed, since, row)}
    rows, plain = {}, [name for name in names(size) if PRETRAINED not in name]
    seeds = [seed, *(100 + 10 * seed + i for i in range(1, MEMBERS))]
    reward_models = [train_one(judgements, member) for member in seeds]
    if any(only in name for name in plain):
        rows |= of_four(size, seed, since, reward_models, unlabelled(seed, DISTILL_TEXTS))
    if any(only in name for name in names(size) if name not in plain):
        texts = unlabelled(seed, PRETRAIN_TEXTS)
        fewer = [some[:: PRETRAIN_TEXTS // DISTILL_TEXTS] for some in texts]
        reward_models = [
            train_pretrained(judgements, *which, texts) for which in zip(seeds, reward_models, strict=True)
        ]
        rows |= of_four(f"{size}, {PRETRAINED}", seed, since, reward_models, fewer)
    return {name: row for name, row in rows.items() if only in name}


def of_four(name: str, seed: int, since: float, reward_models: list[RewardModel], texts) -> dict[str, dict[str, float]]:
    """Rows of the first of four reward models, their mean, their ensemble, and one distilled from it."""
    clean, noisy = held_out("test")
    members = [grade(reward_model, clean, noisy) for reward_model in reward_models]
    mean = {key: round(float(np.mean([row[key] for row in members])), 4) for key in members[0]}
    ensemble = grade(Ensemble(reward_models), clean, noisy)
    student = grade(distill(RewardModel.new("reviews"), Ensemble(reward_models), *texts, show=False), clean, noisy)
    rows = zip(WAYS, (members[0], mean, ensemble, student), strict=True)
    return {name + way: report(name + way, seed, since, row) for way, row in rows}


def report(name: str, seed: int, since: float, row: dict[str, float]) -> dict[str, float]:
    print(name, json.dumps({"seed": seed, **row}), f"{time.perf_counter() - since:.0f} s", flush=True)
    return {"seed": seed, **row}


def reference(seeds: list[int], jobs: int, only: str) -> None:
    """Measure all rows, or those whose names have `only`, and write each seed as it is finished."""
    sizes = [size for size in SIZES if any(only in name for name in names(size))]
    if not sizes:
        raise SystemExit(f"--only is {only!r}: expected part of a row's name, such as {PRETRAINED!r}")
    rows = written(complete=not only and len(seeds) == SEEDS)
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for found in as_completed([pool.submit(measure, size, seed, only) for size in sizes for seed in seeds]):
            for name, row in found.result().items():
                others = [some for some in rows.get(name, []) if some["seed"] != row["seed"]]
                rows[name] = sorted([*others, row], key=lambda some: some["seed"])
            means = write_down({name: rows[name] for size in SIZES for name in names(size) if name in rows})
    for name, mean in means.items():
        print(f"{name}: {mean}")


def write_down(rows: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Write the rows as JSON and as a chart; return their means."""
    means = {
        name: {key: round(float(np.mean([row[key] for row in some])), 4) for key in some[0] if key != "seed"}
        for name, some in rows.items()
    }
    summary = {
        "command": "python benchmarks/reward_scores.py",
        "versions": {"textrlhf": textrlhf.__version__, "torch": torch.__version__},
        "settings": dataclasses.asdict(TrainConfig()),
        "settings for 500 pairs": FEW,
        "settings of pretraining": {**dataclasses.asdict(PRETRAIN_CONFIG), "texts": PRETRAIN_TEXTS * len(TRAIN)},
        "tested on": f"{TESTED} pairs of the 256 test prompts; ties in gold left out",
        "goals": GOALS,
        "means": means,
        "runs": rows,
    }
    write_file(FOLDER / "scores.json", json.dumps(summary, indent=1) + "\n")
    draw(rows)
    return means


def written(complete: bool) -> dict[str, list[dict[str, float]]]:
    """The existing rows, unless all will be measured again."""
    if complete or not (FOLDER / "scores.json").exists():
        return {}
    summary = json.loads((FOLDER / "scores.json").read_text())
    if not summary["settings"].items() <= dataclasses.asdict(TrainConfig()).items():  # there may be new ones
        raise SystemExit("the rows in scores.json were measured with other settings; measure everything")
    return summary["runs"]


def draw(rows: dict[str, list[dict[str, float]]]) -> None:
    """Draw every seed's accuracy, and the means."""

    def dots(figure) -> None:
        axes = figure.subplots()
        for at, (key, (_, color)) in enumerate(reversed(DRAWN.items())):
            values = [100 * row["accuracy"] for row in rows[key]]
            axes.plot(values, [at] * len(values), "o", ms=7, mew=0, alpha=0.35, color=color)
            axes.plot([np.mean(values)] * 2, [at - 0.3, at + 0.3], color=color, lw=3)
            plots.label(axes, max(values), at, f"{np.mean(values):.1f}%", color, weight="bold")
        axes.set_yticks(range(len(DRAWN)), [name for name, _ in reversed(DRAWN.values())])
        axes.grid(axis="y", visible=False)
        axes.set_xlim(right=92)

    few, many = (100 * np.mean([row["accuracy"] for row in rows[key]]) for key in ("500 pairs", "4,000 pairs"))
    title = f"500 comparisons give {few:.0f}% accuracy, 4,000 give {many:.0f}%"
    note = (
        "Accuracy (%) on held-out pairs against the true score, ties left out. One training label in ten is wrong.\n"
        "Points: 5 seeds, bar: their mean. Blue: a single reward model, green: from four, grey: word counts."
    )
    plots.picture(FOLDER / "scores.png", dots, (9, 5.4), title, note, dark=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAME", help="measure rows whose names have this, keep others")
    parser.add_argument("--pairs", type=int, help="train on so many pairs, print and write nothing")
    parser.add_argument("--seeds", type=int, nargs="*", help="0 to 4, or 0 with --pairs, unless given")
    parser.add_argument("--k", type=int, default=2, help="responses ranked at a time")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, one thread each")
    parser.add_argument("--pretrain", action="store_true", help="pretrain on halves of unlabelled texts")
    parser.add_argument("--split", choices=list(PROMPTS), default="valid")
    parser.add_argument("--set", nargs="*", default=[], metavar="SETTING=VALUE", dest="changes")
    parser.add_argument("--draw", action="store_true", help="only draw the picture from what is written")
    options = parser.parse_args()
    if options.draw:
        draw(json.loads((FOLDER / "scores.json").read_text())["runs"])
        return
    if options.pairs is None:
        reference(options.seeds or list(range(SEEDS)), options.jobs, options.only)
        return
    torch.set_num_threads(1)
    changes = {name: json.loads(value) for name, value in (change.split("=") for change in options.changes)}
    clean, noisy = held_out(options.split)
    for seed in options.seeds or [0]:
        since, name = time.perf_counter(), f"{options.pairs} {options.changes}"
        judgements = preferences(options.pairs, seed, options.k)
        reward_model = train_one(judgements, seed, **changes)
        report(name, seed, since, grade(reward_model, clean, noisy))
        if options.pretrain:
            reward_model = train_pretrained(judgements, seed, reward_model, unlabelled(seed, PRETRAIN_TEXTS), **changes)
            report(f"{name}, {PRETRAINED}", seed, since, grade(reward_model, clean, noisy))


if __name__ == "__main__":
    main()
