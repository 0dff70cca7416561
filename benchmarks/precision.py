"""How far the first ratio is from 1, and the KL from 0, for a model as deep as SmolLM2-135M, by precision.

    python benchmarks/precision.py [--model PATH --name NAME] [--write]     # bfloat16 takes minutes on a CPU

Before the first step of an update the policy that acted, token by token over its KV cache, and the policy that learns,
in one forward over whole texts, have the same weights: the ratio of their probabilities is 1 but for rounding. The
reference has the same weights too: the KL is 0 but for rounding. Prints one JSON line. Without --model the weights are
random, 30 layers of width 576: then all tokens are about as likely, and the rounding is that of the depth alone.

first_ratio_error    the largest |ratio − 1| of any token, as train/first_ratio_error logs it
ratio_error_mean     its mean over tokens
kl                   mean KL per text, of a policy that equals its reference
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from textrlhf.agents import PPO
from textrlhf.language import CausalLM
from textrlhf.records.folder import write_file
from textrlhf.records.progress import Stopwatch

RESULT = Path(__file__).parents[1] / "runs/reference/benchmarks/precision.json"


def random_model() -> CausalLM:
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 30, "hidden_size": 576, "intermediate_size": 1536}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 256}
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=4096, tie_word_embeddings=True, **shape, **heads, **ids))
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(4096)}, unk_token="w1"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return CausalLM(model, PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w0"))


def measure(model: CausalLM | str, prompts: list[str], bf16: bool, kl_penalty: str, texts: int) -> dict[str, float]:
    agent = PPO(
        "TextRLHF-v0",
        env_kwargs={
            "model": model,
            "prompts": prompts,
            "reward_model": lambda prompts, responses: np.zeros(len(responses)),
            "max_new_tokens": 24,
            "min_new_tokens": 23,
            "kl_penalty": kl_penalty,
            "device": "cpu",
        },
        n_envs=texts,
        n_steps=24,
        bf16=bf16,
        seed=0,
        torch_threads=2,
    )
    agent.cut(None)
    with agent.threads(), agent.precision(), torch.no_grad():
        rollout = agent.collect(Stopwatch())
        agent.estimate_advantages(rollout)
        (batch,) = rollout.minibatches(rollout.valid.size, agent.random.order)
        errors = []
        for part, _ in agent.policy.microbatches(batch):
            errors.append(((agent.policy.evaluate(part).log_prob - part.log_probs).exp() - 1).abs())
    error = torch.cat(errors)
    return {
        "first_ratio_error": float(f"{error.max():.2g}"),
        "ratio_error_mean": float(f"{error.mean():.2g}"),
        "kl": float(f"{rollout.kl.sum() / texts:.2g}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder with a causal language model")
    parser.add_argument("--name", help="what to call that model in the result")
    parser.add_argument("--texts", type=int, default=8, help="of 24 tokens each")
    parser.add_argument("--write", action="store_true", help="keep the result")
    options = parser.parse_args()
    model = options.model or random_model()
    prompts = ["The film was", "I thought the acting", "Nobody can deny that this"]
    if not options.model:
        prompts = ["w5 w6 w7", "w8 w9 w10 w11", "w12 w13 w14 w15 w16"]
    rows = {
        f"{'bfloat16' if bf16 else 'float32'}, kl_penalty={kl_penalty!r}": measure(
            model, prompts, bf16, kl_penalty, options.texts
        )
        for bf16 in (False, True)
        for kl_penalty in ("token", "deferred")
    }
    name = (options.name or Path(options.model).name) if options.model else "random, 30 layers of width 576"
    result = {name: {"tokens": options.texts * 24, **rows}}
    if options.write:
        command = "python benchmarks/precision.py --write; the same with --model PATH --name NAME"
        others = json.loads(RESULT.read_text()) if RESULT.exists() else {}
        write_file(RESULT, json.dumps({"command": command, **others, **result}, indent=1) + "\n")
    print(json.dumps({"benchmark": "precision", **result}))


if __name__ == "__main__":
    main()
