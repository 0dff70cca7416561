"""What is measured on held-out prompts, before and after: scores, fluency, variety."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from textrlhf.language import CausalLM, generate
from textrlhf.language.logprobs import Choices, choice_logprobs
from textrlhf.reward_models import RewardModel

RESAMPLES = 2000


def rule_based(folder: Path) -> Any:
    """VADER's scorer: text to a number from -1 to 1. Its file is loaded by path, as the package is not installed."""
    spec = importlib.util.spec_from_file_location("vader_rules", folder / "vaderSentiment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scorer = module.SentimentIntensityAnalyzer()
    return lambda text: scorer.polarity_scores(text)["compound"]


def write_texts(lm: CausalLM, openings: Sequence[str], max_new_tokens: int, seed: int) -> list[dict[str, Any]]:
    """Sample one text after each opening."""
    written = generate(lm, lm.encode_all(openings), max_new_tokens, seed=seed)
    return [
        {
            "prompt": opening,
            "response": lm.continuation(one.prompt, one.tokens),
            "tokens": len(one.tokens),
            "eos": one.finish_reason == "eos",
            "logprob": float(np.sum(one.logprobs)),
            "ids": [*one.prompt.tolist(), *one.tokens],
        }
        for opening, one in zip(openings, written, strict=True)
    ]


def measure(
    texts: list[dict[str, Any]],
    reward_models: dict[str, RewardModel],
    rules: Any,
    cloned: CausalLM,
    untouched: CausalLM,
) -> list[dict[str, Any]]:
    """Each text with its scores, its KL from the cloned model and its log-probability under the untouched one."""
    prompts, responses = [text["prompt"] for text in texts], [text["response"] for text in texts]
    scores = {name: model(prompts, responses) for name, model in reward_models.items()}
    choices = [Choices.after(np.array(text["ids"]), len(text["ids"]) - text["tokens"]) for text in texts]
    reference = [float(found.sum()) for found in choice_logprobs(cloned, choices)]
    plain = choice_logprobs(untouched, [_without_end(untouched, one) for one in choices])
    return [
        {
            **{key: value for key, value in text.items() if key not in ("ids", "logprob")},
            **{name: float(values[i]) for name, values in scores.items()},
            "rules": rules(text["prompt"] + text["response"]),
            "kl": text["logprob"] - reference[i],
            "nats": -float(plain[i].sum()),
            "counted": len(plain[i]),
        }
        for i, text in enumerate(texts)
    ]


def _without_end(lm: CausalLM, one: Choices) -> Choices:
    """The untouched model was not taught where a snippet ends: the end is not counted in its perplexity."""
    written = ~np.isin(one.tokens, lm.eos_ids)
    return Choices(one.text, one.positions[written], one.tokens[written])


def summary(rows: list[dict[str, Any]], seed: int = 0) -> dict[str, list[float]]:
    """Each measure over all texts: its value and, but for distinct-2, a 95 % interval over resampled prompts."""
    rng = np.random.default_rng(seed)
    samples = rng.integers(0, len(rows), (RESAMPLES, len(rows)))
    means = {
        name: np.array([row[name] for row in rows], float)
        for name in ("score", "second", "rules", "kl", "tokens", "eos")
    }
    found = {name: _interval(values.mean(), values[samples].mean(1)) for name, values in means.items()}
    nats, counted = (np.array([row[name] for row in rows], float) for name in ("nats", "counted"))
    perplexities = np.exp(nats[samples].sum(1) / counted[samples].sum(1))
    found["perplexity"] = _interval(np.exp(nats.sum() / counted.sum()), perplexities)
    words = [row["response"].split() for row in rows]
    found["distinct-2"] = [round(distinct(words), 4)]  # no interval: a text drawn twice would count as repetition
    return found


def distinct(texts: Sequence[Sequence[str]], n: int = 2) -> float:
    """Different n-grams of words per n-gram (Li et al., 2016), over all texts together."""
    grams = [tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1)]
    return len(set(grams)) / max(len(grams), 1)


def _interval(value: float, resampled: np.ndarray) -> list[float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return [round(float(x), 4) for x in (value, low, high)]
