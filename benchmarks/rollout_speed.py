"""Tokens written through a text environment, side by side with `transformers`' `generate`: same model, same texts.

    python benchmarks/rollout_speed.py             # about fifteen minutes on two cores; --quick for a look
    python benchmarks/rollout_speed.py --scaling   # how a step grows with context and batch instead
    python benchmarks/rollout_speed.py --model FOLDER   # a model of yours instead of two random ones, 128 texts

Ours: a loop over the native batch that samples each token from the model (inverse CDF), records its log-probability
and a value, and steps; a slot takes the next prompt the moment its text ends. Theirs: `generate` with sampling on
static batches of 64, each as long as its longest text. Both write the same texts: each prompt with its own seeded
target length, enforced. `ratio` is the time to have all of them finished, the emptying of our slots at the end included
(ended slots then write texts that are not counted); `ratio_steady` leaves that end out, as a learner that never
stops would see it. In turn, several repetitions; the ratio's median counts. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import statistics
import subprocess
import sys
import time

import gymnasium as gym
import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import textrlhf  # noqa: F401 - registers the environments
from textrlhf.language import CausalLM, load, make_memory, sample

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


def texts(words: np.ndarray, n: int, prompt=PROMPT, response=RESPONSE) -> tuple[list[np.ndarray], np.ndarray]:
    """Prompts of tokens that are whole words, and how many tokens are to follow each."""
    rng = np.random.default_rng(0)
    prompts = [rng.choice(words, rng.integers(prompt[0], prompt[1] + 1)) for _ in range(n)]
    return prompts, rng.integers(response[0], response[1] + 1, n)


def whole_words(lm: CausalLM) -> np.ndarray:
    """The tokens that are a word with the space before it: encoding such words gives these tokens again."""
    size = min(lm.vocab_size, len(lm.tokenizer))
    return np.array(
        [i for i in range(size) if re.fullmatch(r" [a-z]+|w[0-9]+", lm.decode([i])) and i not in lm.eos_ids]
    )


class Rollout:
    """The loop that a learner runs, with texts that end at given lengths."""

    def __init__(self, lm: CausalLM, prompts, lengths, kl_penalty: str, n: int = SLOTS) -> None:
        longest = int(lengths.max())
        self.lengths = lengths
        self.env = gym.make_vec(
            "TextRLHF-v0",
            num_envs=n,
            autoreset_mode="Disabled",
            model=lm,
            reward_model=lambda prompts, responses: np.zeros(len(prompts)),
            prompts=[{"prompt": lm.decode(prompt), "split": "train"} for prompt in prompts],
            max_new_tokens=longest,
            context=max(map(len, prompts)) + longest,
            kl_penalty=kl_penalty,
        )
        self.lm, self.n, self.memory, self.eos = lm, n, make_memory(lm, n), lm.eos_ids[0]
        torch.manual_seed(1)
        self.value_head = torch.nn.Linear(lm.model.config.hidden_size, 1).to(lm.device).requires_grad_(False)
        self.generator = torch.Generator(lm.device).manual_seed(2)

    @torch.no_grad()
    def step(self) -> np.ndarray:
        """One token in each slot; which texts have ended."""
        ends = (self.observation >= 0).sum(1)
        hidden = self.memory.catch_up(np.arange(self.n), self.observation, ends)
        tokens, logprobs = sample(self.lm.head(hidden), generator=self.generator)
        values = self.value_head(hidden)[:, 0]
        actions = tokens.cpu().numpy()
        actions = np.where(
            self.left == 1, self.eos, np.where(actions == self.eos, 1, actions)
        )  # the end comes when it is due
        logprobs = logprobs.cpu().numpy()
        self.record.append((actions, logprobs, values.cpu().numpy()))
        self.env.unwrapped.policy_logprob = logprobs
        began = time.perf_counter()
        self.observation, _, terminated, _, _ = self.env.step(actions)
        self.in_env += time.perf_counter() - began
        self.left -= 1
        return terminated

    def begin(self, rows: np.ndarray, texts: np.ndarray) -> None:
        """Give these slots the texts of these numbers."""
        began = time.perf_counter()
        options = {"reset_mask": rows, "prompt": texts}
        self.observation, _ = self.env.reset(options=options)
        self.in_env += time.perf_counter() - began
        self.memory.reset(rows)
        self.left[rows] = self.lengths[texts]

    def run(self, n_texts: int, settle_every: int = 64) -> dict[str, float]:
        """Write the first texts: useful tokens/s to the last one's end, in full swing, and the environment's share."""
        self.record: list[tuple[np.ndarray, ...]] = []
        self.left, self.in_env = np.zeros(self.n, int), 0.0
        holds, following, finished, steps, swing = np.arange(self.n), self.n, 0, 0, None
        self.env.reset(seed=0)
        self.env.unwrapped.settle()
        began = time.perf_counter()
        self.begin(np.ones(self.n, bool), holds)
        while finished < n_texts:
            ended = self.step()
            steps += 1
            if steps % settle_every == 0:
                self.env.unwrapped.settle()
            if ended.any():
                finished += int((holds[ended] < n_texts).sum())
                numbers = following + np.arange(ended.sum())
                following += len(numbers)
                holds[ended] = numbers
                self.begin(ended, numbers % n_texts)
                if swing is None and following >= n_texts:
                    swing = steps * self.n / (time.perf_counter() - began)
        self.env.unwrapped.settle()
        if self.lm.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        useful = int(self.lengths[:n_texts].sum())
        return {"finished": useful / seconds, "steady": swing or 0.0, "env_share": self.in_env / seconds}


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


def compare(lm: CausalLM, n_texts: int, repetitions: int) -> dict[str, object]:
    prompts, lengths = texts(whole_words(lm), n_texts)
    plain, penalised = (Rollout(lm, prompts, lengths, kl_penalty) for kl_penalty in ("none", "deferred"))
    plain.run(SLOTS)
    rows = []
    for _ in range(repetitions):
        theirs = generate(lm, prompts, lengths)
        ours, deferred = plain.run(n_texts), penalised.run(n_texts)
        rows.append(
            {
                "generate": theirs,
                "ours": ours["finished"],
                "deferred": deferred["finished"],
                "env_share": ours["env_share"],
                "ratio": ours["finished"] / theirs,
                "ratio_deferred": deferred["finished"] / theirs,
                "ratio_steady": ours["steady"] / theirs,
                "ratio_deferred_steady": deferred["steady"] / theirs,
            }
        )
    return {
        "vocab": lm.vocab_size,
        "texts": n_texts,
        **{key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]},
        "every": [{key: round(value, 3) for key, value in row.items()} for row in rows],
    }


def scaling(device: str, contexts, batches, steps: int) -> list[dict[str, float]]:
    """Milliseconds of a decoding step by context and batch, its slots evenly spread over the context."""
    table = []
    for context in contexts:
        lm = language_model(2048, device, context)
        for n in batches:
            budget = context - 16
            rollout = Rollout(lm, [np.ones(8, int)] * n, np.full(n, budget), "none", n)
            engine = rollout.env.unwrapped.engine
            rollout.env.reset(seed=0)
            rollout.record, rollout.in_env, rollout.left = [], 0.0, np.full(n, 1 << 30)
            ends = np.linspace(8, engine.context - 2, n).astype(int) if n > 1 else np.array([engine.context // 2])
            full = np.where(np.arange(engine.context) < ends[:, None], 1, -1)
            rollout.memory.catch_up(np.arange(n), full, ends - 1)
            times = []
            for _ in range(steps + 1):
                engine.tokens[:], engine.lengths[:], engine.taken[:] = full, ends, 0
                rollout.observation, rollout.memory.lengths[:] = full, ends - 1
                began = time.perf_counter()
                rollout.step()
                times.append(time.perf_counter() - began)
            read = 2 * 4 * 256 * 4 * int(ends.sum())  # keys and values, 4 layers × 256, of what the slots hold
            row = {"step_ms": 1e3 * statistics.median(times[1:]), "env_ms": 1e3 * rollout.in_env / len(times)}
            table.append({"context": context, "n": n, "read_mib": round(read / 2**20, 2)} | _rounded(row))
    return table


def growth(table: list[dict[str, float]]) -> dict[str, float]:
    """From the shortest context to the longest at the largest batch: what is read, a step, the environment's part."""
    n = max(row["n"] for row in table)
    first, *_, last = sorted((row for row in table if row["n"] == n), key=lambda row: row["context"])
    return _rounded({f"{key}_grows": last[key] / first[key] for key in ("read_mib", "step_ms", "env_ms")})


def _rounded(row: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 3) for key, value in row.items()}


FIRST = """
import time, torch; from transformers import LlamaForCausalLM, AutoTokenizer
began = time.perf_counter()
import gymnasium as gym, textrlhf
env = gym.make("TextRLHF-v0"); env.reset(seed=0); env.step(1)
print(time.perf_counter() - began)
"""


def first_step_seconds(repetitions: int) -> float:
    """From torch and the model's class imported to the first step of the shipped environment taken, in a new
    process.
    """
    runs = [subprocess.run([sys.executable, "-c", FIRST], capture_output=True, check=True) for _ in range(repetitions)]
    return round(statistics.median(float(run.stdout) for run in runs), 2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--model", help="a Hugging Face folder")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    about = {"benchmark": "rollout_speed", "device": args.device, "threads": args.threads, "slots": SLOTS}
    if args.scaling:
        contexts, batches = ((128, 512), (1, 64)) if args.quick else ((128, 256, 512, 1024), (1, 16, 64, 256))
        table = scaling(args.device, contexts, batches, 5 if args.quick else 20)
        print(json.dumps({**about, **growth(table), "scaling": table}))
        return
    repetitions = 1 if args.quick else 5
    if args.model:
        print(json.dumps({**about, **compare(load(args.model, args.device), 16 if args.quick else 128, repetitions)}))
        return
    n_texts = {2048: 1024, 50257: 384}
    results = [
        compare(language_model(vocab, args.device), n // (4 if args.quick else 1), repetitions)
        for vocab, n in n_texts.items()
    ]
    print(json.dumps({**about, "first_step_s": first_step_seconds(repetitions), "results": results}))


if __name__ == "__main__":
    main()
