"""Learning to please a reward model, side by side with TRL: tokens that were written and learned from, a second.

    for version in 1.12.0 1.16.0; do                       # TRL in environments of its own: 1.12.0 is the last with PPO
        python -m venv trl-$version
        trl-$version/bin/pip install trl==$version torch==2.13.0 transformers==5.23.0 accelerate datasets
    done
    python benchmarks/ppo_vs_trl.py --trl-python trl-1.12.0/bin/python --grpo-python trl-1.16.0/bin/python --write
    python benchmarks/ppo_vs_trl.py --trl-python … --grpo-python … --quick        # a look: eight texts of eight tokens

All sides: GPT-2's shape at 4 × 256 with 4 heads and 4,096 tokens, without dropout, from the same weights on disk;
prompts of 32 tokens, responses of 64, 64 of them side by side; a reward model of the same shape with a scalar head at
the last token; β 0.05 (k1 in the reward for PPO, k3 in the loss for GRPO, which is its way), temperature 1, learning
rate 3e-6, two threads. `same_work` is what each side makes of one text: log-probability and score. Each side is a
process of its own that learns by its own front door (`PPO(env).learn`, `trainer.train`) and pauses after each update,
so that they take turns; the first update of each is not counted. A ratio is the median over the repetitions; `…_cpu`
is the same in processor seconds, which a busy machine disturbs less.

ppo       against TRL's PPO, 4 epochs, one minibatch: what it does by default. Ours trains a value on the
          policy's trunk, TRL a critic with a trunk of its own: `ratio_separate_critic` is ours with such a one.
          `ratio_in_fours` lets TRL read the minibatch in four parts and add up their gradients, which suits a CPU.
          `ratio_separate_critic_in_fours` has both, and so is nearest to like with like.
ppo_bf16  the same in bfloat16 by autocast. TRL's PPO gets it as `accelerate launch --mixed_precision bf16` does it, for
          its own setting never reaches what computes. It then learns in bfloat16, and samples and penalties in float32;
          ours acts, learns and penalties in it. A CPU that has no such instructions is ten times slower in it.
grpo      against TRL's GRPO, one pass on both sides. It has no critic and groups of 8; ours trains a value as well.
grpo_bf16 the same in bfloat16.
early     as ppo, but texts end by themselves, after a third of their budget on average: the last layer norm's first
          number is constant, and from it the end-of-text token has a probability of 4.5 % everywhere, by the same
          weights on both sides; in all other parts it is next to impossible. Counted are tokens to the end of text.
          TRL writes 64 texts until the longest ends, and computes on the padding; ours refills a slot at once and reads
          in groups of like length, but reads again what an update cut through.
rollout   our rollout alone, `kl_penalty="none"` and a reward model that says 0, on texts that end early: with
Gymnasium's
          dialect, log and refills, against a loop that only reads, samples and refills over the same cache. The same
          prompts, random numbers and so the same tokens: checked. Its ratio is a share of the bare loop's speed;
          `ratio_with_values` has the critic read what was written as well, which a bare loop has none to do.
memory    `peak_mib`: MiB at most, above what the process had after its imports, weights and all; it is given for every
          part. `memory_share_of_trl` is ours by theirs. TRL's PPO never switches on the gradient checkpointing that
          its settings promise, so it is off on all sides; `trl_in_fours` is what saves it memory.

What else differs. TRL's PPO applies no gradient clipping, reads policy, critic and reference over whole texts with the
head at every position, keeps the logits of the whole batch, and makes its statistics; samples from what `generate`
returns; tokenises nothing. Ours clips, applies the head to responses only, decodes each text and has the reward model
tokenise it. In bfloat16 both hold weights and moments in float32.

Prints one JSON line; --write puts the parts it measured into runs/reference/benchmarks/ppo_vs_trl.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from our_ppo_worker import VOCAB, make_models, rollout
from sides import Worker, in_turn

RESULT = Path(__file__).resolve().parent.parent / "runs" / "reference" / "benchmarks" / "ppo_vs_trl.json"
SHAPE = {"prompt": 32, "response": 64, "batch": 64, "kl_coef": 0.05, "learning_rate": 3e-6, "accumulate": 1}
PLAIN = {"ends": False, "bf16": False, "separate_critic": False}
LOOK = {"prompt": 4, "response": 8, "batch": 8}
PPO, GRPO = {"side": "trl", "algorithm": "ppo", "epochs": 4}, {"side": "grpo", "algorithm": "grpo", "epochs": 1}
OURS, ONCE = {"side": "ours", "epochs": 4}, {"side": "ours", "epochs": 1}
PARTS = {
    "ppo": {
        "trl": PPO,
        "ours": OURS,
        "ours_separate_critic": {**OURS, "separate_critic": True},
        "trl_in_fours": {**PPO, "accumulate": 4},
    },
    "ppo_bf16": {"trl": {**PPO, "bf16": True}, "ours": {**OURS, "bf16": True}},
    "grpo": {"trl": GRPO, "ours": ONCE, "trl_in_fours": {**GRPO, "accumulate": 4}},
    "grpo_bf16": {"trl": {**GRPO, "bf16": True}, "ours": {**ONCE, "bf16": True}},
}
PARTS["early"] = {name: {**how, "ends": True} for name, how in PARTS["ppo"].items()}


def start(options: argparse.Namespace, folder: str, prompts: list[list[int]], how: dict) -> Worker:
    """One side of a part."""
    kind = "early" if how.get("ends") else "whole"
    models = {"model": os.path.join(folder, kind), "reward_model": os.path.join(folder, f"{kind}-reward-model")}
    text = prompts[0], prompts[1][: SHAPE["response"]]
    given = {**SHAPE, **PLAIN, **how, **models, "folder": folder, "prompts": prompts, "text": text}
    python = {"ours": sys.executable, "trl": options.trl_python, "grpo": options.grpo_python}[how["side"]]
    script = "our_ppo_worker.py" if how["side"] == "ours" else "trl_ppo_worker.py"
    return Worker(python, script, {**given, "threads": options.threads})


def compare(options: argparse.Namespace, folder: str, prompts: list[list[int]], part: str) -> dict[str, object]:
    """All sides of a part, in turn."""
    workers = {name: start(options, folder, prompts, how) for name, how in PARTS[part].items()}
    rows, peak = in_turn(workers, options.repetitions, part if options.verbose else None)
    for worker in workers.values():
        worker.close()
    ratios: dict[str, float] = {}
    for name in rows[0]:
        if name.startswith("ours"):
            ratios |= ratio(rows, name, "trl", name.removeprefix("ours"))
        elif name != "trl":
            ratios |= ratio(rows, "ours", name, name.removeprefix("trl"))
    shares = {f"memory_share_of_{name}": peak["ours"] / peak[name] for name in peak if "trl" in name}
    if {"ours_separate_critic", "trl_in_fours"} <= rows[0].keys():
        ratios |= ratio(rows, "ours_separate_critic", "trl_in_fours", "_separate_critic_in_fours")
        shares["memory_share_separate_critic_in_fours"] = peak["ours_separate_critic"] / peak["trl_in_fours"]
    check_same_work({name: worker.about["reads"] for name, worker in workers.items()}, 0.02 if "bf16" in part else 1e-4)
    return {
        **ratios,
        "tokens_per_second": per_second(rows),
        "tokens_an_update": {name: round(statistics.mean(row[name]["tokens"] for row in rows)) for name in rows[0]},
        "peak_mib": peak,
        **{name: round(share, 3) for name, share in shares.items()},
        "same_work": {name: worker.about["reads"] for name, worker in workers.items()},
        "versions": {name: worker.about["versions"] for name, worker in workers.items() if name in ("trl", "ours")},
        "every_s": [{name: [round(s, 2) for s in one["seconds"]] for name, one in row.items()} for row in rows],
    }


def check_same_work(reads: dict[str, dict[str, float]], tolerance: float) -> None:
    """Stop where a side makes something else of the same text."""
    for name, read in reads.items():
        for what, number in read.items():
            expected = reads["ours"].get(what, number)
            if abs(number - expected) > tolerance * max(abs(expected), 1):
                sys.exit(f"{name} finds a {what} of {number} where ours finds {expected}: this is not the same work")


def ratio(rows: list[dict], ours: str, theirs: str, name: str = "") -> dict[str, float]:
    """How many times as fast ours is: medians over the repetitions, by the wall and the processor."""

    def speed(one: dict, clock: int) -> float:
        return one["tokens"] / one["seconds"][clock]

    return {
        f"ratio{name}{kind}": round(statistics.median(speed(row[ours], i) / speed(row[theirs], i) for row in rows), 3)
        for i, kind in enumerate(("", "_cpu"))
    }


def per_second(rows: list[dict]) -> dict[str, float]:
    return {
        name: round(statistics.median(row[name]["tokens"] / row[name]["seconds"][0] for row in rows), 1)
        for name in rows[0]
    }


def decode(options: argparse.Namespace, folder: str, prompts: list[list[int]]) -> dict[str, object]:
    """Our rollout beside a bare loop."""
    given = {**SHAPE, **PLAIN, **ONCE, "prompts": prompts, "threads": options.threads}
    rows, texts = rollout(given, folder, 3 * options.repetitions)
    ratios = {**ratio(rows, "ours", "bare"), **ratio(rows, "ours_with_values", "bare", "_with_values")}
    return {**ratios, "tokens_per_second": per_second(rows), "texts": texts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", metavar="PATH", help="the python of an environment that has TRL 1.12.0")
    parser.add_argument("--grpo-python", metavar="PATH", help="the python of an environment that has TRL 1.16.0")
    parser.add_argument("--parts", nargs="+", choices=[*PARTS, "rollout"], default=[*PARTS, "rollout"])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="eight texts of eight tokens, one repetition")
    parser.add_argument("--verbose", action="store_true", help="show each update as it is done")
    parser.add_argument("--write", action="store_true", help="keep the result")
    options = parser.parse_args()
    for part in options.parts:
        if part != "rollout" and (options.grpo_python if "grpo" in part else options.trl_python) is None:
            parser.error(f"{part} needs an environment with TRL in it, see --help")
    if options.quick:
        SHAPE.update(LOOK)
        options.repetitions = 1
    from textrlhf.records.folder import write_file

    result: dict[str, object] = {"benchmark": "ppo_vs_trl"}
    how = {"threads": options.threads, **SHAPE, "layers": 4, "width": 256, "vocab": VOCAB}
    with tempfile.TemporaryDirectory() as folder:
        prompts = make_models(folder, SHAPE["prompt"])
        for part in options.parts:
            side = [part] if part != "rollout" else []
            measured = (compare if side else decode)(options, folder, prompts, *side)
            result[part] = {"repetitions": options.repetitions, **how, **measured}
    if options.write and not options.quick:
        command = "python benchmarks/ppo_vs_trl.py --trl-python PATH --grpo-python PATH --write"
        others = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        write_file(RESULT, json.dumps({"command": command, **others, **result}, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
