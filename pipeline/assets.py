"""The models that ship with the package, made by the package: `make assets`.

reviews       the language model of TextRLHF-v0, trained on reviews that the grammar writes
tasks         the one of the smaller text environments, trained on their demonstrations
reward_model  the reward model of TextRLHF-v0, from 4,000 comparisons of texts by `reviews`, a tenth of them wrong
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ..envs.text.task import Prompt, Task
from ..envs.text.tasks import make_task
from ..envs.text.tasks.splits import SeededTask
from ..language import CausalLM, load
from ..language.causal_lm import ASSETS
from ..language.fit import FitConfig, NextTokens, fit, mean_loss
from ..language.word_tokenizer import END, word_tokenizer
from ..records.run import Run
from ..reward_models import Ensemble, RewardModel, TrainConfig, distill, evaluate, train
from ..reward_models.text.config import MODEL_FOLDER
from ..reward_models.text.folder import ASSETS as REWARD_MODEL_ASSETS
from .simulated_preferences import simulated_rankings, write

COMPARISONS, ERROR_RATE, TESTED = 4000, 0.1, 2000  # pairs to train on, share of them that is wrong, pairs to test on
TEACHERS, TEXTS = 4, 4  # reward models that are distilled into one, and texts per prompt for that
USER = "\nUser:"  # the beginning of the user's turn, at which the agent's ends
SMALL = {"dialogue": 2, "summarize": 1, "translate": 2, "qa": 8, "arithmetic": 10}  # task: number of seeds


@dataclass(frozen=True)
class Recipe:
    """How a shipped language model is made."""

    context: int
    fit: FitConfig
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    init_std: float = 0.08  # with the usual 0.02 a model this small stays on a plateau for long
    sharpen: float = 1.0  # factor on the final logits: a small model leaves probability on impossible words


RECIPES = {
    "reviews": Recipe(64, FitConfig(steps=8000, batch_size=64, learning_rate=3e-3), sharpen=1.1),
    "tasks": Recipe(96, FitConfig(steps=4000, batch_size=64, learning_rate=3e-3)),
}


@dataclass
class Texts:
    """The data of a language model: texts, each a prompt and its continuation, and all words."""

    train: list[tuple[str, str]]
    heldout: list[tuple[str, str]]
    words: list[str]


def make_texts(name: str) -> Texts:
    """Write the texts of a model; the same every time."""
    if name == "reviews":
        from ..envs.text.tasks.reviews.grammar import words
        from ..envs.text.tasks.reviews.writer import corpus

        train = list(corpus(0, 200_000))
        seen = {prompt + rest for prompt, rest in train}
        heldout = [pair for pair in corpus(1, 2_000) if "".join(pair) not in seen]
        return Texts(train, heldout, [word for word in words() if word[0].isalpha()])
    rng, train, heldout, known = np.random.default_rng(0), [], [], []
    for small, seeds in SMALL.items():
        task = make_task(small, False)
        assert isinstance(task, SeededTask)
        for seed in range(seeds):  # other prompts of the same kind; no seed holds them out
            another = type(task)(seed=seed)
            train += _demonstrated(another, another.prompts("train"), rng)
        heldout += _demonstrated(task, task.prompts("heldout"), rng)
        known += task.words()
    return Texts(train, heldout, known)


def _demonstrated(task: Task, prompts: Sequence[Prompt], rng: np.random.Generator) -> list[tuple[str, str]]:
    pairs = [(prompt.text, task.demonstrate(prompt, rng)) for prompt in prompts]
    if task.turns == 1:
        return pairs
    return [(prompt, rest.replace(USER, END + USER)) for prompt, rest in pairs]  # a turn ends as a text does


def make_language_model(name: str, folder: Path, run: Path, resume: bool = False) -> dict[str, Any]:
    """Make tokenizer and model, and write them to `folder` as plain Hugging Face files."""
    recipe, texts = RECIPES[name], make_texts(name)
    whole = ("".join(pair).replace(END, "") for pair in [*texts.train, *texts.heldout])
    tokenizer = word_tokenizer([*texts.words, *whole])
    lm = CausalLM(new_model(recipe, tokenizer), tokenizer)
    if not resume:
        shutil.rmtree(run, ignore_errors=True)  # of an earlier time
    data = NextTokens(lm, *tokens(lm, texts.train))
    fit(lm.model, data, recipe.fit, run=run, resume=resume, title=f"the {name} model")
    with torch.no_grad():
        lm.model.get_output_embeddings().weight.mul_(recipe.sharpen)
    lm.model.half()  # it is loaded in float32
    lm.save(folder)
    return {
        "model": name,
        "vocabulary": len(tokenizer),
        "parameters": sum(p.numel() for p in lm.model.parameters()),
        "heldout_perplexity": float(np.exp(mean_loss(NextTokens(load(folder), *tokens(lm, texts.heldout))))),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
    }


def make_reward_model(folder: Path, run: Path, resume: bool = False) -> dict[str, Any]:
    """Train reward models on simulated preferences, distill them into one, normalise it and write it to `folder`."""
    task, lm = make_task("reviews", False), load("reviews", "cpu")
    prompts, heldout = ([prompt.text for prompt in task.prompts(split)] for split in ("train", "heldout"))
    pairs = simulated_rankings(task, lm, prompts, COMPARISONS, error_rate=ERROR_RATE, seed=0)
    unseen = simulated_rankings(task, lm, heldout, TESTED, seed=1)
    if not resume:
        shutil.rmtree(run, ignore_errors=True)

    def place(name: str) -> dict[str, Any]:
        return {"run": run / name, "resume": resume and bool(Run(run / name).steps())}

    teachers = []
    for seed in range(TEACHERS):
        new, config = RewardModel.new(lm, seed=seed), TrainConfig(seed=seed)
        title = f"reward model {seed + 1} of {TEACHERS}"
        teachers.append(train(new, pairs, config, title=title, **place(f"member-{seed}")).reward_model)
    texts = zip(prompts, write(task, lm, prompts, TEXTS, seed=3), strict=True)
    unlabelled = [(prompt, text) for prompt, some in texts for text in some if text.strip()]
    responses = [text for _, text in unlabelled]
    student, ensemble = RewardModel.new(lm), Ensemble(teachers)
    reward_model = distill(student, ensemble, [prompt for prompt, _ in unlabelled], responses, **place("student"))
    reward_model.network.model.half().float()  # as it will be loaded
    reward_model.normalise(prompts, [text for (text,) in write(task, lm, prompts, 1, seed=2)])
    reward_model.network.model.half()
    reward_model.save(folder)
    return {
        "reward_model": "reviews",
        "comparisons": COMPARISONS,
        "accuracy": round(evaluate(RewardModel.load(folder), unseen).numbers()["accuracy"], 4),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
    }


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Make an untrained model of the recipe's shape; the same weights every time."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=3 * recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        max_position_embeddings=recipe.context,
        initializer_range=recipe.init_std,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.fit.seed)
        return LlamaForCausalLM(config)


def tokens(lm: CausalLM, pairs: Sequence[tuple[str, str]]) -> tuple[list[np.ndarray[Any, Any]], list[int]]:
    """Whole texts with their end token, and the first token to predict: the second one, for prompts are learned too."""
    end = np.array(lm.eos_ids[:1])
    texts = [np.concatenate([ids, end]) for ids in lm.encode_all([prompt + rest for prompt, rest in pairs])]
    return texts, [1] * len(texts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the shipped models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*RECIPES, MODEL_FOLDER], help="make just this one")
    parser.add_argument("--to", type=Path, help="where to write it (default: into the package)")
    parser.add_argument("--run", type=Path, default=Path("runs/assets"), help="where to record the training")
    parser.add_argument("--resume", action="store_true", help="resume training that was interrupted")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # faster for models this small, and the same weights every time
    with Run(given.run).writing():
        for name in [given.only] if given.only else [*RECIPES, MODEL_FOLDER]:
            if name == MODEL_FOLDER:
                about = make_reward_model((given.to or REWARD_MODEL_ASSETS) / "reviews", given.run / name, given.resume)
            else:
                about = make_language_model(name, (given.to or ASSETS) / name, given.run / name, given.resume)
            print(json.dumps(about))


if __name__ == "__main__":
    main()
