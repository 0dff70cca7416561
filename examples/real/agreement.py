"""How well reward models learn people's ratings: python examples/real/agreement.py

Both trunks, SmolLM2 and MiniLM, learn from every rating of four fifths of the snippets, and are asked about the other
fifth. The reference is what people reach: one rating against the mean of a text's other ratings.

Each trunk and seed is a run in runs/real/agreement, resumed where it was stopped; --write puts all that are done into
runs/reference/real/agreement.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fetch import fetch
from ratings import Snippet, judgements, read_snippets
from stages import plain_folder

from textrlhf.records.folder import write_file
from textrlhf.reward_models import RewardModel, TrainConfig, read_judgements, train_reward_model
from textrlhf.reward_models.evaluation.metrics import calibration, spearman

RESULT = Path(__file__).resolve().parents[2] / "runs" / "reference" / "real" / "agreement.json"
TRUNKS: dict[str, dict[str, Any]] = {
    "minilm": {"epochs": 4.0, "learning_rate": 1e-4},
    "smollm2": {"epochs": 2.0, "learning_rate": 5e-4, "lora_rank": 16},
}
COMPARED = 20_000  # pairs of test texts, a rating of each
RESAMPLES = 2000


@dataclass(frozen=True)
class Asked:
    """What people said of the test texts: of each text one rating, the mean of the others, and of all."""

    one: np.ndarray
    others: np.ndarray
    mean: np.ndarray

    @classmethod
    def of(cls, texts: list[Snippet]) -> Asked:
        """Which rating is the one is drawn once, the same for every reward model."""
        rng = np.random.default_rng(0)
        rows = [rng.permutation(text.ratings) for text in texts]
        return cls(*(np.array(values) for values in zip(*((r[0], r[1:].mean(), r.mean()) for r in rows), strict=True)))


def train(trunk: str, seed: int, material: Path, run: Path, threads: int) -> RewardModel:
    """The reward model of a cell, trained if it is not."""
    if not (run / "reward_model").exists():
        found = fetch(material)
        texts = [one for one in read_snippets(found.snippets) if one.part != "test"]
        train_reward_model(
            read_judgements(judgements(texts, None, seed), None),
            str(found.encoder if trunk == "minilm" else plain_folder(material, found)),
            head="auto" if trunk == "minilm" else "last",
            reads="text",
            reference=None,
            config=TrainConfig(seed=seed, lapse=0.0, **TRUNKS[trunk]),
            run=run,
            resume=any(run.glob("checkpoints/step-*")),
            threads=threads,
        )
    return RewardModel.load(run / "reward_model")


def agreement(model: RewardModel, texts: list[Snippet], asked: Asked) -> dict[str, Any]:
    """Rank correlations with 95 % intervals over resampled texts, and how true the model's probabilities are."""
    scores = np.array(model.raw([""] * len(texts), [one.text for one in texts]))
    rng = np.random.default_rng(1)
    some = rng.integers(0, len(texts), (RESAMPLES, len(texts)))

    def with_interval(one: np.ndarray, other: np.ndarray) -> list[float]:
        resampled = [spearman(one[i], other[i]) for i in some]
        return [round(float(x), 4) for x in (spearman(one, other), *np.quantile(resampled, [0.025, 0.975]))]

    return {
        "spearman_mean": with_interval(scores, asked.mean),
        "spearman_one": with_interval(scores, asked.one),
        "calibration_error": round(calibration_error(scores, texts, rng), 4),
    }


def calibration_error(scores: np.ndarray, texts: list[Snippet], rng: np.random.Generator) -> float:
    """ECE of P(first better) = σ(difference of raw scores), on pairs of texts and a rating of each; ties count half."""
    first, second = rng.integers(0, len(texts), (2, COMPARED))
    first, second = first[first != second], second[first != second]
    ratings = [np.array([rng.choice(texts[i].ratings) for i in side]) for side in (first, second)]
    outcome = 0.5 * (np.sign(ratings[0] - ratings[1]) + 1)
    margin = scores[first] - scores[second]
    outcome = np.where(margin >= 0, outcome, 1 - outcome)
    return calibration(1 / (1 + np.exp(-np.abs(margin))), outcome, low=0.5).ece


def main() -> None:
    """Train and measure one cell, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/real"), help="the folder of runs and material")
    parser.add_argument("--trunks", nargs="+", choices=[*TRUNKS], default=[*TRUNKS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--write", action="store_true", help="keep the result")
    options = parser.parse_args()
    material = options.run / "material"
    texts = [one for one in read_snippets(fetch(material).snippets) if one.part == "test"]
    asked = Asked.of(texts)
    rows = []
    for trunk in options.trunks:
        for seed in options.seeds:
            model = train(trunk, seed, material, options.run / "agreement" / f"{trunk}-{seed}", options.threads)
            rows.append({"trunk": trunk, "seed": seed, **agreement(model, texts, asked)})
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": "python examples/real/agreement.py --write",
        "test_texts": len(texts),
        "people": {
            "spearman of one rating with the mean of the others": round(spearman(asked.one, asked.others), 4),
        },
        "settings": TRUNKS,
        "rows": rows,
        "mean": {trunk: mean([row for row in rows if row["trunk"] == trunk]) for trunk in options.trunks},
    }
    if options.write:
        write_file(RESULT, json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["mean"]))


def mean(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Each measure over the seeds."""
    values = {name: [np.ravel(row[name])[0] for row in rows] for name in rows[0] if name not in ("trunk", "seed")}
    return {name: round(float(np.mean(seen)), 4) for name, seen in values.items()}


if __name__ == "__main__":
    main()
