"""The models that ship with the package, made by the package: `make assets`.

reviews    the language model behind TextRLHF-v0, fitted to reviews that the grammar writes
tasks      the one behind the smaller text environments, fitted to their demonstrations
reward model      the reward model of TextRLHF-v0, learned from 4,000 comparisons of what `reviews` writes, one in ten
of them wrong
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
from ..reward_models.text.folder import ASSETS as REWARD_MODEL_ASSETS
from .simulated import simulated_rankings, write

MODEL_FOLDER = "reward_model"
COMPARISONS, SLIPS, TESTED = 4000, 0.1, 2000  # pairs to learn from, how often people err in them, pairs to test on
MEMBERS, TAUGHT = 4, 4  # reward models that teach it, and texts a prompt by which they do
USER = "\nUser:"  # where the agent's turn is over
SMALL = {"dialogue": 2, "summarize": 1, "translate": 2, "qa": 8, "arithmetic": 10}  # task: seeds' worth of prompts


@dataclass(frozen=True)
class Recipe:
    """How a shipped language model is made."""

    context: int
    fit: FitConfig
    hidden: int = 128
    layers: int = 2
    heads: int = 4
    init_std: float = 0.08  # the usual 0.02 leaves a model this small on a plateau for long
    sharpen: float = 1.0  # logits are multiplied by this in the end: a small model leaves mass on words that cannot be


RECIPES = {
    "reviews": Recipe(64, FitConfig(steps=8000, batch_size=64, learning_rate=3e-3), sharpen=1.1),
    "tasks": Recipe(96, FitConfig(steps=4000, batch_size=64, learning_rate=3e-3)),
}


@dataclass
class DemonstrationDataset:
    """What a model is made from: texts to learn, texts held out (each a prompt and what follows), and all words."""

    learned: list[tuple[str, str]]
    heldout: list[tuple[str, str]]
    words: list[str]


def material(name: str) -> DemonstrationDataset:
    """Write the texts; the same every time."""
    if name == "reviews":
        from ..envs.text.tasks.reviews.grammar import words
        from ..envs.text.tasks.reviews.writer import corpus

        alone = [word for word in words() if word[0].isalpha()]
        learned = list(corpus(0, 200_000))
        seen = {prompt + rest for prompt, rest in learned}
        return DemonstrationDataset(learned, [pair for pair in corpus(1, 2_000) if "".join(pair) not in seen], alone)
    rng, learned, heldout, known = np.random.default_rng(0), [], [], []
    for small, seeds in SMALL.items():
        task = make_task(small, False)
        assert isinstance(task, SeededTask)
        for seed in range(seeds):  # other prompts of the same kind; none that any seed holds out
            another = type(task)(seed=seed)
            learned += _demonstrated(another, another.prompts("train"), rng)
        heldout += _demonstrated(task, task.prompts("heldout"), rng)
        known += task.words()
    return DemonstrationDataset(learned, heldout, known)


def _demonstrated(task: Task, prompts: Sequence[Prompt], rng: np.random.Generator) -> list[tuple[str, str]]:
    pairs = [(prompt.text, task.demonstrate(prompt, rng)) for prompt in prompts]
    if task.turns == 1:
        return pairs
    return [(prompt, rest.replace(USER, END + USER)) for prompt, rest in pairs]  # each turn ends as a text does


def make_language_model(name: str, folder: Path, run: Path | None = None, resume: bool = False) -> dict[str, Any]:
    """Make tokenizer and model, and write them to `folder` as plain Hugging Face files."""
    recipe = RECIPES[name]
    texts = material(name)
    learned, heldout = texts.learned, texts.heldout
    whole = ("".join(pair).replace(END, "") for pair in [*learned, *heldout])
    tokenizer = word_tokenizer([*texts.words, *whole])
    lm = CausalLM(new_model(recipe, tokenizer), tokenizer)
    data = NextTokens(lm, *tokens(lm, learned))
    if run is not None and not resume:
        shutil.rmtree(run, ignore_errors=True)  # what an earlier making left
    fit(lm.model, data, recipe.fit, run=run, resume=resume, title=f"the {name} model")
    finish(lm, recipe, folder)
    about = {
        "vocabulary": len(tokenizer),
        "parameters": sum(p.numel() for p in lm.model.parameters()),
        "heldout_perplexity": float(np.exp(mean_loss(NextTokens(load(folder), *tokens(lm, heldout))))),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
    }
    return {"model": name, **about}


def make_reward_model(folder: Path, run: Path | None = None, resume: bool = False) -> dict[str, Any]:
    """Train the reward model of the reviews on simulated people, give its scores their scale, and write it to
    `folder`.
    """
    task, lm = make_task("reviews", False), load("reviews", "cpu")
    learned, heldout = ([prompt.text for prompt in task.prompts(split)] for split in ("train", "heldout"))
    pairs = simulated_rankings(task, lm, learned, COMPARISONS, error_rate=SLIPS, seed=0)
    unseen = simulated_rankings(task, lm, heldout, TESTED, seed=1)
    if run is not None and not resume:
        shutil.rmtree(run, ignore_errors=True)
    members = []
    for seed in range(MEMBERS):
        place = None if run is None else run / f"member-{seed}"
        again = resume and place is not None and bool(Run(place).steps())
        title = f"reward model {seed + 1} of {MEMBERS}"
        new, config = RewardModel.new(lm, seed=seed), TrainConfig(seed=seed)
        members.append(train(new, pairs, config, run=place, resume=again, title=title).reward_model)
    texts = [(p, r) for p, some in zip(learned, write(task, lm, learned, TAUGHT, seed=3), strict=True) for r in some]
    prompts, responses = ([text[at] for text in texts if text[1].strip()] for at in (0, 1))
    taught = None if run is None else run / "student"
    again = resume and taught is not None and bool(Run(taught).steps())
    reward_model = distill(
        RewardModel.new(lm), Ensemble(members), prompts, responses, run=taught, resume=again, title="the reward model"
    )
    reward_model.network.model.half().float()  # as it will be loaded
    responses = [text for (text,) in write(task, lm, learned, 1, seed=2)]
    reward_model.normalise(learned, responses)
    reward_model.network.model.half()
    reward_model.save(folder)
    saved = RewardModel.load(folder)
    return {
        "reward_model": "reviews",
        "comparisons": COMPARISONS,
        "accuracy": round(evaluate(saved, unseen).numbers()["accuracy"], 4),
        "bytes": sum(file.stat().st_size for file in folder.iterdir()),
    }


def finish(lm: CausalLM, recipe: Recipe, folder: Path) -> None:
    """Sharpen, halve the precision (it is loaded in full again), and write."""
    with torch.no_grad():
        lm.model.get_output_embeddings().weight.mul_(recipe.sharpen)
    lm.model.half()
    lm.save(folder)


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
    """Whole texts with their ends, and where learning begins: at the first word, since openings are to be known too."""
    end = np.array(lm.eos_ids[:1])
    texts = [np.concatenate([ids, end]) for ids in lm.encode_all([prompt + rest for prompt, rest in pairs])]
    return texts, [1] * len(texts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the shipped models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[*RECIPES, MODEL_FOLDER], help="make just this one")
    parser.add_argument("--to", type=Path, help="where to write it (default: into the package)")
    parser.add_argument("--run", type=Path, default=Path("runs/assets"), help="where training is recorded")
    parser.add_argument("--resume", action="store_true", help="go on with training that was interrupted")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # faster for models this small, and the same weights every time
    for name in [given.only] if given.only else [*RECIPES, MODEL_FOLDER]:
        if name == MODEL_FOLDER:
            about = make_reward_model((given.to or REWARD_MODEL_ASSETS) / "reviews", given.run / name, given.resume)
        else:
            about = make_language_model(name, (given.to or ASSETS) / name, given.run / name, given.resume)
        print(json.dumps(about))


if __name__ == "__main__":
    main()
