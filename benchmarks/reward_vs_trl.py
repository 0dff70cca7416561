"""Training a reward model, side by side with TRL's RewardTrainer; scoring, beside a bare forward of the same model.

    python -m venv trl-venv                                               # TRL in an environment of its own
    trl-venv/bin/pip install torch==2.13.0 && trl-venv/bin/pip install trl==1.16.0 transformers==5.23.0
    python benchmarks/reward_vs_trl.py --trl-python trl-venv/bin/python   # twenty minutes; --quick for a look

Training: one epoch of AdamW over the same pairs, from the same weights, 32 pairs a step, float32, one thread each.
Tokens are TRL's count: prompt, response and end of both texts, no padding; they are the same on both sides, so a ratio
of tokens/s is one of seconds. Ours is the whole of `train`, tokenising included; theirs is `trainer.train()`, its
tokenising is done before. `ratio` gives both the same batches in the same order, which are ours, of texts of similar
length; `ratio_own_batches` lets TRL draw its own at random, as it does by default; `ratio_in_fours` gives it
our batches and has it read four pairs at once and add up their gradients, which suits a CPU's cache. `same_work`
compares loss and gradient of the first batch.

Scoring: `reward_model.raw` from text to scores, against the model alone on the same tokens: sorted by length,
right-padded, in batches of the size that suits it best.

In turn, several repetitions, medians; `…_cpu` is the same in processor seconds, which a busy machine disturbs less.
Prints one JSON line and, but for --quick, writes runs/reference/benchmarks/reward_vs_trl.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

RESULT = Path(__file__).resolve().parent.parent / "runs" / "reference" / "benchmarks" / "reward_vs_trl.json"
VOCAB, PROMPT, RESPONSE, BATCH, RATE = 4096, (10, 60), (10, 120), 32, 1e-4
END, PAD = "<end>", "<pad>"  # two tokens: where they are one, TRL's model reads the last word and not the end

Seconds = tuple[float, float]  # on the wall, of the processor


def timed(work: Callable[[], object]) -> Seconds:
    began, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - busy


# TRL's side: this file again, run by --trl-python. It answers a line of JSON with a line of JSON.


def child() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # other output goes to stderr
    import datasets
    import transformers
    import trl

    datasets.disable_progress_bars()
    given = json.loads(sys.stdin.readline())
    torch.set_num_threads(given["threads"])
    batch_size = given["batch"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(given["folder"])

    def trainer(order: list[int] | None, at_once: int = batch_size) -> trl.RewardTrainer:
        """A new one: its pairs in this order, or in its own, and so many in one forward."""
        settings = trl.RewardConfig(
            output_dir=os.path.join(given["folder"], "trl"),
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=batch_size // at_once,
            num_train_epochs=1,
            learning_rate=RATE,
            optim="adamw_torch_fused",
            train_sampling_strategy="random" if order is None else "sequential",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        pairs = given["pairs"] if order is None else [given["pairs"][i] for i in order]
        columns = dict(zip(("prompt", "chosen", "rejected"), zip(*pairs, strict=True), strict=True))
        data = datasets.Dataset.from_dict(columns)
        return trl.RewardTrainer(given["folder"], settings, train_dataset=data, processing_class=tokenizer)

    def first_batch(order: list[int]) -> dict[str, float]:
        one = trainer(order)
        batch = one.data_collator([one.train_dataset[i] for i in range(batch_size)])
        loss = one.compute_loss(one.model.train(), batch)
        loss.backward()
        return {"loss": loss.item(), "gradient": gradient(one.model)}

    def train(order: list[int] | None, at_once: int) -> Seconds:
        one = trainer(order, at_once)
        seconds = timed(one.train)
        assert one._total_train_tokens == given["tokens"], (one._total_train_tokens, given["tokens"])
        return seconds

    answer = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    while True:
        print(json.dumps(answer), file=answers, flush=True)
        if not (line := sys.stdin.readline()):
            return
        ask, *how = json.loads(line)
        answer = {"first_batch": first_batch, "train": train}[ask](*how)


def gradient(model: torch.nn.Module) -> float:
    """The length of a model's gradient."""
    return float(
        torch.stack([weights.grad.norm() for weights in model.parameters() if weights.grad is not None]).norm()
    )


class TRL:
    """The child, seen from here."""

    def __init__(self, python: str, **given: object) -> None:
        quiet = {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "TOKENIZERS_PARALLELISM": "false"}
        self.words = Path(str(given["folder"]), "words")
        with self.words.open("w") as words:
            self.process = subprocess.Popen(
                [python, __file__, "--child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=words,
                text=True,
                env={**os.environ, **quiet, "OMP_NUM_THREADS": str(given["threads"]), "HF_HOME": str(given["folder"])},
            )
        self.versions = self._ask(given)

    def _ask(self, question: object) -> object:
        try:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            self.process.wait()
            sys.exit(f"TRL's side ended; is --trl-python made as --help says?\n{self.words.read_text()[-4000:]}")

    def first_batch(self, order: list[int]) -> dict[str, float]:
        return self._ask(("first_batch", order))

    def train(self, order: list[int] | None = None, at_once: int = BATCH) -> Seconds:
        """One epoch, so many pairs in a forward."""
        return self._ask(("train", order, at_once))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


# Our side.


def reward_models(folder: str) -> dict[str, Callable[[], object]]:
    """Makers of new reward models on GPT-2's shape at 4 × 256 with words for tokens, each time from the same
    weights.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from textrlhf.language import CausalLM
    from textrlhf.reward_models import RewardModel

    torch.manual_seed(0)
    shape = {"n_embd": 256, "n_layer": 4, "n_head": 4, "n_positions": 256}
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, **shape, **ids)).requires_grad_(False)
    vocab = {END: 0, PAD: 1, **{f"w{i}": i for i in range(2, VOCAB)}}
    words = Tokenizer(models.WordLevel(vocab, unk_token=END))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    lm = CausalLM(model, PreTrainedTokenizerFast(tokenizer_object=words, eos_token=END, pad_token=PAD))
    make = {head: lambda head=head: RewardModel.new(lm, head, end=True, device="cpu") for head in ("last", "tokens")}
    make["last"]().save(folder)
    return make


def some_pairs(n: int) -> list[tuple[str, str, str]]:
    """Prompts with two responses each, lengths drawn evenly."""
    import numpy as np

    rng = np.random.default_rng(0)

    def words(between: tuple[int, int]) -> str:
        return "".join(f" w{i}" for i in rng.integers(2, VOCAB, rng.integers(between[0], between[1] + 1)))

    return [(words(PROMPT), words(RESPONSE), words(RESPONSE)) for _ in range(n)]


class Ours:
    """Training as a user would call it, and a look at the work it does."""

    def __init__(self, pairs: list[tuple[str, str, str]], batch_size: int = BATCH) -> None:
        from textrlhf.reward_models import Ranked, TrainConfig

        self.pairs = [Ranked(prompt, (chosen, rejected)) for prompt, chosen, rejected in pairs]
        plain = {"dropout": 0.0, "lapse": 0.0}
        self.config = TrainConfig(epochs=1, batch_size=batch_size, learning_rate=RATE, **plain)

    def dataset(self, reward_model):
        """The pairs as `train` uses them."""
        from textrlhf.reward_models.training.judgement_dataset import JudgementDataset, Learner

        return JudgementDataset(reward_model, self.pairs, self.config, Learner(reward_model.network, self.config))

    def order(self, reward_model) -> list[int]:
        """The pairs as `train` takes them up, batch after batch: what `fit` asks of examples with their sizes."""
        from textrlhf.language.fit import FitConfig, fit

        nothing, order = torch.nn.Linear(1, 1), []

        class Watched:
            sizes = self.dataset(reward_model).sizes

            def loss(self, which):
                order.extend(which)
                return nothing.weight.sum(), 1

        size = self.config.batch_size
        steps = len(self.pairs) // size
        fit(nothing, Watched(), FitConfig(steps=steps, batch_size=size, seed=self.config.seed), show=False)
        return order

    def first_batch(self, reward_model, order: list[int]) -> dict[str, float]:
        reward_model.network.requires_grad_(True)
        total, count = self.dataset(reward_model).loss(order[: self.config.batch_size])
        (total / count).backward()
        return {"loss": total.item() / count, "gradient": gradient(reward_model.network)}

    def train(self, reward_model) -> Seconds:
        from textrlhf.reward_models import train

        return timed(lambda: train(reward_model, self.pairs, self.config, show=False))


def training(make: dict, folder: str, python: str, n_pairs: int, repetitions: int) -> dict[str, object]:
    pairs = some_pairs(n_pairs)
    ours = Ours(pairs)
    order = ours.order(make["last"]())
    assert sorted(order) == list(range(n_pairs)), "an epoch is every pair once"
    tokens = sum(len(text.tokens) for text in ours.dataset(make["last"]()).texts)
    theirs = TRL(python, folder=folder, pairs=pairs, tokens=tokens, batch=BATCH, threads=1)
    first = ours.first_batch(make["last"](), order), theirs.first_batch(order)  # warms both up
    sides = {
        "trl": lambda: theirs.train(order),
        "trl_own_batches": theirs.train,
        "trl_in_fours": lambda: theirs.train(order, 4),
        "ours": lambda: ours.train(make["last"]()),
        "ours_tokens_head": lambda: ours.train(make["tokens"]()),
    }
    rows = [{side: run() for side, run in sides.items()} for _ in range(repetitions)]
    theirs.close()
    return {
        "versions": theirs.versions,
        "pairs": n_pairs,
        "tokens": tokens,
        "same_work": {key: [one[key] for one in first] for key in first[0]},
        **ratios(rows, "ours", {"": "trl", "_own_batches": "trl_own_batches", "_in_fours": "trl_in_fours"}),
        **ratios(rows, "ours_tokens_head", {"_tokens_head": "trl", "_tokens_head_in_fours": "trl_in_fours"}),
        "tokens_per_second": per_second(rows, tokens),
        "every_s": every(rows),
    }


class Bare:
    """The model alone: sequences of tokens to scores, in batches sorted by length."""

    def __init__(self, reward_model, prompts: list[str], responses: list[str]) -> None:
        self.reward_model = reward_model
        tokens = [torch.from_numpy(text.tokens) for text in reward_model.read(prompts, responses)]
        self.order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        self.texts = [tokens[i] for i in self.order]

    @torch.no_grad()
    def score(self, size: int) -> torch.Tensor:
        model, found = self.reward_model.network.model, []
        for at in range(0, len(self.texts), size):
            batch = self.texts[at : at + size]
            grid = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)  # (B, longest)
            last = torch.tensor([len(text) - 1 for text in batch])
            states = model.base_model(input_ids=grid, use_cache=False).last_hidden_state  # (B, longest, d)
            found.append(model.score(states[torch.arange(len(batch)), last])[:, 0])
        return torch.cat(found)[torch.tensor(self.order).argsort()]


def scoring(make: dict, n_texts: int, repetitions: int) -> dict[str, object]:
    prompts, responses, _ = map(list, zip(*some_pairs(n_texts), strict=True))
    last, tokens = make["last"](), make["tokens"]()
    bare = Bare(last, prompts, responses)
    difference = float((bare.score(16).double() - torch.from_numpy(last.raw(prompts, responses))).abs().max())
    suits = {size: min(timed(lambda size=size: bare.score(size))[1] for _ in range(2)) for size in (4, 8, 16, 32, 64)}
    best = min(suits, key=suits.get)
    sides = {
        "bare": lambda: bare.score(best),
        "ours": lambda: last.raw(prompts, responses),
        "ours_tokens_head": lambda: tokens.raw(prompts, responses),
    }
    rows = [{side: timed(run) for side, run in sides.items()} for _ in range(repetitions)]
    return {
        "texts": n_texts,
        "largest_difference": difference,
        "bare_batch": best,
        **ratios(rows, "ours", {"": "bare"}),
        **ratios(rows, "ours_tokens_head", {"_tokens_head": "bare"}),
        "texts_per_second": per_second(rows, n_texts),
        "every_s": every(rows),
    }


def ratios(rows: list[dict[str, Seconds]], ours: str, names: dict[str, str]) -> dict[str, float]:
    """How many times as fast ours is as another side: medians over the repetitions, by the wall and the processor."""
    return {
        f"ratio{name}{kind}": round(statistics.median(row[other][clock] / row[ours][clock] for row in rows), 3)
        for name, other in names.items()
        for clock, kind in enumerate(("", "_cpu"))
    }


def per_second(rows: list[dict[str, Seconds]], n: int) -> dict[str, float]:
    return {side: round(n / statistics.median(row[side][0] for row in rows), 1) for side in rows[0]}


def every(rows: list[dict[str, Seconds]]) -> list[dict[str, list[float]]]:
    """Seconds on the wall and of the processor."""
    return [{side: [round(value, 2) for value in seconds] for side, seconds in row.items()} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", metavar="PATH", help="the python of an environment that has TRL")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer pairs and texts, one repetition, nothing written")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child()
    if options.trl_python is None:
        parser.error("--trl-python is missing: the python of an environment with TRL in it, see --help")
    import textrlhf
    from textrlhf.records.folder import write_file

    torch.set_num_threads(1)
    n_pairs, n_texts = (64, 128) if options.quick else (256, 512)
    repetitions = 1 if options.quick else options.repetitions
    with tempfile.TemporaryDirectory() as folder:
        make = reward_models(folder)
        trained = training(make, folder, options.trl_python, n_pairs, repetitions)
        scored = scoring(make, n_texts, 2 * repetitions + 1)
    versions = {"textrlhf": textrlhf.__version__, **trained.pop("versions")}
    shape = {"layers": 4, "width": 256, "vocab": VOCAB, "prompt": PROMPT, "response": RESPONSE, "batch": BATCH}
    about = {"benchmark": "reward_vs_trl", "versions": versions, "threads": 1, "repetitions": repetitions}
    result = {**about, **shape, "training": trained, "scoring": scored}
    if not options.quick:
        command = f"python benchmarks/reward_vs_trl.py --trl-python PATH --repetitions {repetitions}"
        write_file(RESULT, json.dumps({"command": command, **result}, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
