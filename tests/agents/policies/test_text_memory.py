"""What a language-model policy reads, and what it keeps for learning, held against whole forwards of single texts."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
import torch

from textrlhf.agents.policies.text_memory import TextLog, TextMemory, Texts
from textrlhf.language import CausalLM
from tiny_models import V, noisy, tiny_lm, tiny_model, word_tokenizer

FAMILIES = ["gpt2", "llama", "opt", "bloom", "gemma2"]  # the last two on the column cache
N, CONTEXT = 4, 40


class RandomTexts:
    """Random texts: each observation has no, one or many new tokens, or is another text."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.tokens = np.full((N, CONTEXT), -1, np.int64)
        for row in range(N):
            self.write(row, self.some(6), 0)

    def some(self, most: int) -> np.ndarray:
        return self.rng.integers(0, V, self.rng.integers(1, most + 1))

    def write(self, row: int, new: np.ndarray, at: int) -> None:
        self.tokens[row, at:] = -1
        self.tokens[row, at : at + len(new)] = new

    def resume_run(self, rows=range(N), *, quietly: bool = True) -> np.ndarray:
        """Change the texts of `rows`, and say which of them open an episode."""
        starts = np.zeros(N, bool)
        for row in rows:
            length, kind = int((self.tokens[row] >= 0).sum()), self.rng.random()
            if length > CONTEXT - 6 or kind < 0.08:
                starts[row] = True
                self.write(row, self.some(6), 0)
            elif kind < 0.16 and quietly:  # another text without a start
                self.write(row, self.some(6), 0)
            elif kind < 0.24 and quietly and length > 3:  # the same without its first two tokens
                self.write(row, self.tokens[row, 2:length].copy(), 0)
            elif kind < 0.75:
                self.write(row, self.some(1), length)
            elif kind < 0.9:
                self.write(row, self.some(5), length)
        return starts


@torch.no_grad()
def whole(lm: CausalLM, text: np.ndarray) -> torch.Tensor:
    """The state at the last token, by a forward of this text alone."""
    ids = torch.from_numpy(text[text >= 0])[None]
    return lm.trunk(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).last_hidden_state[0, -1]


def expect(states: torch.Tensor, lm: CausalLM, texts: np.ndarray) -> None:
    torch.testing.assert_close(states, torch.stack([whole(lm, text) for text in texts]), atol=2e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_read_equals_full_forwards(family: str) -> None:
    """Tokens lost, read twice, or left over from the text before; texts replaced without a word."""
    lm, life = tiny_lm(family), RandomTexts()
    reading, starts = TextMemory(lm, N, CONTEXT), np.ones(N, bool)
    for _ in range(18):
        expect(reading.read(life.tokens, starts), lm, life.tokens)
        starts = life.resume_run()


@pytest.mark.parametrize("family", ["gpt2", "bloom"])
def test_forgotten_texts_are_read_with_current_weights(family: str) -> None:
    lm = CausalLM(tiny_model(family), word_tokenizer())
    life = RandomTexts(3)
    reading = TextMemory(lm, N, CONTEXT)
    reading.read(life.tokens, np.ones(N, bool))
    noisy(lm.model, seed=1)
    reading.forget(np.array([0, 2]))
    states = reading.read(life.tokens, np.zeros(N, bool))
    expect(states[[0, 2]], lm, life.tokens[[0, 2]])


@pytest.mark.parametrize("text", [[-1] * CONTEXT, [-1, 5, 6], [5, -1, 6]])
def test_invalid_text_is_refused(text: list[int]) -> None:
    life = RandomTexts()
    reading = TextMemory(tiny_lm(), N, CONTEXT)
    life.tokens[2] = text + [-1] * (CONTEXT - len(text))
    message = "observation 2 is .*: accepted is at least one token, padded on the right with -1"
    with pytest.raises(ValueError, match=message):
        reading.read(life.tokens, np.ones(N, bool))
    with pytest.raises(ValueError, match=message):
        Texts.at_their_ends(life.tokens)


def lived(steps: int, seed: int, *, quietly: bool = True):
    """A log of a life, its observations (T, N, context), and its segments."""
    life, log, starts = RandomTexts(seed), TextLog(), np.ones(N, bool)
    seen, opens = [], []
    for _ in range(steps):
        log.add((life.tokens.copy(),), starts)
        seen.append(life.tokens.copy())
        opens.append(starts)
        starts = life.resume_run(quietly=quietly)
    opens[0][:] = True
    bounds = [[*np.flatnonzero(row), steps] for row in np.stack(opens).T]
    segments = [(slot, *pair) for slot, row in enumerate(bounds) for pair in itertools.pairwise(row)]
    return log, np.stack(seen), np.array(segments)


@pytest.mark.parametrize("quietly", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_those_of_each_prefix(family: str, quietly: bool) -> None:
    """Wrong rows, columns off by one, a look ahead, padding that leaks, the text of another segment."""
    lm = CausalLM(tiny_model(family).double(), word_tokenizer())
    log, seen, segments = lived(18, seed=5, quietly=quietly)
    order = np.random.default_rng(0).permutation(len(segments))
    for part, at_once in zip(np.array_split(segments[order], 3), (1, 64, 4096), strict=True):
        texts = log.take(torch.empty(0), part)
        states = torch.empty(len(texts.rows), lm.model.get_output_embeddings().weight.shape[1], dtype=torch.float64)
        for some, places in texts.parts(at_once):
            states[torch.from_numpy(places)] = some.states(lm)
        prefixes = [seen[t, slot] for slot, first, stop in part for t in range(first, stop)]
        expected = torch.stack([whole(lm, prefix) for prefix in prefixes])
        exact = family in ("gpt2", "opt")  # the others use float32 in places
        torch.testing.assert_close(states, expected, atol=1e-10 if exact else 1e-5, rtol=0)


def test_gradients_reach_every_step_once() -> None:
    lm = CausalLM(tiny_model("gpt2").double(), word_tokenizer())
    log, seen, segments = lived(12, seed=6)
    weight = lm.model.get_input_embeddings().weight.requires_grad_(True)
    log.take(torch.empty(0), segments).states(lm).square().sum().backward()
    together = weight.grad.clone()
    weight.grad = None
    for prefix in seen.reshape(-1, CONTEXT):
        whole.__wrapped__(lm, prefix).square().sum().backward()
    torch.testing.assert_close(together, weight.grad, atol=1e-9, rtol=1e-9)


def test_log_stores_each_token_once() -> None:
    """Not a context a step, nor a view that holds one."""
    steps, width = 600, 512
    tracemalloc.start()
    try:
        log, life = TextLog(), np.full((N, width), -1, np.int64)
        before, _ = tracemalloc.get_traced_memory()
        for t in range(steps):
            length = t % 300
            if length == 0:
                life[:] = -1
            life[:, length] = 7
            log.add((life.copy(),), np.full(N, length == 0))
        texts = log.take(torch.empty(0), np.array([(slot, t, t + 300) for slot in range(N) for t in (0, 300)]))
        held = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert [len(text) for text in texts.texts] == [300] * 2 * N
    assert held < 0.1 * steps * N * width * 8
