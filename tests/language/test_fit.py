"""The fitting loop: it learns, it resumes to the same bits, it says what is wrong."""

import math

import numpy as np
import pytest
import torch

from textrlhf.language import CausalLM
from textrlhf.language.fit import FitConfig, NextTokens, fit, mean_loss
from textrlhf.records.checkpoint import CheckpointError
from textrlhf.records.metrics import read_metrics
from tiny_models import V, tiny_model, word_tokenizer


def counting_texts(n=120, seed=0):
    """Each token is the one before plus one: predictable but for the first."""
    rng = np.random.default_rng(seed)
    return [(rng.integers(2, V) + np.arange(rng.integers(4, 12))) % (V - 2) + 2 for _ in range(n)]


def handle(family="llama"):
    return CausalLM(tiny_model(family), word_tokenizer())


def weights(lm):
    return {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}


def test_it_learns_what_can_be_predicted():
    lm = handle()
    heldout = NextTokens(lm, counting_texts(30, seed=1))
    before = mean_loss(heldout)
    after = fit(lm.model, NextTokens(lm, counting_texts()), FitConfig(steps=150), heldout=heldout, show=False)
    assert before > 3
    assert after["heldout_loss"] < 0.1
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


def test_loss_is_the_mean_over_the_tokens_from_start_on():
    lm = handle()
    texts, starts = [np.array([3, 4, 5, 6]), np.array([7, 8])], [2, 1]
    total, count = NextTokens(lm, texts, starts).loss([0, 1])
    expected = 0.0
    for text, start in zip(texts, starts, strict=True):
        logits = lm.model(torch.from_numpy(text)[None]).logits[0].double().log_softmax(-1)
        expected -= sum(float(logits[t - 1, text[t]]) for t in range(start, len(text)))
    assert count == 3
    assert float(total) == pytest.approx(expected, abs=1e-5)


def test_resumed_equals_never_interrupted(tmp_path, monkeypatch):
    config, texts = FitConfig(steps=24, batch_size=16, checkpoints=4), counting_texts()
    whole = handle()
    fit(whole.model, NextTokens(whole, texts), config, run=tmp_path / "whole", show=False)

    class Killed(Exception):
        pass

    class Mortal(NextTokens):
        calls = 0

        def loss(self, which):
            Mortal.calls += 1
            if Mortal.calls == 16:
                raise Killed
            return super().loss(which)

    broken = handle()
    with pytest.raises(Killed):
        fit(broken.model, Mortal(broken, texts), config, run=tmp_path / "run", show=False)
    again = handle()
    fit(again.model, NextTokens(again, texts), config, run=tmp_path / "run", resume=True, show=False)
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(again)[name]), name
    rows = [[row["loss"] for row in read_metrics(tmp_path / run / "metrics.jsonl")] for run in ("whole", "run")]
    assert rows[0] == rows[1]


def test_every_example_once_an_epoch_and_like_sizes_together():
    class Seen:
        sizes = np.arange(1, 101)

        def __init__(self, module):
            self.module, self.batches = module, []

        def loss(self, which):
            self.batches.append(which)
            return self.module.weight.sum(), len(which)

    module = torch.nn.Linear(2, 2)
    seen = Seen(module)
    fit(module, seen, FitConfig(steps=20, batch_size=10), show=False)
    first, second = np.concatenate(seen.batches[:10]).tolist(), np.concatenate(seen.batches[10:]).tolist()
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert all(max(batch) - min(batch) == 9 for batch in seen.batches)


def test_what_cannot_be_learned_from_is_refused():
    lm = handle()
    with pytest.raises(ValueError, match="texts is empty"):
        NextTokens(lm, [])
    with pytest.raises(ValueError, match="text 1 has 2 tokens and starts at 2"):
        NextTokens(lm, [np.array([2, 3, 4]), np.array([2, 3])], [1, 2])
    with pytest.raises(ValueError, match="128 positions"):
        NextTokens(lm, [np.full(129, 3)])


def test_a_run_is_not_overwritten_nor_resumed_with_other_settings(tmp_path):
    lm, config = handle(), FitConfig(steps=4, batch_size=8)
    examples = NextTokens(lm, counting_texts(16))
    fit(lm.model, examples, config, run=tmp_path / "run", show=False)
    with pytest.raises(FileExistsError, match="already holds a run"):
        fit(lm.model, examples, config, run=tmp_path / "run", show=False)
    with pytest.raises(CheckpointError, match="other settings or examples"):
        fit(lm.model, examples, FitConfig(steps=5), run=tmp_path / "run", resume=True, show=False)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        fit(lm.model, examples, config, run=tmp_path / "nowhere", resume=True, show=False)


def test_a_loss_that_is_not_finite_stops():
    class Broken:
        sizes = np.ones(4, np.int64)

        def loss(self, which):
            return torch.tensor(math.nan, requires_grad=True), 1

    with pytest.raises(FloatingPointError, match="loss is nan at step 0"):
        fit(torch.nn.Linear(1, 1), Broken(), FitConfig(steps=1), show=False)
