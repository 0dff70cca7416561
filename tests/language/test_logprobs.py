"""Log-probabilities of given tokens equal float64 forwards of one text at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from textrlhf.language import CausalLM, logprobs, make_memory
from textrlhf.language.logprobs import (
    Choices,
    by_length,
    choice_logprobs,
    logprobs_and_entropy,
    read_whole,
    token_logprobs,
)
from tiny_models import ON_COLUMNS, ON_SLOTS, V, tiny_lm, tiny_model, word_tokenizer

D = 32
EVERY = [(family, shape) for families in (ON_SLOTS, ON_COLUMNS) for family, shape in families.items()]
IDS = [f"{family}, window" if shape.get("sliding_window") else family for family, shape in EVERY]


@pytest.fixture
def tokens_at_once(monkeypatch):
    """Set how many padded tokens go into one forward."""
    return lambda n: monkeypatch.setitem(logprobs.TOKENS_AT_ONCE, "cpu", n)


@pytest.fixture
def rows_at_once(monkeypatch):
    """Set how many hidden states go through the head together, and of how many the gradient may keep anything."""

    def set_rows(n, kept=0):
        monkeypatch.setitem(logprobs.LOGITS_AT_ONCE, "cpu", n * V)
        monkeypatch.setitem(logprobs.LOGITS_KEPT, "cpu", kept * V)

    return set_rows


def rows(m, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, D, generator=generator), torch.randint(V, (m,), generator=generator)


def half_allowed(m, tokens=None, seed=1):
    allowed = torch.rand(m, V, generator=torch.Generator().manual_seed(seed)) < 0.5
    if tokens is not None:
        allowed[torch.arange(m), tokens] = True
    return allowed


def texts_of(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(2, V, n) for n in lengths]


@torch.no_grad()
def whole_logprobs(lm, text):  # -> (len(text) - 1, V) float64: row i is what follows i + 1 tokens
    return lm.model(torch.from_numpy(text)[None]).logits[0, :-1].double().log_softmax(-1).numpy()


class TestTokenLogprobs:
    @torch.no_grad()
    @pytest.mark.parametrize("masked", [False, True], ids=["free", "masked"])
    def test_equals_log_softmax_in_float64(self, masked):
        lm = tiny_lm()
        hidden, tokens = rows(50)
        allowed = half_allowed(50, tokens)
        logits = lm.head(hidden).double()
        if masked:
            logits = logits.masked_fill(~allowed, -torch.inf)
        expected = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        found = token_logprobs(lm, hidden, tokens, (lambda rows: allowed[rows]) if masked else None)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, atol=2e-6, rtol=1e-6)

    @torch.no_grad()
    def test_allowed_probabilities_sum_to_one(self):
        lm = tiny_lm()
        hidden, allowed = rows(1)[0], half_allowed(1)
        every = token_logprobs(lm, hidden.expand(V, D), torch.arange(V), lambda rows: allowed.expand(len(rows), V))
        assert every.exp().sum() == pytest.approx(1, abs=1e-6)
        assert torch.isneginf(every[~allowed[0]]).all()

    @pytest.mark.parametrize("masked", [False, True], ids=["free", "masked"])
    def test_entropy_and_gradients_equal_float64(self, masked):
        lm = CausalLM(tiny_model("gpt2"), word_tokenizer())
        hidden, tokens = rows(50)
        allowed = half_allowed(50, tokens)
        at = hidden.clone().requires_grad_()
        found = logprobs_and_entropy(lm, at, tokens, (lambda rows: allowed[rows]) if masked else None)
        exact = hidden.double().requires_grad_()
        logits = exact @ lm.model.lm_head.weight.double().T
        log_probs = (logits.masked_fill(~allowed, -1e9) if masked else logits).log_softmax(-1)
        expected = log_probs.gather(1, tokens[:, None])[:, 0], -(log_probs.exp() * log_probs).sum(1)
        weights = torch.randn(2, 50, generator=torch.Generator().manual_seed(3))
        for which in ([0], [1], [0, 1]):  # a gradient through one of them, and through both
            one = torch.autograd.grad(sum((found[i] * weights[i]).sum() for i in which), at, retain_graph=True)
            other = torch.autograd.grad(sum((expected[i] * weights[i]).sum() for i in which), exact, retain_graph=True)
            torch.testing.assert_close(one[0].double(), other[0], atol=1e-6, rtol=1e-5)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.double(), other, atol=2e-6, rtol=1e-6)

    @pytest.mark.parametrize("kept", [0, 1000])
    @pytest.mark.parametrize("size", [1, 7, 49, 50])
    @pytest.mark.parametrize("masked", [False, True], ids=["free", "masked"])
    def test_chunks_change_neither_values_nor_gradients(self, size, masked, kept, rows_at_once):
        """Guards against a mask asked by the place within a chunk, and gradients of the last chunk only."""
        lm = CausalLM(tiny_model("gpt2"), word_tokenizer())
        weight = lm.model.lm_head.weight.requires_grad_()
        hidden, tokens = rows(50)
        hidden.requires_grad_()
        allowed = half_allowed(50, tokens)
        outcomes = []
        for at_once in (1000, size):
            rows_at_once(at_once, kept)
            found = token_logprobs(lm, hidden, tokens, (lambda rows: allowed[rows]) if masked else None)
            grads = torch.autograd.grad((found * torch.arange(50)).sum(), [hidden, weight])
            with torch.no_grad():
                quiet = token_logprobs(lm, hidden, tokens, (lambda rows: allowed[rows]) if masked else None)
            outcomes.append((found.detach(), quiet, *grads))
        for one, other in zip(*outcomes, strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-5)
        assert torch.equal(outcomes[1][0], outcomes[1][1])

    def test_logits_are_chunked_and_not_kept(self, rows_at_once):
        """Guards against (tokens x V): 64 texts x 512 tokens x 150,000 words are 20 GB."""
        lm = CausalLM(tiny_model("gpt2"), word_tokenizer())
        rows_at_once(8)
        sizes, kept = [], []
        lm.model.lm_head.register_forward_hook(lambda module, inputs, output: sizes.append(output.numel()))
        hidden, tokens = rows(50)
        hidden.requires_grad_()

        def keep(tensor):
            kept.append(tuple(tensor.shape))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            found = token_logprobs(lm, hidden, tokens)
        assert max(sizes) == 8 * V
        assert sum(sizes) == 50 * V
        assert (8, V) not in kept
        found.sum().backward()
        assert max(sizes) == 8 * V

    def test_no_rows(self):
        assert token_logprobs(tiny_lm(), torch.empty(0, D), torch.empty(0, dtype=torch.int64)).shape == (0,)

    @torch.no_grad()
    def test_half_precision_is_summed_in_float32(self):
        lm = CausalLM(tiny_model("gpt2").to(torch.bfloat16), word_tokenizer())
        hidden, tokens = rows(20)
        hidden = hidden.to(torch.bfloat16)
        found = token_logprobs(lm, hidden, tokens)
        expected = lm.head(hidden).double().log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        torch.testing.assert_close(found.double(), expected, atol=2e-6, rtol=1e-6)


class TestChoiceLogprobs:
    @pytest.mark.parametrize(("family", "shape"), EVERY, ids=IDS)
    def test_each_text_equals_itself_alone(self, family, shape, tokens_at_once):
        """Guards against padding that is seen, positions off by one, and windows that count the padding."""
        lm = CausalLM(tiny_model(family, **shape), word_tokenizer())
        texts = texts_of([50, 33, 4, 21, 2, 33])
        starts = [20, 1, 3, 7, 1, 32]
        tokens_at_once(120)
        found = choice_logprobs(lm, [Choices.after(*pair) for pair in zip(texts, starts, strict=True)])
        for text, start, got in zip(texts, starts, found, strict=True):
            expected = whole_logprobs(lm, text)[np.arange(start - 1, len(text) - 1), text[start:]]
            np.testing.assert_allclose(got, expected, atol=1e-5)

    def test_a_choice_may_differ_from_the_text(self):
        """Guards against reading the token from the text: a forced or dropped token differs from what follows."""
        lm, text = tiny_lm(), texts_of([12])[0]
        positions, tokens = np.array([3, 3, 7, 12]), np.array([5, 9, 11, 1])  # also after the whole text
        found = choice_logprobs(lm, [Choices(text, positions, tokens)])[0]
        longer = whole_logprobs(lm, np.append(text, 2))
        np.testing.assert_allclose(found, longer[positions - 1, tokens], atol=1e-5)

    @pytest.mark.parametrize("masked", [False, True], ids=["free", "masked"])
    def test_grouping_and_order_do_not_matter(self, masked, tokens_at_once, rows_at_once):
        """Guards against results handed to the wrong text, and masks asked by the place within a group."""
        lm, rng = tiny_lm("llama"), np.random.default_rng(3)
        texts = texts_of(rng.integers(2, 40, 17))
        choices = [Choices.after(text, int(rng.integers(1, len(text)))) for text in texts]
        everything = torch.from_numpy(np.concatenate([choice.tokens for choice in choices]))
        allowed = half_allowed(len(everything), everything)
        first = np.cumsum([0] + [len(choice.tokens) for choice in choices])
        expected = choice_logprobs(lm, choices, (lambda n: allowed[n]) if masked else None)
        for budget, size in [(1, 1000), (60, 3), (10_000, 5)]:
            tokens_at_once(budget)
            rows_at_once(size)
            found = choice_logprobs(lm, choices, (lambda n: allowed[n]) if masked else None)
            for one, other in zip(expected, found, strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)
            order = rng.permutation(17)
            numbers = torch.from_numpy(np.concatenate([np.arange(first[i], first[i + 1]) for i in order]))
            found = choice_logprobs(
                lm, [choices[i] for i in order], (lambda n, numbers=numbers: allowed[numbers[n]]) if masked else None
            )
            for i, other in zip(order, found, strict=True):
                np.testing.assert_allclose(expected[i], other, atol=1e-5)

    def test_normalised_over_allowed_tokens(self):
        lm, text = tiny_lm(), texts_of([15])[0]
        choices = Choices.after(text, 5)
        allowed = half_allowed(10, torch.from_numpy(choices.tokens))
        found = choice_logprobs(lm, [choices], lambda numbers: allowed[numbers])[0]
        every = np.where(allowed, whole_logprobs(lm, text)[4:], -np.inf)
        expected = every[np.arange(10), choices.tokens] - np.log(np.exp(every).sum(1))
        np.testing.assert_allclose(found, expected, atol=1e-5)

    def test_no_choices_and_no_texts(self):
        lm, (long, short) = tiny_lm(), texts_of([9, 4])
        nothing = Choices.after(short, 4)
        found = choice_logprobs(lm, [nothing, Choices.after(long, 3), nothing])
        assert [len(part) for part in found] == [0, 6, 0]
        assert [len(part) for part in choice_logprobs(lm, [nothing])] == [0]
        assert choice_logprobs(lm, []) == []

    @pytest.mark.parametrize("position", [0, 5])
    def test_a_position_outside_the_text_is_refused(self, position):
        """Guards against the last position of the longest text, or padding, read in silence."""
        short, long = texts_of([4, 9])
        wrong = Choices(short, np.array([2, position]), np.array([3, 3]))
        with pytest.raises(ValueError, match=rf"text 1.*position {position}.*1 to 4"):
            choice_logprobs(tiny_lm(), [Choices.after(long, 1), wrong])

    def test_no_gradients(self):
        lm = CausalLM(tiny_model("gpt2").requires_grad_(), word_tokenizer())
        assert isinstance(choice_logprobs(lm, [Choices.after(texts_of([9])[0], 3)])[0], np.ndarray)

    def test_tokens_and_logits_are_chunked(self, tokens_at_once, rows_at_once):
        lm = CausalLM(tiny_model("gpt2"), word_tokenizer())
        tokens_at_once(64)
        rows_at_once(16)
        read, made = [], []
        lm.trunk.wte.register_forward_hook(lambda module, inputs, output: read.append(inputs[0].shape))
        lm.model.lm_head.register_forward_hook(lambda module, inputs, output: made.append(len(output)))
        texts = texts_of(np.random.default_rng(0).integers(2, 30, 40))
        choice_logprobs(lm, [Choices.after(text, 1) for text in texts])
        assert sum(len_ for len_, _ in read) == 40
        assert max(a * b for a, b in read) <= 64
        assert max(made) <= 16
        assert sum(made) == sum(len(text) - 1 for text in texts)


class TestReadWhole:
    @torch.no_grad()
    @pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "opt", "bloom", "gemma3_text", "gpt_neo"])
    def test_padding_is_not_attended_to(self, family):
        lm, text = tiny_lm(family), torch.from_numpy(texts_of([20])[0])
        with_noise = torch.cat([text, torch.arange(2, 30)])[None]
        torch.testing.assert_close(read_whole(lm, with_noise)[0, :20], read_whole(lm, text[None])[0], atol=1e-5, rtol=0)

    def test_gradients_reach_the_first_token(self):
        lm = CausalLM(tiny_model("llama").requires_grad_(), word_tokenizer())
        states = read_whole(lm, torch.from_numpy(texts_of([10])[0])[None])
        states[0, -1].sum().backward()
        assert lm.trunk.embed_tokens.weight.grad.abs().sum() > 0


class TestByLength:
    @given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 300))
    @settings(deadline=None, derandomize=True)
    def test_each_index_once_within_the_budget(self, lengths, budget):
        groups = list(by_length(lengths, budget))
        assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
        for group in groups:
            assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= budget

    def test_small_groups_are_not_split(self):
        """A few short texts are padded; many long ones are not joined by those that a third would be padded of."""
        assert list(by_length([20, 5], 1000)) == [[0, 1]]
        assert list(by_length([20] * 13 + [16, 15], 1000)) == [[*range(14)], [14]]

    def test_similar_lengths_share_a_group(self):
        """Guards against a short text padded to the longest one."""
        lengths = np.random.default_rng(0).integers(1, 500, 300).tolist()
        padded = sum(len(group) * max(lengths[i] for i in group) for group in by_length(lengths, 4096))
        assert padded <= 1.1 * sum(lengths)


@torch.no_grad()
@pytest.mark.parametrize(("family", "shape"), EVERY, ids=IDS)
def test_stepped_logprobs_equal_teacher_forcing(family, shape):
    """A token's log-probability is the same when it is drawn and when it is learned from: else ratio is not 1."""
    lm = CausalLM(tiny_model(family, **shape), word_tokenizer())
    texts, prompts = texts_of([30, 44, 21, 27]), [3, 9, 1, 6]
    memory = make_memory(lm, 3)
    stepped = [[] for _ in texts]
    slots, at = {0: 0, 1: 1, 2: 2}, list(prompts)
    new = {slot: texts[i][: at[i]] for slot, i in slots.items()}
    while slots:
        live = np.array(sorted(slots))
        hidden = memory.read(live, [new[slot] for slot in live])
        tokens = torch.tensor([texts[slots[slot]][at[slots[slot]]] for slot in live])
        for slot, found in zip(live.tolist(), token_logprobs(lm, hidden, tokens).tolist(), strict=True):
            i = slots[slot]
            stepped[i].append(found)
            new[slot] = texts[i][at[i]][None]
            at[i] += 1
            if at[i] == len(texts[i]):
                del slots[slot]
                if i == 2:  # the last text begins in this slot while the others are under way
                    memory.reset([slot])
                    slots[slot], new[slot] = 3, texts[3][: at[3]]
    forced = choice_logprobs(lm, [Choices.after(*pair) for pair in zip(texts, prompts, strict=True)])
    for one, other in zip(stepped, forced, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
