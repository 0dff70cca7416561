"""The training loop `fit`: it learns, resumes bit for bit, and refuses wrong input."""

import json
import math
import os
import signal

import numpy as np
import pytest
import torch

from textrlhf.language import CausalLM
from textrlhf.language.fit import FitConfig, NextTokens, fit, mean_loss
from textrlhf.records import run as run_module
from textrlhf.records import saving_budget, time_budget
from textrlhf.records.checkpoint import CheckpointError
from textrlhf.records.metrics import read_metrics
from textrlhf.records.run import Run
from tiny_models import V, tiny_model, word_tokenizer

pytestmark = pytest.mark.slow


def counting_texts(n=120, seed=0):
    """Each token is the one before plus one: predictable but for the first."""
    rng = np.random.default_rng(seed)
    return [(rng.integers(2, V) + np.arange(rng.integers(4, 12))) % (V - 2) + 2 for _ in range(n)]


def handle(family="llama"):
    return CausalLM(tiny_model(family), word_tokenizer())


def weights(lm):
    return {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}


def test_fit_lowers_the_loss():
    lm = handle()
    heldout = NextTokens(lm, counting_texts(30, seed=1))
    before = mean_loss(heldout)
    after = fit(lm.model, NextTokens(lm, counting_texts()), FitConfig(steps=150), heldout=heldout, show=False)
    assert before > 3
    assert after["heldout_loss"] < 0.1
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


def test_loss_counts_tokens_from_start_on():
    lm = handle()
    texts, starts = [np.array([3, 4, 5, 6]), np.array([7, 8])], [2, 1]
    total, count = NextTokens(lm, texts, starts).loss([0, 1])
    expected = 0.0
    for text, start in zip(texts, starts, strict=True):
        logits = lm.model(torch.from_numpy(text)[None]).logits[0].double().log_softmax(-1)
        expected -= sum(float(logits[t - 1, text[t]]) for t in range(start, len(text)))
    assert count == 3
    assert float(total) == pytest.approx(expected, abs=1e-5)


def test_parts_of_a_batch_add_up_to_its_gradient():
    """Parts that count alike whatever their number of tokens."""
    found = []
    for tokens in (None, 40):
        lm = handle()
        data = NextTokens(lm, counting_texts())
        config = FitConfig(steps=3, batch_size=24, learning_rate=1e-3, tokens_at_once=tokens)
        loss = fit(lm.model, data, config, show=False)["loss"]
        found.append((loss, *lm.model.parameters()))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    torch.testing.assert_close(found[0][1:], found[1][1:], atol=2e-5, rtol=0)


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


def test_interrupted_run_is_saved_and_resumed_to_the_same_bits(tmp_path):
    """Ctrl-C lost everything since the last scheduled checkpoint."""

    def run(name, examples=NextTokens, **kwargs):
        lm, config = handle(), FitConfig(steps=8, batch_size=8, checkpoints=2)
        fit(lm.model, examples(lm, counting_texts(16)), config, run=tmp_path / name, show=False, **kwargs)
        return lm.model.state_dict()

    class Interrupted(NextTokens):
        batches = 0

        def loss(self, which):
            self.batches += 1
            if self.batches == 6:
                os.kill(os.getpid(), signal.SIGINT)
            return super().loss(which)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(
            KeyboardInterrupt, match="interrupted at step 6 of 8, saved in .*, from where it can be resumed"
        ):
            run("cut", Interrupted)
    finally:
        signal.signal(signal.SIGINT, before)
    assert Run(tmp_path / "cut").steps() == [4, 6]
    whole, resumed = run("whole"), run("cut", resume=True)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items())
    assert Run(tmp_path / "cut").steps() == [4, 8]


def test_an_epoch_has_every_example_and_batches_similar_sizes():
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


def test_invalid_texts_are_refused():
    lm = handle()
    with pytest.raises(ValueError, match="texts is empty"):
        NextTokens(lm, [])
    with pytest.raises(ValueError, match="text 1 has 2 tokens and starts at 2"):
        NextTokens(lm, [np.array([2, 3, 4]), np.array([2, 3])], [1, 2])
    with pytest.raises(ValueError, match="129 tokens.*128"):
        NextTokens(lm, [np.full(129, 3)])


def test_a_run_is_protected(tmp_path):
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


class Slope:
    """The sum of all weights, each of which so has a gradient of 1."""

    sizes = np.ones(8, np.int64)

    def __init__(self, module):
        self.module = module

    def loss(self, which):
        return len(which) * sum(p.sum() for p in self.module.parameters() if p.requires_grad), len(which)


def two_layers():
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    return module.requires_grad_(False)


def test_rates_by_parameter_name():
    """Adam's first step is as long as its rate: the longest fitting beginning says which, and 0 leaves a part alone."""
    module = two_layers()
    module[2].requires_grad_(True)
    flags = [p.requires_grad for p in module.parameters()]
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    config = FitConfig(steps=1, batch_size=8, learning_rate=0.01, weight_decay=0.0, max_grad_norm=1e9)
    fit(module, Slope(module), config, rates={"1.": 0.0, "1.weight": 3.0, "2": 0.5}, show=False)
    moved = {name: float((before[name] - p).detach().abs().max()) for name, p in module.named_parameters()}
    expected = {"0.weight": 1, "0.bias": 1, "1.weight": 3, "1.bias": 0, "2.weight": 0.5, "2.bias": 0.5}
    assert moved == pytest.approx({name: 0.01 * times for name, times in expected.items()}, rel=1e-3)
    assert [p.requires_grad for p in module.parameters()] == flags
    assert all(p.grad is None for p in module.parameters())


def test_frozen_parameters_are_not_saved(tmp_path):
    """Guards against a frozen trunk written ten times a run."""
    module = two_layers()
    rates = {"": 0.0, "2.": 1.0}
    fit(module, Slope(module), FitConfig(steps=2, batch_size=8), run=tmp_path, rates=rates, show=False)
    assert set(Run(tmp_path).last_checkpoint().tensors["model"]) == {"2.weight", "2.bias"}


def test_requires_grad_is_restored_after_an_error():
    module = two_layers()
    module[0].requires_grad_(True)

    class Broken(Slope):
        def loss(self, which):
            raise KeyError("broken")

    with pytest.raises(KeyError):
        fit(module, Broken(module), FitConfig(steps=1), rates={"0.": 0.0}, show=False)
    assert [p.requires_grad for p in module.parameters()] == [True, True, False, False, False, False]


def test_about_is_saved_and_checked(tmp_path):
    """Also with a tuple in it, which comes back from the disk as a list."""
    config, about = FitConfig(steps=4, batch_size=8), {"reward_model": {"lapse": 0.1, "scale": (0.0, 1.0)}}
    module = two_layers()
    fit(module, Slope(module), config, run=tmp_path, about=about, show=False)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["reward_model"] == {"lapse": 0.1, "scale": [0.0, 1.0]}
    assert stored["steps"] == 4
    fit(module, Slope(module), config, run=tmp_path, about=about, resume=True, show=False)
    for other in ({"reward_model": {"lapse": 0.2, "scale": (0.0, 1.0)}}, None):
        with pytest.raises(CheckpointError, match="other settings or examples"):
            fit(module, Slope(module), config, run=tmp_path, about=other, resume=True, show=False)


def test_heldout_loss_during_the_run(tmp_path):
    """As often as a checkpoint is kept, and at the end; also where no run is."""
    lm, config = handle(), FitConfig(steps=10, batch_size=16, checkpoints=3)
    heldout = NextTokens(lm, counting_texts(30, seed=1))
    metrics = fit(lm.model, NextTokens(lm, counting_texts()), config, heldout=heldout, run=tmp_path, show=False)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    losses = {row["step"]: row["heldout_loss"] for row in rows if "heldout_loss" in row}
    assert list(losses) == [3, 6, 9, 10]
    assert metrics["heldout_loss"] == losses[10] == mean_loss(heldout, 16)
    assert losses[10] < losses[3]
    assert [row["step"] for row in rows] == list(range(1, 11))
    again = handle()
    seen = fit(
        again.model, NextTokens(again, counting_texts()), config, heldout=NextTokens(again, heldout.texts), show=False
    )
    assert seen == metrics  # watching changes nothing, and neither does a run


def test_a_finished_run_reports_its_heldout_loss(tmp_path):
    lm, config = handle(), FitConfig(steps=4, batch_size=16, checkpoints=4)
    examples, heldout = NextTokens(lm, counting_texts(32)), NextTokens(lm, counting_texts(8, seed=1))
    first = fit(lm.model, examples, config, heldout=heldout, run=tmp_path, show=False)
    again = fit(lm.model, examples, config, heldout=heldout, run=tmp_path, resume=True, show=False)
    assert again["heldout_loss"] == first["heldout_loss"]


def test_a_gradient_that_is_not_finite_stops(tmp_path):
    """The loss of such a step is finite: guards against weights, and a last checkpoint, of no numbers."""
    module = torch.nn.Linear(1, 1)

    class Root(Slope):
        calls = 0

        def loss(self, which):
            self.calls += 1
            total, count = super().loss(which)
            return (total + (0 * total).sqrt() if self.calls == 3 else total), count

    with pytest.raises(FloatingPointError, match="the gradient is nan at step 2"):
        config = FitConfig(steps=4, batch_size=8, checkpoints=4)
        fit(module.requires_grad_(True), Root(module), config, run=tmp_path, show=False)
    assert all(torch.isfinite(p).all() for p in module.parameters())
    checkpoint = Run(tmp_path).last_checkpoint()
    assert checkpoint.state["step"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint.tensors["model"].values())


@pytest.mark.parametrize(
    ("seconds", "cost", "saved"),
    [(1.0, 0.0, [3, 6, 9, 10]), (10.0, 1.6, [6, 9, 10]), (1.0, 1e9, [10]), (300.0, 200.0, [2, 4, 6, 8, 10])],
)
def test_checkpoints_by_the_clock(seconds, cost, saved, tmp_path, monkeypatch):
    """A large model was written at each of its few steps. It is now if that is cheap, or after ten minutes without."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock, found, save = Clock(), [], run_module.save_checkpoint

    def slow_save(path, *contents):
        found.append(int(path.name.removeprefix("step-")))
        clock.now += cost
        save(path, *contents)

    class Slow(NextTokens):
        def loss(self, which):
            clock.now += seconds
            return super().loss(which)

    monkeypatch.setattr(time_budget, "time", clock)
    monkeypatch.setattr(saving_budget, "ALLOWANCE", 0.0)
    monkeypatch.setattr("textrlhf.language.fit.size_of", lambda tensors: cost * saving_budget.SPEED)
    monkeypatch.setattr(run_module, "save_checkpoint", slow_save)
    one, config = handle(), FitConfig(steps=10, batch_size=16, checkpoints=3)
    fit(one.model, Slow(one, counting_texts()), config, run=tmp_path, show=False)
    assert found == saved
    two = handle()
    fit(two.model, NextTokens(two, counting_texts()), config, show=False)
    assert one.fingerprint() == two.fingerprint()
