"""Tokens written through a text world, side by side with `transformers`' `generate`, same model, same lengths.

    python benchmarks/rollout_speed.py             # about twenty minutes on two cores; --quick for a look
    python benchmarks/rollout_speed.py --scaling   # how a step grows with context and batch instead

Ours: a loop over the native batch that samples each token from the model (inverse CDF), records its log-probability
and a value, and steps; slots are refilled as texts end. Theirs: `generate` with sampling on static batches of 64,
each as long as its longest text. Useful tokens are those within a text's target length, seeded and the same on both
sides. In turn, several repetitions; the ratio's median counts. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import time

import gymnasium as gym
import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import textrlhf  # noqa: F401 - registers the worlds
from textrlhf.language import CausalLM, make_memory, sample

SLOTS, PROMPT, RESPONSE, EOS = 64, (8, 32), (4, 64), 0


def language_model(vocab: int, device: str, positions: int = 128) -> CausalLM:
    """GPT-2's shape at 4 × 256, random weights, words for tokens."""
    torch.manual_seed(0)
    shape = {"n_embd": 256, "n_layer": 4, "n_head": 4, "n_positions": positions}
    ids = {"bos_token_id": EOS, "eos_token_id": EOS, "pad_token_id": EOS}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=vocab, **shape, **ids)).requires_grad_(False)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(vocab)}, unk_token="w1"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return CausalLM(model.to(device), PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w0"))


def texts(vocab: int, n: int, prompt=PROMPT, response=RESPONSE) -> tuple[list[np.ndarray], np.ndarray]:
    """Prompts and how many tokens are to follow each."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(1, vocab, rng.integers(prompt[0], prompt[1] + 1)) for _ in range(n)]
    return prompts, rng.integers(response[0], response[1] + 1, n)


class Rollout:
    """The loop that a learner runs, with texts that end when they are told to."""

    def __init__(self, lm: CausalLM, prompts, lengths, charge: str, n: int = SLOTS, **options) -> None:
        named = [" ".join(f"w{i}" for i in prompt) for prompt in prompts]
        self.target = dict(zip(named, lengths.tolist(), strict=True))
        longest = int(lengths.max())
        self.env = gym.make_vec(
            "TextRLHF-v0",
            num_envs=n,
            model=lm,
            reward_model=lambda prompts, responses: np.zeros(len(prompts)),
            prompts=[{"prompt": text, "split": "train"} for text in named],
            max_new_tokens=longest,
            context=max(map(len, prompts)) + longest,
            charge=charge,
            **options,
        )
        self.lm, self.n, self.memory = lm, n, make_memory(lm, n)
        torch.manual_seed(1)
        self.value_head = torch.nn.Linear(lm.model.config.hidden_size, 1).to(lm.device).requires_grad_(False)
        self.generator = torch.Generator(lm.device).manual_seed(2)
        self.observation, info = self.env.reset(seed=0)
        self.env.unwrapped.settle()
        self.left = np.array([self.target[text] for text in info["prompt"]])
        self.starts, self.in_env = np.ones(n, bool), 0.0
        self.record: list[tuple[np.ndarray, ...]] = []

    @torch.no_grad()
    def step(self) -> int:
        """One token in each slot; how many of them were useful: all."""
        self.memory.reset(np.flatnonzero(self.starts))
        ends = (self.observation >= 0).sum(1)
        hidden = self.memory.catch_up(np.arange(self.n), self.observation, ends)
        tokens, logprobs = sample(self.lm.head(hidden), generator=self.generator)
        values = self.value_head(hidden)[:, 0]
        actions = tokens.cpu().numpy()
        actions = np.where(self.left == 1, EOS, np.where(actions == EOS, 1, actions))
        logprobs = logprobs.cpu().numpy()
        self.record.append((actions, logprobs, values.cpu().numpy()))
        self.env.unwrapped.policy_logprob = logprobs
        began = time.perf_counter()
        self.observation, _, terminated, truncated, info = self.env.step(actions)
        self.in_env += time.perf_counter() - began
        self.starts = terminated | truncated
        self.left -= 1
        for slot in np.flatnonzero(self.starts):
            self.left[slot] = self.target[info["prompt"][slot]]
        return self.n

    def run(self, tokens: int, settle_every: int = 64) -> tuple[float, float]:
        """Useful tokens/s, and the environment's share of the time."""
        self.record.clear()
        self.in_env, useful, steps, began = 0.0, 0, 0, time.perf_counter()
        while useful < tokens:
            useful += self.step()
            steps += 1
            if steps % settle_every == 0:
                self.env.unwrapped.settle()
        self.env.unwrapped.settle()
        if self.lm.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        return useful / seconds, self.in_env / seconds


@torch.no_grad()
def generate(lm: CausalLM, prompts, lengths) -> float:
    """Useful tokens/s of static batches, left-padded."""
    began = time.perf_counter()
    for at in range(0, len(prompts), SLOTS):
        batch, longest = prompts[at : at + SLOTS], int(lengths[at : at + SLOTS].max())
        width = max(map(len, batch))
        grid = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros_like(grid)
        for row, prompt in enumerate(batch):
            grid[row, width - len(prompt) :] = torch.from_numpy(prompt)
            mask[row, width - len(prompt) :] = 1
        lm.model.generate(
            grid.to(lm.device),
            attention_mask=mask.to(lm.device),
            do_sample=True,
            top_k=0,
            max_new_tokens=longest,
            eos_token_id=None,
            pad_token_id=EOS,
        )
    if lm.device.type == "cuda":
        torch.cuda.synchronize()
    return int(lengths.sum()) / (time.perf_counter() - began)


def compare(vocab: int, device: str, n_texts: int, repetitions: int) -> dict[str, object]:
    lm = language_model(vocab, device)
    lm.model.generation_config.eos_token_id = None
    prompts, lengths = texts(vocab, n_texts)
    plain, charged = (Rollout(lm, prompts, lengths, charge) for charge in ("none", "deferred"))
    for rollout in (plain, charged):
        rollout.run(SLOTS * 16)  # past the first wave, in which all slots start together
    rows = []
    for _ in range(repetitions):
        theirs = generate(lm, prompts, lengths)
        ours, share = plain.run(int(lengths.sum()))
        deferred, _ = charged.run(int(lengths.sum()))
        rows.append({"generate": theirs, "ours": ours, "deferred": deferred, "env_share": share})
    return {
        "vocab": vocab,
        **{key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]},
        "ratio": round(statistics.median(row["ours"] / row["generate"] for row in rows), 2),
        "ratio_deferred": round(statistics.median(row["deferred"] / row["generate"] for row in rows), 2),
        "ratios": [[round(row[key] / row["generate"], 2) for key in ("ours", "deferred")] for row in rows],
    }


def scaling(device: str, contexts, batches, steps: int) -> list[dict[str, float]]:
    """Milliseconds a step of slots that are half full on average, by context and batch, and what is read."""
    table = []
    for context in contexts:
        lm = language_model(2048, device, context)
        for n in batches:
            response = context - 16
            prompts, lengths = texts(2048, 256, (8, 16), (response // 2, response))
            rollout = Rollout(lm, prompts, lengths, "none", n)
            longest = rollout.env.unwrapped.engine.context
            rows = np.linspace(8, longest - 8, n).astype(int) if n > 1 else np.array([longest // 2])
            rollout.observation = np.full((n, longest), -1)
            for row, end in zip(rollout.observation, rows, strict=True):
                row[:end] = 1
            engine = rollout.env.unwrapped.engine
            engine.tokens[:], engine.lengths[:] = rollout.observation, rows
            engine.taken[:] = 0
            rollout.left[:] = 1 << 30
            rollout.step()
            rollout.starts[:] = False
            rollout.in_env, times = 0.0, []
            for _ in range(steps):
                engine.lengths[:] = rows
                engine.taken[:] = 0
                engine.tokens[np.arange(n), rows] = -1
                rollout.observation = engine.observation()
                rollout.memory.lengths[:] = rows - 1
                began = time.perf_counter()
                rollout.step()
                times.append(time.perf_counter() - began)
            table.append(
                {
                    "context": context,
                    "n": n,
                    "step_ms": round(1e3 * statistics.median(times), 2),
                    "env_ms": round(1e3 * rollout.in_env / steps, 3),
                    "cache_mib": round(rollout.memory.bytes / 2**20, 1),
                }
            )
    return table


FIRST = """
import time, torch; from transformers import LlamaForCausalLM, AutoTokenizer
began = time.perf_counter()
import gymnasium as gym, textrlhf
env = gym.make("TextRLHF-v0"); env.reset(seed=0); env.step(1)
print(time.perf_counter() - began)
"""


def first_step_seconds(repetitions: int) -> float:
    """From torch and the model's class imported to the first step of the shipped world taken, in a new process."""
    runs = [subprocess.run([sys.executable, "-c", FIRST], capture_output=True, check=True) for _ in range(repetitions)]
    return round(statistics.median(float(run.stdout) for run in runs), 2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    about = {"benchmark": "rollout_speed", "device": args.device, "threads": args.threads, "slots": SLOTS}
    if args.scaling:
        contexts, batches = ((128, 512), (1, 64)) if args.quick else ((128, 256, 512, 1024), (1, 16, 64, 256))
        print(json.dumps({**about, "scaling": scaling(args.device, contexts, batches, 5 if args.quick else 20)}))
        return
    repetitions = 1 if args.quick else 5
    n_texts = {2048: 512, 50257: 192}
    results = [compare(vocab, args.device, n // (4 if args.quick else 1), repetitions) for vocab, n in n_texts.items()]
    print(json.dumps({**about, "first_step_s": first_step_seconds(repetitions), "results": results}))


if __name__ == "__main__":
    main()
