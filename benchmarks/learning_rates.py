"""Which learning rates PPO bears on language models of several sizes, with all weights and with LoRA.

    python benchmarks/learning_rates.py                              # two models of random weights
    python benchmarks/learning_rates.py --real runs/real             # SmolLM2, after `make real` or its first stages

The default follows the size: `language.learning_rate.fine_tuning_rate`. Each model is trained at multiples of it, all
else as by default but for shorter rollouts. Models of random weights earn the share of their 16 words that have even
numbers, in standard deviations of what they write before; SmolLM2, cloned on film snippets, earns the reward model's
score as in examples/real.

Every cell has the mean score and KL of the last quarter of the updates and the largest KL of an update. Cells that are
done are not done again; the result is runs/reference/benchmarks/learning_rates.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "runs" / "reference" / "benchmarks" / "learning_rates.json"
WORDS, LENGTH = 4096, 16
MULTIPLES = (0.25, 1, 4, 16)
ROLLOUT = {"n_envs": 32, "n_steps": 32, "batch_size": 256}
SHAPES = {  # layers, width, heads, key-value heads
    "random-3M": ("llama", 6, 192, 6, 2),
    "random-21M": ("gpt2", 8, 448, 8, 8),
}


def make(shape: str, folder: Path) -> Path:
    """Write a model of random weights with words for tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from textrlhf.language import CausalLM

    family, layers, width, heads, groups = SHAPES[shape]
    torch.manual_seed(0)
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "vocab_size": WORDS}
    if family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_embd=width, n_head=heads, n_positions=64, **ids))
    else:
        sizes = {"num_hidden_layers": layers, "hidden_size": width, "intermediate_size": 8 * width // 3}
        kinds = {"num_attention_heads": heads, "num_key_value_heads": groups, "max_position_embeddings": 64}
        model = LlamaForCausalLM(LlamaConfig(**sizes, **kinds, tie_word_embeddings=True, **ids))
    words = Tokenizer(models.WordLevel({"<end>": 0, **{f"w{i}": i for i in range(1, WORDS)}}, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>")
    CausalLM(model.requires_grad_(False), tokenizer).save(folder)
    return folder


def even(_prompts: list[str], responses: list[str]) -> np.ndarray:
    """The share of words with even numbers, in standard deviations of words drawn at random."""
    shares = [np.mean([int(word[1:]) % 2 == 0 for word in text.split()] or [0.5]) for text in responses]
    return (np.array(shares) - 0.5) / (0.5 / LENGTH**0.5)


def environment(shape: str, real: Path | None, folder: Path) -> dict[str, Any]:
    """The arguments of the environment."""
    if real is None:
        prompts = [f"w{i} w{j}" for i in range(1, 17) for j in range(1, 17)]
        how = {"max_new_tokens": LENGTH, "kl_penalty": "deferred"}
        return {"model": str(make(shape, folder)), "reward_model": even, "prompts": prompts, **how}
    sys.path.insert(0, str(ROOT / "examples" / "real"))
    from stages import SIZES, RealRun

    return RealRun(real / "seed-0", real / "material", 0, SIZES["full"]).environment()


def train(env: dict[str, Any], rate: float, lora: int, seed: int, tokens: int) -> dict[str, float]:
    """One cell."""
    from textrlhf import PPO

    updates: list[dict[str, float]] = []
    agent = PPO("TextRLHF-v0", env_kwargs=env, seed=seed, learning_rate=rate, lora_rank=lora, **ROLLOUT)
    agent.learn(tokens, lambda agent, metrics: updates.append(dict(metrics)), progress=False)
    agent.close()
    last = updates[-max(len(updates) // 4, 1) :]
    return {
        "learning_rate": rate,
        "tokens": tokens,
        **{name: round(float(np.mean([one[f"rollout/{name}"] for one in last])), 3) for name in ("score", "kl")},
        "largest_kl_of_an_update": round(max(one["train/approx_kl"] for one in updates), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, metavar="RUN", help="SmolLM2 in this folder of examples/real")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--adapters", nargs="+", type=int, default=[0, 16], help="LoRA's ranks; 0 trains all weights")
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    from textrlhf.language import load
    from textrlhf.language.learning_rate import fine_tuning_rate
    from textrlhf.records.folder import write_file

    torch.set_num_threads(options.threads)
    for shape in ["smollm2"] if options.real else list(SHAPES):
        with tempfile.TemporaryDirectory() as folder:
            env = environment(shape, options.real, Path(folder))
            model = load(env["model"]).model
            size = sum(weights.numel() for weights in model.parameters())
            for seed, lora, multiple in itertools.product(range(options.seeds), options.adapters, MULTIPLES):
                known = json.loads(RESULT.read_text()) if RESULT.exists() else []
                cell = {"model": shape, "lora_rank": lora, "multiple": multiple, "seed": seed}
                if not any(cell.items() <= row.items() for row in known):
                    rate = float(f"{multiple * fine_tuning_rate(model, adapters=bool(lora)):.2g}")
                    row = {**cell, "weights": size, **train(env, rate, lora, seed, options.tokens)}
                    print(json.dumps(row), flush=True)
                    write_file(RESULT, json.dumps([*known, row], indent=1) + "\n")


if __name__ == "__main__":
    main()
