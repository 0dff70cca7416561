"""How well reward models learn people's ratings: python examples/real/agreement.py

Both trunks, SmolLM2 and MiniLM, learn from every rating of four fifths of the snippets, and are asked about the other
fifth. The reference is what people reach: one rating against the mean of a text's other ratings. Of SmolLM2 the first
20 of 30 layers are used, whose states say more about a text than the last ones, and a text is followed by "It was", so
that the state that is read is about to judge.

Each trunk and seed is a run in runs/real/agreement, resumed where it was stopped; --write puts all that are done into
runs/reference/real/agreement.json.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fetch import fetch
from ratings import Snippet, judgements, read_snippets

from textrlhf.language import CausalLM, load
from textrlhf.records.folder import write_file
from textrlhf.reward_models import RewardModel, TrainConfig, read_judgements, train
from textrlhf.reward_models.evaluation.metrics import calibration, spearman

RESULT = Path(__file__).resolve().parents[2] / "runs" / "reference" / "real" / "agreement.json"
TRUNKS: dict[str, dict[str, Any]] = {
    "minilm": {"epochs": 4.0, "learning_rate": 1e-4},
    "smollm2": {"epochs": 2.0, "learning_rate": 1.5e-4, "lora_rank": 16, "dropout": 0.1},
}
LAYERS = 20
AFTER = {"minilm": "", "smollm2": " It was"}  # what follows a text
COMPARED = 20_000  # pairs of test texts, a rating of each
RESAMPLES = 2000


@dataclass(frozen=True)
class Asked:
    """What people said of each text: one rating, another one, and the means of all but the first and of all."""

    one: np.ndarray
    another: np.ndarray
    others: np.ndarray
    mean: np.ndarray

    @classmethod
    def of(cls, texts: list[Snippet]) -> Asked:
        """Which rating is the one is drawn once, the same for every reward model."""
        rng = np.random.default_rng(0)
        rows = [rng.permutation(text.ratings) for text in texts]
        said = [(row[0], row[1], row[1:].mean(), row.mean()) for row in rows]
        return cls(*(np.array(values) for values in zip(*said, strict=True)))


def first_layers(lm: CausalLM, n: int) -> CausalLM:
    """A language model of the first n layers of another."""
    model = copy.deepcopy(lm.model)
    model.model.layers = model.model.layers[:n]
    model.config.num_hidden_layers = n
    return CausalLM(model, lm.tokenizer)


def trained(trunk: str, seed: int, material: Path, run: Path) -> RewardModel:
    """The reward model of a cell, trained if it is not."""
    if not (run / "reward_model").exists():
        found = fetch(material)
        texts = [with_end(one, trunk) for one in read_snippets(found.snippets) if one.part != "test"]
        model = str(found.encoder) if trunk == "minilm" else first_layers(load(found.language_model), LAYERS)
        config = TrainConfig(seed=seed, lapse=0.0, **TRUNKS[trunk])
        member = RewardModel.new(model, "last", reads="text", seed=seed, share_weights=bool(config.lora))
        rows = read_judgements(judgements(texts, None, seed), None)
        train(member, rows, config, run=run, resume=any(run.glob("checkpoints/step-*")))
        member.save(run / "reward_model")
    return RewardModel.load(run / "reward_model")


def with_end(one: Snippet, trunk: str) -> Snippet:
    """The snippet as this trunk reads it."""
    return dataclasses.replace(one, text=one.text + AFTER[trunk])


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
    torch.set_num_threads(options.threads)
    material = options.run / "material"
    texts = [one for one in read_snippets(fetch(material).snippets) if one.part == "test"]
    asked = Asked.of(texts)
    rows = []
    for trunk in options.trunks:
        for seed in options.seeds:
            model = trained(trunk, seed, material, options.run / "agreement" / f"{trunk}-{seed}")
            own = [with_end(one, trunk) for one in texts]
            rows.append({"trunk": trunk, "seed": seed, **agreement(model, own, asked)})
            print(json.dumps(rows[-1]), flush=True)
    result = {
        "command": "python examples/real/agreement.py --write",
        "test_texts": len(texts),
        "spearman_of_one_rating_with_the_mean_of_the_others": round(spearman(asked.one, asked.others), 4),
        "spearman_of_one_rating_with_another": round(spearman(asked.one, asked.another), 4),
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
