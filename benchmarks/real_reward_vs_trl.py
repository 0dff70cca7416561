"""Training a reward model on a real trunk, side by side with TRL's RewardTrainer: SmolLM2 and MiniLM, on a processor.

    python -m venv trl-venv
    trl-venv/bin/pip install trl==1.16.0 torch==2.13.0 transformers==5.23.0
    python benchmarks/real_reward_vs_trl.py --trl-python trl-venv/bin/python --material runs/real/material --write

Pairs of two responses with a prompt in common, made of people's words (snippets of film reviews): prompts of 10 to 60
tokens, responses of 10 to 120. One epoch of AdamW, the same weights, 16 pairs a step, float32, two threads, dropout
off. TRL gets our batches in our order, of texts of similar length, and reads them in parts of 2, 4, 8 or all 16 pairs:
`ratio` is against the fastest of these. What else is the same is in reward_vs_trl.py. `make material` fetches the
models.

Sides take turns; a ratio is the median over the repetitions. Prints one JSON line; --write puts it into
runs/reference/benchmarks/real_reward_vs_trl.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import reward_vs_trl as base
import torch

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "runs" / "reference" / "benchmarks" / "real_reward_vs_trl.json"
PROMPT, RESPONSE, BATCH = (10, 60), (10, 120), 16
PARTS = (2, 4, 8, 16)
PAIRS = {"smollm2": 32, "minilm": 128}


def trunk(name: str, material: Path, folder: Path) -> object:
    """The pretrained model, as `RewardModel.new` takes it, with tokens that TRL asks for and no dropout."""
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

    from textrlhf.language import load

    if name == "minilm":
        own = AutoTokenizer.from_pretrained(material / "minilm")
        words, begins = own.backend_tokenizer, [(own.cls_token, own.cls_token_id)]
        words.post_processor = TemplateProcessing(single=f"{own.cls_token} $A", special_tokens=begins)
        ends = {
            "eos_token": own.sep_token,
            "pad_token": own.pad_token,
        }  # TRL appends the end, so the tokenizer need not
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **ends)
        none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        AutoModel.from_pretrained(material / "minilm", **none).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder
    lm = load(material / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf", "cpu")
    lm.tokenizer.pad_token = "<repo_name>"  # else TRL's model would take the end of a text for padding
    return lm


def some_pairs(tokenizer, material: Path, n: int) -> list[tuple[str, str, str]]:
    """Texts of so many tokens, of people's words."""
    sys.path.insert(0, str(ROOT / "examples" / "real"))
    from ratings import read_snippets

    snippets = read_snippets(material / "vader-3.3.2" / "movieReviewSnippets_GroundTruth.txt")
    words = " ".join(one.text for one in snippets).split()
    rng = np.random.default_rng(0)

    def text(between: tuple[int, int]) -> str:
        length, at = rng.integers(between[0], between[1] + 1), rng.integers(len(words) - 200)
        ids = tokenizer(" " + " ".join(words[at : at + 200]), add_special_tokens=False).input_ids[:length]
        return " " + tokenizer.decode(ids).strip()

    return [(text(PROMPT), text(RESPONSE), text(RESPONSE)) for _ in range(n)]


def compare(name: str, options: argparse.Namespace, place: Path) -> dict[str, object]:
    """One trunk: both sides in turn."""
    from textrlhf.reward_models import RewardModel

    folder = str(place / "reward_model")
    model = trunk(name, options.material, place / "trunk")
    first = RewardModel.new(model, "last", reads="text", end=True, device="cpu").save(folder)

    def made() -> RewardModel:
        return RewardModel.load(folder, device="cpu")

    pairs = some_pairs(first.tokenizer, options.material, PAIRS[name])
    ours = base.Ours(pairs, BATCH)
    order = ours.order(made())
    tokens = sum(len(text.tokens) for text in ours.dataset(made()).texts)
    theirs = base.TRL(
        options.trl_python, folder=folder, pairs=pairs, tokens=tokens, batch=BATCH, threads=options.threads
    )
    same = ours.first_batch(made(), order), theirs.first_batch(order)
    sides = {f"trl_by_{part}": lambda part=part: theirs.train(order, part) for part in PARTS}
    sides["ours"] = lambda: ours.train(made())
    rows = [{side: run() for side, run in sides.items()} for _ in range(options.repetitions)]
    theirs.close()
    best = min((f"trl_by_{part}" for part in PARTS), key=lambda side: statistics.median(row[side][0] for row in rows))
    return {
        "pairs": PAIRS[name],
        "tokens": tokens,
        "same_work": {key: [one[key] for one in same] for key in same[0]},
        "best_of_trl": best,
        **base.ratios(rows, "ours", {"": best, "_at_once": f"trl_by_{BATCH}"}),
        "tokens_per_second": base.per_second(rows, tokens),
        "every_s": base.every(rows),
        "versions": theirs.versions,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", required=True, metavar="PATH", help="of an environment that has TRL 1.16.0")
    parser.add_argument("--material", type=Path, default=ROOT / "runs" / "real" / "material")
    parser.add_argument("--models", nargs="+", choices=[*PAIRS], default=[*PAIRS])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="keep the result")
    options = parser.parse_args()
    from textrlhf.records.folder import write_file

    torch.set_num_threads(options.threads)
    result = {
        "command": "python benchmarks/real_reward_vs_trl.py --trl-python PATH --write",
        **{"threads": options.threads, "repetitions": options.repetitions},
        **{"prompt": PROMPT, "response": RESPONSE, "batch": BATCH},
    }
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            result[name] = compare(name, options, Path(folder))
            print(json.dumps({name: result[name]}), flush=True)
    if options.write:
        write_file(RESULT, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
