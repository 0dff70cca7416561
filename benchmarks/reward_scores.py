"""How well reward models learn from simulated people on `reviews`, where the truth is known.

    python benchmarks/reward_scores.py                       # everything: seeds, ensembles, rankings (two hours)
    python benchmarks/reward_scores.py --only practised      # the rows of that name, put with those that are there
    python benchmarks/reward_scores.py --only practised --seeds 3 4    # of these seeds
    python benchmarks/reward_scores.py --pairs 4000 --seeds 0 --set dropout=0.4    # one reward model, printed only
    python benchmarks/reward_scores.py --pairs 4000 --seeds 0 --practise           # one that practised, printed only
    python benchmarks/reward_scores.py --draw                # the picture again, from the JSON

People compare two of the language model's own responses to a prompt and are wrong one time in ten; what ties in gold
is left out. Accuracy is against clean gold, on pairs whose prompts no reward model has seen: of the 512 held-out
prompts every second one is for choosing settings (`valid`), the others for the figures (`test`). ECE is against people
who err as often. A reward model that practised did so on halves of texts that nobody has judged, its first reward
model being the plain one of the same seed; members of an ensemble and the reward model that they teach see the same
such texts. Writes runs/reference/reward_models/scores.json and scores.png.
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
from textrlhf.pipeline.simulated import gold, simulated_rankings, write
from textrlhf.records import plots
from textrlhf.records.folder import write_file
from textrlhf.reward_models import Ensemble, RewardModel, TrainConfig, distill, evaluate, pretrain_on_halves, train
from textrlhf.reward_models.evaluation.metrics import pearson, sigmoid
from textrlhf.reward_models.training.pretrain import PRACTICE

FOLDER = Path(__file__).resolve().parent.parent / "runs" / "reference" / "reward_models"
SLIPS = 0.1
TESTED = 5000  # pairs
SEEDS = 5
GOALS = {  # of accuracy
    "4,000 pairs": 0.88,
    "4,000 pairs: ensemble of four": 0.90,
    "4,000 pairs, practised": 0.88,
    "4,000 pairs, practised: ensemble of four": 0.90,
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
    "4,000 pairs: taught by the four": ("4,000, distilled from the four", plots.GREEN),
    "4,000 pairs, practised": ("4,000 + unlabelled texts", plots.BLUE),
    "4,000 pairs, practised: ensemble of four": ("4,000 + unlabelled, ensemble", plots.GREEN),
    "4,000 pairs, practised: taught by the four": ("4,000 + unlabelled, distilled", plots.GREEN),
}
SIZES = {  # rankings, and of how many responses
    "4,000 pairs": (4000, 2),
    f"{COUNTING}, 4,000 pairs": (4000, 2),
    "500 pairs": (500, 2),
    f"{COUNTING}, 500 pairs": (500, 2),
    "pairs for 1,000 prompts": (1000, 2),
    "rankings of 4 for 1,000 prompts": (1000, 4),
}
MANY, MEMBERS = ("4,000 pairs",), 4  # sizes with ensembles, plain and of reward models that practised
PRACTISED = "pretrain_on_halves"
TAUGHT_ON, PRACTISED_ON = 4, 8  # texts to a prompt
WAYS = ("", ": mean of the four", ": ensemble of four", ": taught by the four")
FEW = {"epochs": 8.0}  # what a small data set wants otherwise
TASK = make_task("reviews", False)
TRAIN = [prompt.text for prompt in TASK.prompts("train")]
HELDOUT = [prompt.text for prompt in TASK.prompts("heldout")]
PROMPTS = {"valid": HELDOUT[0::2], "test": HELDOUT[1::2]}


def preferences(n: int, seed: int, k: int = 2):
    """What people said: n rankings of k of the language model's responses to the training prompts."""
    return simulated_rankings(TASK, load("reviews"), TRAIN, n, k=k, error_rate=SLIPS, seed=seed)


def unjudged(seed: int, k: int):
    """Prompts and responses that nobody has judged, k to each training prompt: to practise on, or to be taught by."""
    some = write(TASK, load("reviews"), TRAIN, k, 5000 + seed)
    texts = [(prompt, text) for prompt, texts in zip(TRAIN, some, strict=True) for text in texts if text.strip()]
    return [prompt for prompt, _ in texts], [text for _, text in texts]


@functools.cache
def held_out(split: str):
    """The pairs a reward model is tested on, as gold orders them and as people who err do."""
    lm, prompts = load("reviews"), PROMPTS[split]
    seed = 900 + list(PROMPTS).index(split)
    return [simulated_rankings(TASK, lm, prompts, TESTED, error_rate=rate, seed=seed) for rate in (0.0, SLIPS)]


def learn(judgements, seed: int, reward_model: RewardModel | None = None, **changes) -> RewardModel:
    """Train one reward model."""
    reward_model = reward_model or RewardModel.new("reviews", seed=seed)
    return train(reward_model, judgements, TrainConfig(seed=seed, **changes), show=False).reward_model


def learn_practised(judgements, seed: int, first: RewardModel, texts, **changes) -> RewardModel:
    """Train one reward model that has practised on halves of texts, as `first` scores them."""
    config = dataclasses.replace(PRACTICE, seed=seed)
    reward_model = pretrain_on_halves(RewardModel.new("reviews", seed=seed), first, *texts, config, show=False)
    return learn(judgements, seed, reward_model, **changes)


class Once:
    """A reward model that is asked about each text once."""

    def __init__(self, reward_model, clean) -> None:
        texts = list(dict.fromkeys((pair.prompt, text) for pair in clean for text in pair.texts))
        scores = reward_model.raw([p for p, _ in texts], [r for _, r in texts])
        self.known, self.probability = (
            dict(zip(texts, scores, strict=True)),
            getattr(reward_model, "probability", sigmoid),
        )

    def raw(self, prompts, responses) -> np.ndarray:
        return np.array([self.known[text] for text in zip(prompts, responses, strict=True)])

    __call__ = raw


def grade(reward_model, clean, noisy) -> dict[str, float]:
    """Accuracy and correlation against gold, calibration against people."""
    reward_model = Once(reward_model, clean)
    texts = [(pair.prompt, text) for pair in clean for text in pair.texts]
    prompts, responses = [p for p, _ in texts], [r for _, r in texts]
    return {
        "accuracy": round(evaluate(reward_model, clean).numbers()["accuracy"], 4),
        "correlation": round(float(pearson(reward_model.raw(prompts, responses), gold(TASK, prompts, responses))), 4),
        "ece": round(evaluate(reward_model, noisy).numbers()["ece"], 4),
    }


class Counting:
    """A logistic regression on words, each counted apart where a negation stands before it in its clause."""

    NEGATIONS = re.compile(r"^(not|never|hardly|no|nothing|little|neither|nor|lacked|failed|stop|stopped|.*n't)$")

    def __init__(self, judgements, penalty: float) -> None:
        counts = [[self._words(text) for text in pair.texts] for pair in judgements]
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
    groups = (size, f"{size}, {PRACTISED}") if size in MANY else ()
    return [group + way for group in groups for way in WAYS] or [size]


def measure(size: str, seed: int, only: str = "") -> dict[str, dict[str, float]]:
    """Rows of the reference whose names hold `only`."""
    torch.set_num_threads(1)
    since, (clean, noisy) = time.perf_counter(), held_out("test")
    judgements = preferences(SIZES[size][0], seed, SIZES[size][1])
    if size not in MANY:
        if size.startswith(COUNTING):
            row = count_words(judgements, clean, noisy)
        else:
            row = grade(learn(judgements, seed, **(FEW if len(judgements) == 500 else {})), clean, noisy)
        return {size: report(size, seed, since, row)}
    rows, plain = {}, [name for name in names(size) if PRACTISED not in name]
    seeds = [seed, *(100 + 10 * seed + i for i in range(1, MEMBERS))]
    reward_models = [learn(judgements, member) for member in seeds]
    if any(only in name for name in plain):
        rows |= of_four(size, seed, since, reward_models, unjudged(seed, TAUGHT_ON))
    if any(only in name for name in names(size) if name not in plain):
        texts = unjudged(seed, PRACTISED_ON)
        fewer = [some[:: PRACTISED_ON // TAUGHT_ON] for some in texts]
        reward_models = [learn_practised(judgements, *which, texts) for which in zip(seeds, reward_models, strict=True)]
        rows |= of_four(f"{size}, {PRACTISED}", seed, since, reward_models, fewer)
    return {name: row for name, row in rows.items() if only in name}


def of_four(name: str, seed: int, since: float, reward_models: list[RewardModel], texts) -> dict[str, dict[str, float]]:
    """Rows of the first of four reward models, of their mean, of the four as an ensemble, and of one that they
    taught.
    """
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
    """Measure everything that is claimed, or the rows whose names hold `only`, and write down each seed as it comes."""
    sizes = [size for size in SIZES if any(only in name for name in names(size))]
    if not sizes:
        raise SystemExit(f"--only is {only!r}: expected part of a row's name, such as {PRACTISED!r}")
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
    """The rows as JSON and as a picture; their means."""
    means = {
        name: {key: round(float(np.mean([row[key] for row in some])), 4) for key in some[0] if key != "seed"}
        for name, some in rows.items()
    }
    summary = {
        "command": "python benchmarks/reward_scores.py",
        "versions": {"textrlhf": textrlhf.__version__, "torch": torch.__version__},
        "settings": dataclasses.asdict(TrainConfig()),
        "settings for 500 pairs": FEW,
        "settings of practice": {**dataclasses.asdict(PRACTICE), "texts": PRACTISED_ON * len(TRAIN)},
        "tested on": f"{TESTED} pairs of the 256 test prompts; ties in gold left out",
        "goals": GOALS,
        "means": means,
        "runs": rows,
    }
    write_file(FOLDER / "scores.json", json.dumps(summary, indent=1) + "\n")
    draw(rows)
    return means


def written(complete: bool) -> dict[str, list[dict[str, float]]]:
    """The rows that are there, where not all will be measured anew."""
    if complete or not (FOLDER / "scores.json").exists():
        return {}
    summary = json.loads((FOLDER / "scores.json").read_text())
    if summary["settings"] != dataclasses.asdict(TrainConfig()):
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
    parser.add_argument("--only", default="", metavar="NAME", help="measure rows whose names hold this, keep others")
    parser.add_argument("--pairs", type=int, help="train on so many pairs, print and write nothing")
    parser.add_argument("--seeds", type=int, nargs="*", help="0 to 4, or 0 with --pairs, unless given")
    parser.add_argument("--k", type=int, default=2, help="responses ranked at a time")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, one thread each")
    parser.add_argument("--practise", action="store_true", help="on halves of texts that nobody has judged")
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
        reward_model = learn(judgements, seed, **changes)
        report(name, seed, since, grade(reward_model, clean, noisy))
        if options.practise:
            reward_model = learn_practised(judgements, seed, reward_model, unjudged(seed, PRACTISED_ON), **changes)
            report(f"{name}, {PRACTISED}", seed, since, grade(reward_model, clean, noisy))


if __name__ == "__main__":
    main()
