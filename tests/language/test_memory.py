"""Reading in pieces, with any row restarted at any time, equals full uncached forwards, for every family."""

import numpy as np
import pytest
import torch

from textrlhf.language import CausalLM, make_memory
from textrlhf.language.column_cache import ColumnCache
from textrlhf.language.families import memory_class
from textrlhf.language.slot_cache import SlotCache
from tiny_models import ON_COLUMNS, ON_SLOTS, V, tiny_model, word_tokenizer

N, CONTEXT = 5, 60


def handle(family, changes=None, attention=None):
    model = tiny_model(family, **(changes or {}))
    if attention:
        model.set_attn_implementation(attention)
    return CausalLM(model, word_tokenizer())


@torch.no_grad()
def full_forward(lm, text):
    ids = torch.tensor(text)[None]
    return lm.model(ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0, -1]


def largest_error(lm, steps, seed=0):
    """Largest difference of logits between a memory and full forwards, over random reads and resets."""
    rng = np.random.default_rng(seed)
    memory, texts, worst = make_memory(lm, N), [[] for _ in range(N)], 0.0
    for _ in range(steps):
        gone = np.flatnonzero([rng.random() < 0.06 or len(text) > CONTEXT - 8 for text in texts])
        memory.reset(gone)
        for row in gone:
            texts[row] = []
        some = rng.random() < 0.3
        rows = np.flatnonzero(rng.random(N) < 0.5) if some else np.arange(N)
        if not len(rows):
            continue
        new = [rng.integers(2, V, 1 if texts[row] and rng.random() < 0.8 else rng.integers(1, 7)) for row in rows]
        for row, tokens in zip(rows, new, strict=True):
            texts[row] += tokens.tolist()
        logits = lm.head(memory.read(rows, new))
        expected = torch.stack([full_forward(lm, texts[row]) for row in rows])
        worst = max(worst, float((logits - expected).abs().max()))
        assert memory.lengths.tolist() == [len(text) for text in texts]
    return worst


@pytest.mark.parametrize(
    ("family", "attention"), [*((family, "sdpa") for family in ON_SLOTS), ("gpt2", "eager"), ("qwen3", "eager")]
)
def test_slot_cache_equals_full_forwards(family, attention):
    lm = handle(family, ON_SLOTS[family], attention)
    assert memory_class(lm) is SlotCache
    assert largest_error(lm, 40) <= 1e-5


@pytest.mark.parametrize("family", ON_COLUMNS)
@pytest.mark.slow
def test_column_cache_equals_full_forwards(family):
    lm = handle(family, ON_COLUMNS[family])
    assert memory_class(lm) is ColumnCache
    assert largest_error(lm, 50) <= 1e-5


@pytest.mark.parametrize("family", ["gpt2", "bloom"])
def test_catch_up_reads_new_tokens(family):
    lm = handle(family)
    memory, rng = make_memory(lm, 3), np.random.default_rng(1)
    texts = [rng.integers(2, V, n).tolist() for n in (4, 9, 1)]
    for step in range(12):
        starts = np.zeros(3, bool)
        if step:
            for row, text in enumerate(texts):
                kind = rng.integers(4)
                if kind == 0:
                    text.append(int(rng.integers(2, V)))
                elif kind == 1:
                    text += rng.integers(2, V, 3).tolist()
                elif kind == 2:
                    texts[row], starts[row] = rng.integers(2, V, 5).tolist(), True
        observation = np.full((3, CONTEXT), -1)
        for row, text in zip(observation, texts, strict=True):
            row[: len(text)] = text
        memory.reset(starts)
        logits = lm.head(memory.catch_up(np.arange(3), observation, (observation >= 0).sum(1)))
        expected = torch.stack([full_forward(lm, text) for text in texts])
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(("new", "forwards"), [([3, 2], 1), ([5], 1), ([6], 2), ([2] * 5, 2), ([1], 1)])
def test_a_few_more_tokens_need_one_forward(new, forwards, fresh):
    """Of eight rows one or two have a few tokens more: at most half as many as there are rows.

    Where nothing has been read yet, too, the tokens of a row see each other.
    """
    lm, rng = handle("llama"), np.random.default_rng(2)
    memory, calls = make_memory(lm, 8), []
    texts = [rng.integers(2, V, n) for n in (7, 3, 9, 4, 12, 5, 6, 8)]
    if fresh:
        texts = [text[:0] for text in texts]
    else:
        memory.read(np.arange(8), texts)
        memory.reset([1])
        texts[1] = texts[1][:0]
    more = [rng.integers(2, V, n) for n in [1] * (8 - len(new)) + new]
    hook = lm.trunk.register_forward_pre_hook(lambda *_: calls.append(1))
    logits = lm.head(memory.read(np.arange(8), more))
    hook.remove()
    expected = torch.stack([full_forward(lm, np.concatenate(both)) for both in zip(texts, more, strict=True)])
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    assert len(calls) == forwards
    assert memory.lengths.tolist() == [len(a) + len(b) for a, b in zip(texts, more, strict=True)]


def test_memory_size():
    lm = handle("gpt2")
    memory = make_memory(lm, 8)
    memory.read(np.arange(8), [np.full(50, 3)] * 8)
    per_position = 2 * 2 * 32 * 4  # keys and values, two layers, 32 wide, float32
    assert sum(layer.keys.nbytes + layer.values.nbytes for layer in memory._cache.layers) <= 8 * 96 * per_position


def test_reading_no_tokens_is_refused():
    memory = make_memory(handle("gpt2"), 2)
    with pytest.raises(ValueError, match="row 1 was given no tokens"):
        memory.read(np.arange(2), [np.array([3]), np.array([], int)])


def test_a_model_that_cannot_be_stepped_is_refused():
    torch.manual_seed(0)
    lm = handle("gpt2")
    lm.model.transformer.h[0].attn.is_causal = False
    lm.model.transformer.forward = lambda **_: (_ for _ in ()).throw(RuntimeError("no cache here"))
    with pytest.raises(ValueError, match=r"cannot be stepped.*SlotCache failed with RuntimeError.*no cache here"):
        memory_class(lm)
