"""PPO on a real language model, side by side with TRL: SmolLM2, 135 million weights, on a processor.

    for version in 1.12.0 1.16.0; do                       # TRL in environments of its own: 1.12.0 is the last with PPO
        python -m venv trl-$version
        trl-$version/bin/pip install trl==$version torch==2.13.0 transformers==5.23.0 accelerate datasets
    done
    python benchmarks/real_vs_trl.py --model FOLDER --trl-python trl-1.12.0/bin/python \\
        --grpo-python trl-1.16.0/bin/python --write

FOLDER is SmolLM2 as a plain Hugging Face folder, as `python examples/real` unpacks it. Both sides start from the same
weights, with a reward model of the same shape with a random scalar head at the last token; prompts of 8 tokens,
responses of 32, 32 of them an update, β .05, temperature 1, learning rate 3e-6, float32, two threads. Sides take turns,
one update each; the first of each is not counted; a ratio is the median over the repetitions. What else is the same and
what differs is in ppo_vs_trl.py, whose workers these are.

ppo       four epochs of one minibatch, TRL's default; TRL reads it in parts of 4, of 8 or all 32 texts at once:
          `ratio` is against the fastest of these. `ratio_separate_critic`: with a critic on a trunk of its own, as TRL
          has. `lora_vs_full`: ours with LoRA by ours with all weights.
grpo      one pass against TRL's GRPO, groups of 8, no critic; ours trains one.
grpo_early  the same where texts end early: the end of text is the full stop.
settings  ours alone, one after another: tokens in a forward, adapters, gradient checkpointing; seconds of an update of
          one epoch and the peak of memory.

Writing alone, against `generate`, is in rollout_speed.py --model.
Texts do not end by themselves in the first two: the end of text is a token that is never written. `peak_mib` is memory
beyond the imports. Prints one JSON line; --write puts it into runs/reference/benchmarks/real_vs_trl.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from ppo_vs_trl import check_same_work, per_second, ratio
from sides import Worker, in_turn

RESULT = Path(__file__).resolve().parent.parent / "runs" / "reference" / "benchmarks" / "real_vs_trl.json"
SHAPE = {"prompt": 8, "response": 32, "batch": 32, "kl_coef": 0.05, "learning_rate": 3e-6, "accumulate": 1}
PLAIN = {"ends": False, "bf16": False, "separate_critic": False}
NEVER, STOP = "<repo_name>", "."
PPO, GRPO = {"side": "trl", "algorithm": "ppo", "epochs": 4}, {"side": "grpo", "algorithm": "grpo", "epochs": 1}
OURS, ONCE = {"side": "ours", "epochs": 4}, {"side": "ours", "epochs": 1}
LORA = {"lora_rank": 16}
PARTS: dict[str, dict[str, dict]] = {
    "ppo": {
        "ours": OURS,
        "ours_separate_critic": {**OURS, "separate_critic": True},
        "ours_lora": {**OURS, "further": LORA},
        "trl": PPO,
        "trl_by_8": {**PPO, "accumulate": 4},
        "trl_by_4": {**PPO, "accumulate": 8},
    },
    "grpo": {"ours": ONCE, "trl": GRPO, "trl_by_8": {**GRPO, "accumulate": 4}},
}
PARTS["settings"] = {
    "ours": ONCE,
    **{f"tokens_at_once_{n}": {**ONCE, "further": {"tokens_at_once": n}} for n in (256, 1024, 2048)},
    "gradient_checkpointing": {**ONCE, "further": {"gradient_checkpointing": True}},
    "lora": {**ONCE, "further": LORA},
    "lora_gradient_checkpointing": {**ONCE, "further": {**LORA, "gradient_checkpointing": True}},
}
PARTS["grpo_early"] = {name: {**how, "ends": True} for name, how in PARTS["grpo"].items()}


def make_models(model: str, folder: str) -> tuple[list[list[int]], list[str]]:
    """Write both kinds of language and reward model; return prompts as tokens and as texts."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from textrlhf.language import CausalLM, generate
    from textrlhf.reward_models import RewardModel

    for name, end in (("whole", NEVER), ("early", STOP)):
        tokenizer = AutoTokenizer.from_pretrained(model)
        tokenizer.eos_token = end
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        loaded.config.eos_token_id = loaded.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(end)
        saved = CausalLM(loaded.requires_grad_(False), tokenizer).save(os.path.join(folder, name))
        reward = RewardModel.new(saved, "last", end=name == "early", device="cpu")
        reward.save(os.path.join(folder, f"{name}-reward-model"))
    lm = CausalLM(loaded, tokenizer)
    start = lm.encode("The film").tolist()
    found: dict[str, list[int]] = {}
    for text in generate(lm, [start] * 400, SHAPE["prompt"], seed=0):
        ids = [*start, *text.tokens][: SHAPE["prompt"]]
        words = lm.decode(ids)
        if len(ids) == SHAPE["prompt"] and lm.encode(words).tolist() == ids and not words.endswith(" "):
            found[words] = ids
    return list(found.values())[:256], list(found)[:256]


def start(options: argparse.Namespace, folder: str, prompts: list[list[int]], texts: list[str], how: dict) -> Worker:
    """One side of a part."""
    kind = "early" if how.get("ends") else "whole"
    models = {"model": os.path.join(folder, kind), "reward_model": os.path.join(folder, f"{kind}-reward-model")}
    example = prompts[0], (prompts[1] + prompts[2] + prompts[3])[: SHAPE["response"]]
    given = {**SHAPE, **PLAIN, **how, **models, "folder": folder, "prompts": prompts, "texts": texts, "text": example}
    python = {"ours": sys.executable, "trl": options.trl_python, "grpo": options.grpo_python}[how["side"]]
    script = "our_ppo_worker.py" if how["side"] == "ours" else "trl_ppo_worker.py"
    return Worker(python, script, {**given, "threads": options.threads})


def compare(options: argparse.Namespace, folder: str, prompts: list[list[int]], texts: list[str], part: str) -> dict:
    """All sides of a part, in turn; they are in memory together."""
    sides = {name: how for name, how in PARTS[part].items() if not options.sides or name in options.sides}
    workers = {name: start(options, folder, prompts, texts, how) for name, how in sides.items()}
    rows, peak = in_turn(workers, options.repetitions, part if options.verbose else None)
    reads = {name: worker.about["reads"] for name, worker in workers.items()}
    versions = {name: worker.about["versions"] for name, worker in workers.items()}
    for worker in workers.values():
        worker.close()
    check_same_work(reads, 1e-3)
    speeds = per_second(rows)
    best = max((name for name in speeds if name.startswith("trl")), key=speeds.__getitem__, default=None)
    ratios: dict[str, float] = {}
    for name in speeds:
        if best and name.startswith("ours"):
            ratios |= ratio(rows, name, best, name.removeprefix("ours"))
    if "ours_lora" in speeds:
        against_full = ratio(rows, "ours_lora", "ours", "_lora_vs_full")
        ratios |= {name.removeprefix("ratio_"): one for name, one in against_full.items()}
    return {
        **ratios,
        "best_of_trl": best,
        "tokens_per_second": speeds,
        "peak_mib": peak,
        **({"memory_share_of_trl": round(peak["ours"] / peak[best], 3)} if best else {}),
        "same_work": reads,
        "versions": versions,
        "every_s": [{name: [round(s, 2) for s in one["seconds"]] for name, one in row.items()} for row in rows],
    }


def alone(options: argparse.Namespace, folder: str, prompts: list[list[int]], texts: list[str], part: str) -> dict:
    """Ours by settings, one process after another."""
    found = {}
    for name, how in PARTS[part].items():
        if not options.sides or name in options.sides:
            worker = start(options, folder, prompts, texts, how)
            rows, peak = in_turn({name: worker}, options.repetitions, part if options.verbose else None)
            worker.close()
            seconds = statistics.median(row[name]["seconds"][0] for row in rows)
            found[name] = {"seconds_of_an_update": round(seconds, 2), "peak_mib": peak[name]}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="FOLDER", help="SmolLM2 as a Hugging Face folder")
    parser.add_argument("--trl-python", metavar="PATH", help="the python of an environment that has TRL 1.12.0")
    parser.add_argument("--grpo-python", metavar="PATH", help="the python of an environment that has TRL 1.16.0")
    parser.add_argument("--parts", nargs="+", choices=[*PARTS], default=[*PARTS])
    parser.add_argument("--sides", nargs="+", help="only these sides, for a look")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--verbose", action="store_true", help="show each update as it is done")
    parser.add_argument("--write", action="store_true", help="keep the result")
    options = parser.parse_args()
    from textrlhf.records.folder import write_file

    result: dict[str, object] = {"benchmark": "real_vs_trl"}
    how = {"threads": options.threads, **SHAPE, "repetitions": options.repetitions}
    began = time.time()
    with tempfile.TemporaryDirectory() as folder:
        prompts, texts = make_models(options.model, folder)
        for part in options.parts:
            measured = alone if part == "settings" else compare
            result[part] = {**how, **measured(options, folder, prompts, texts, part)}
    if options.write and not options.sides:
        command = "python benchmarks/real_vs_trl.py --model FOLDER --trl-python PATH --grpo-python PATH --write"
        others = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        write_file(RESULT, json.dumps({"command": command, **others, **result}, indent=1) + "\n")
    print(json.dumps(result))
    print(f"{time.time() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
