"""The stages of the example: each reads what earlier ones left in the run's folder, and is skipped if it is done.

material ──> language model ──> cloned on snippets ─────────────┬──> PPO ──> texts before and after
     └────> ratings A ──> reward model ─────────────────────────┤              │
     └────> ratings B of other texts ──> second reward model ───┴──────────────┴──> results.json
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fetch import Material, fetch
from measure import measure, rule_based, summary, write_texts
from ratings import PAIRS, Snippet, judgements, read_snippets

from textrlhf import PPO
from textrlhf.agents import Clone
from textrlhf.language import CausalLM, load
from textrlhf.records.folder import write_file
from textrlhf.records.metrics import read_metrics
from textrlhf.reward_models import RewardModel, TrainConfig, load_reward_model, read_judgements, train_reward_model
from textrlhf.reward_models.evaluation.metrics import spearman

BUDGET = 32  # new tokens of a text
TESTED = 400  # prompts of the comparison; the other test texts' openings are PPO's


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    pairs: int = PAIRS  # comparisons of two texts, beside the ratings
    reward_epochs: float = 3.0
    clone_epochs: float = 1.0
    tokens: int = 20_480  # that PPO learns from
    tested: int = TESTED
    snippets: int | None = None  # of each part; None: all


SIZES = {
    "full": Size(),
    "quick": Size(pairs=20, reward_epochs=1, clone_epochs=0.5, tokens=1024, tested=16, snippets=60),
}


class RealRun:
    """One seed's run in a folder; everything that all seeds share lies in `shared`."""

    def __init__(self, folder: Path, shared: Path, seed: int, size: Size) -> None:
        self.folder, self.shared, self.seed, self.size = folder, shared, seed, size

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the minutes that a stage takes, and the most memory, to `cost.json`, also where it is interrupted."""
        began = time.monotonic()
        try:
            yield
        finally:
            file = self.folder / "cost.json"
            cost = json.loads(file.read_text()) if file.exists() else {"minutes": {}, "peak_gib": 0.0}
            cost["minutes"][stage] = round(cost["minutes"].get(stage, 0.0) + (time.monotonic() - began) / 60, 2)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
            cost["peak_gib"] = max(cost["peak_gib"], round(peak, 2))
            self.folder.mkdir(parents=True, exist_ok=True)
            write_file(file, json.dumps(cost))

    @cached_property
    def material(self) -> Material:
        """The downloaded files."""
        return fetch(self.shared)

    @cached_property
    def snippets(self) -> dict[str, list[Snippet]]:
        """The rated texts by part."""
        every = read_snippets(self.material.snippets)
        parts = {part: [one for one in every if one.part == part] for part in ("learn", "check", "write", "test")}
        return {part: some[: self.size.snippets] for part, some in parts.items()}

    @cached_property
    def untouched(self) -> CausalLM:
        """SmolLM2 as it is."""
        return load(plain_folder(self.shared, self.material))

    @cached_property
    def cloned(self) -> CausalLM:
        """SmolLM2 after supervised fine-tuning on snippets: the reference model of PPO."""
        run = self.folder / "clone"
        if not (run / "done").exists():
            rows = [
                {"prompt": one.opening, "completion": one.text[len(one.opening) :]} for one in self.snippets["write"]
            ]
            rows = [row for row in rows if row["completion"]]
            env = {"model": str(plain_folder(self.shared, self.material)), "prompts": rows, "reward_model": "none"}
            how = {"env_kwargs": {**env, "max_new_tokens": BUDGET, "context": 128}, "seed": self.seed, "n_envs": 16}
            with self.timed("clone"):
                agent = resumable(
                    Clone,
                    run,
                    lambda: Clone("TextRLHF-v0", demonstrations=rows, **how, **CLONING),
                    lambda agent: round(self.size.clone_epochs * agent.epoch_steps),
                )
                agent.close()
            (run / "done").touch()
        return load(run / "model")

    @cached_property
    def reward_model(self) -> RewardModel:
        """The reward model that PPO learns from: ratings A."""
        return self._reward_model("reward", "learn", "A")

    @cached_property
    def second(self) -> RewardModel:
        """The reward model that only judges: ratings B of other texts."""
        return self._reward_model("second", "check", "B")

    def _reward_model(self, name: str, part: str, half: str) -> RewardModel:
        done = self.folder / name / "scaled"
        if not (done / "config.json").exists():
            reference = self.cloned
            with self.timed(name):
                model = self._trained_reward_model(
                    self.folder / name, judgements(self.snippets[part], half, self.seed, self.size.pairs)
                )
                openings = [one.opening for one in self.snippets["learn"][:256]]
                texts = write_texts(reference, openings, BUDGET, seed=1)  # then of mean 0 and deviation 1
                model.normalise(openings, [text["response"] for text in texts])
                model.save(done)
        return load_reward_model(done)  # type: ignore[return-value]

    def _trained_reward_model(self, run: Path, rows: list[dict[str, Any]]) -> RewardModel:
        if not (run / "reward_model").exists():
            train_reward_model(
                read_judgements(rows, None),
                str(self.material.encoder),
                reads="text",
                config=TrainConfig(epochs=self.size.reward_epochs, seed=self.seed, **JUDGING),
                run=run,
                resume=any(run.glob("checkpoints/step-*")),
                threads=torch.get_num_threads(),
            )
        return RewardModel.load(run / "reward_model")

    @cached_property
    def learned(self) -> CausalLM:
        """The cloned model after PPO."""
        run = self.folder / "ppo"
        if not (run / "done").exists():
            env = self.environment()
            with self.timed("ppo"):
                agent = resumable(
                    PPO,
                    run,
                    lambda: PPO("TextRLHF-v0", env_kwargs=env, seed=self.seed, **POLICY),
                    lambda agent: self.size.tokens,
                )
                agent.close()
            (run / "done").touch()
        return load(run / "model")

    def environment(self) -> dict[str, Any]:
        """The arguments of PPO's environment; what they name is made if it is not there."""
        _ = self.reward_model  # made, as is the cloned model that sets its scale
        prompts = [{"prompt": one.opening, "split": "train"} for one in self.snippets["test"][self.size.tested :]]
        prompts += [{"prompt": text, "split": "heldout"} for text in self.openings[:64]]
        return {
            "model": str(self.folder / "clone" / "model"),
            "reward_model": str(self.folder / "reward" / "scaled"),
            "prompts": prompts,
            "max_new_tokens": BUDGET,
            "context": 64,
            "kl_penalty": "deferred",
            "kl_coef": 0.03,
            "prompt_overflow": "drop",
        }

    @property
    def openings(self) -> list[str]:
        """The prompts of the comparison."""
        return [one.opening for one in self.snippets["test"][: self.size.tested]]

    def results(self) -> dict[str, Any]:
        """Measure texts before and after on the same prompts, and the reward models on what people said."""
        file = self.folder / "results.json"
        if not file.exists():
            models, rules = {"score": self.reward_model, "second": self.second}, rule_based(self.material.rules)
            writers = {"before": self.cloned, "after": self.learned}
            with self.timed("measure"):
                texts = {
                    name: measure(
                        write_texts(lm, self.openings, BUDGET, seed=2), models, rules, self.cloned, self.untouched
                    )
                    for name, lm in writers.items()
                }
                result = {
                    "seed": self.seed,
                    "texts_measured": len(self.openings),
                    "reward_models": {name: self.judged(model) for name, model in models.items()},
                    **{name: summary(rows) for name, rows in texts.items()},
                    "share_of_saving": {name: saving(self.folder / name) for name in ("clone", "ppo")},
                }
            result |= json.loads((self.folder / "cost.json").read_text())
            result["texts"] = {name: rows[:40] for name, rows in texts.items()}
            write_file(file, json.dumps(result, indent=1))
        return dict(json.loads(file.read_text()))

    def judged(self, model: RewardModel) -> dict[str, float]:
        """How a reward model's scores agree with people, on texts that it has not seen."""
        texts = self.snippets["test"]
        scores = model([""] * len(texts), [one.text for one in texts])
        mean, one = [np.mean(text.ratings) for text in texts], [text.half("A")[0] for text in texts]
        others = [np.mean(text.half("B")) for text in texts]
        return {
            "spearman with the mean rating": round(spearman(scores, mean), 4),
            "spearman with one rating": round(spearman(scores, one), 4),
            "spearman of one rating with the mean of the others": round(spearman(one, others), 4),
            "texts": len(texts),
        }


JUDGING: dict[str, Any] = {"lapse": 0.0, "learning_rate": 1e-4}
CLONING: dict[str, Any] = {"batch_size": 512, "lora_rank": 16, "learning_rate": 3e-4, "heldout_checks": 2}
POLICY: dict[str, Any] = {
    "n_envs": 32,
    "n_steps": 32,
    "n_epochs": 2,
    "batch_size": 256,
    "lora_rank": 16,
    "learning_rate": 3e-4,
}


def resumable(kind: Any, run: Path, make: Any, steps: Any) -> Any:
    """Train a new agent in the run's folder, or finish the run that is there."""
    if any(run.glob("checkpoints/step-*")):
        return kind.resume(run)
    agent = make()
    return agent.learn(steps(agent), run=run)


def saving(run: Path) -> float | None:
    """The share of a training's time that its checkpoints took."""
    rows = read_metrics(run / "metrics.jsonl")
    found: float | None = rows[-1].get("time/saving")
    return found


def plain_folder(shared: Path, material: Material) -> Path:
    """SmolLM2 as a plain Hugging Face folder, unpacked once."""
    plain = shared / "smollm2-float32"
    if not (plain / "config.json").exists():
        load(material.language_model).save(plain)
    return plain
