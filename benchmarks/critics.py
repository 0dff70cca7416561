"""What predicts a value: a trunk's last states, more of its layers, or their sums over the text so far.

    python benchmarks/critics.py --write           # a minute

The shipped model of `reviews` writes texts for its training prompts, and the shipped reward model scores them. A
linear map (ridge) of the states at every token of a response learns the text's score from n texts; measured is the
share of the variance that it explains on 1,000 others. The sums are those of `TextCritic`. Nothing is trained but the
map, so this says what lies in the states, not how quickly a critic finds it.

Prints one JSON line; --write puts it into runs/reference/benchmarks/critics.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from textrlhf.envs.text.tasks import make_task
from textrlhf.language import load
from textrlhf.language.generation import generate
from textrlhf.language.logprobs import by_length, read_layers
from textrlhf.language.memory import padded
from textrlhf.records.folder import write_file
from textrlhf.reward_models import RewardModel

FILE = Path(__file__).resolve().parent.parent / "runs" / "reference" / "benchmarks" / "critics.json"
LEARNED, HELD_OUT, PENALTY = (200, 500, 1000, 4000), 1000, 30.0
Floats = np.ndarray


def states_of(lm, texts, starts) -> dict[str, list[Floats]]:
    """Of each text what a map sees at the tokens before each of its response's: (length, features) by name."""
    found = {name: [np.empty(0)] * len(texts) for name in ("last state", "three layers", "three layers and sums")}
    for group in by_length([len(text) for text in texts], 1 << 11):
        layers = read_layers(lm, torch.from_numpy(padded([texts[i] for i in group])))
        layers = [F.rms_norm(layer, layer.shape[-1:]) for layer in layers]
        sums = [layer.cumsum(1) / lm.context**0.5 for layer in layers]
        sets = (layers[-1:], layers, layers + sums)
        for rows, seen in zip(found.values(), sets, strict=True):
            together = torch.cat(seen, 2).double().numpy()
            for row, i in enumerate(group):
                rows[i] = together[row, starts[i] - 1 : len(texts[i]) - 1]
    return found


def explained(features: list[Floats], scores: Floats, n: int) -> float:
    """Of the variance over all tokens of the held-out texts, learned from the first n texts."""

    def laid_out(part: slice) -> tuple[Floats, Floats]:
        x = np.concatenate(features[part])
        return np.c_[x, np.ones(len(x))], np.repeat(scores[part], [len(text) for text in features[part]])

    x, y = laid_out(slice(0, n))
    weights = np.linalg.solve(x.T @ x + PENALTY * np.eye(x.shape[1]), x.T @ y)
    x, y = laid_out(slice(-HELD_OUT, None))
    return round(float(1 - np.var(y - x @ weights) / np.var(y)), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the result")
    options = parser.parse_args()
    lm, reward_model = load("reviews", "cpu"), RewardModel.load("reviews", device="cpu")
    known = [lm.encode(prompt.text) for prompt in make_task("reviews", False).prompts("train")]
    drawn = np.random.default_rng(0).integers(len(known), size=max(LEARNED) + HELD_OUT)
    written = generate(lm, [known[i] for i in drawn], 32)
    texts = [np.concatenate([text.prompt, text.tokens]) for text in written]
    responses = [lm.continuation(text.prompt, text.tokens) for text in written]
    scores = reward_model.score([lm.decode(text.prompt) for text in written], responses)
    with torch.no_grad():
        seen = states_of(lm, texts, [len(text.prompt) for text in written])
    variance = {name: {n: explained(features, scores, n) for n in LEARNED} for name, features in seen.items()}
    result = {"command": "python benchmarks/critics.py --write", "held_out": HELD_OUT, "explained_variance": variance}
    print(json.dumps(result))
    if options.write:
        write_file(FILE, json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
