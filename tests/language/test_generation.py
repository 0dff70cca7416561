"""Generation in shared slots equals one text at a time with a full forward for each token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from textrlhf.language import CausalLM, generate, make_memory
from textrlhf.language.families import memory_class
from textrlhf.language.logprobs import Choices, choice_logprobs
from textrlhf.language.sampling import sample
from tiny_models import V, tiny_lm, tiny_model, word_tokenizer

EOS = 1
CASES = [
    ("gpt2", {}),
    ("llama", {"temperature": 0.7, "top_k": 12}),
    ("gemma3_text", {}),  # its window is shorter than some texts
    ("bloom", {"temperature": 1.5, "top_p": 0.8}),
    ("gpt2", {"temperature": 0}),
]


def prompts_of(count, longest=9, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(2, V, rng.integers(1, longest + 1)).tolist() for _ in range(count)]


def handle(family):
    """A model that ends some texts soon and others not within the budget."""
    return CausalLM(tiny_model(family), word_tokenizer())


@torch.no_grad()
def naive(lm, prompt, max_new_tokens, draws, settings):
    """The plain loop: tokens, log-probabilities, why it ended."""
    text, logprobs = list(prompt), []
    for _ in range(max_new_tokens):
        logits = lm.model(torch.tensor([text])).logits[:, -1]
        token, logprob = sample(logits, **settings, uniform=torch.tensor([draws.random()]))
        text.append(int(token))
        logprobs.append(float(logprob))
        if text[-1] in lm.eos_ids:
            return text[len(prompt) :], logprobs, "eos"
    return text[len(prompt) :], logprobs, "length"


def same(one, other):
    assert [w.prompt.tolist() for w in one] == [w.prompt.tolist() for w in other]
    assert [w.tokens for w in one] == [w.tokens for w in other]
    assert [w.finish_reason for w in one] == [w.finish_reason for w in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


@pytest.mark.parametrize(("family", "settings"), CASES)
def test_texts_equal_a_plain_loop(family, settings):
    """Guards against a slot that remembers the text before, and a number drawn for another text."""
    lm, prompts = handle(family), prompts_of(11)
    written = generate(lm, prompts, 14, **settings, seed=3, slots=4)
    reasons = set()
    for i, (prompt, text) in enumerate(zip(prompts, written, strict=True)):
        tokens, logprobs, reason = naive(lm, prompt, 14, np.random.default_rng([3, i]), settings)
        assert text.prompt.tolist() == prompt
        assert text.tokens == tokens
        assert text.finish_reason == reason
        np.testing.assert_allclose(text.logprobs, logprobs, atol=1e-5)
        reasons.add(reason)
    if not settings:
        assert reasons == {"eos", "length"}  # else slots were never refilled out of step


@pytest.mark.parametrize("family", ["gpt2", "gemma3_text"])
def test_the_number_of_slots_changes_nothing(family):
    lm, prompts = handle(family), prompts_of(7)
    expected = generate(lm, prompts, 12, slots=9)
    for slots in (1, 4, 64):
        same(generate(lm, prompts, 12, slots=slots), expected)


def test_a_text_depends_on_seed_and_index():
    """Guards against one stream of random numbers, in which a longer text shifts all later ones."""
    lm, prompts = handle("gpt2"), prompts_of(8)
    first = generate(lm, prompts, 10, seed=1)
    same(generate(lm, prompts, 10, seed=1), first)
    same(generate(lm, prompts[:3], 10, seed=1), first[:3])
    assert [w.tokens for w in generate(lm, prompts, 10, seed=2)] != [w.tokens for w in first]
    twice = generate(lm, [prompts[0]] * 2, 10, seed=1)
    assert twice[0].tokens != twice[1].tokens


def test_logprobs_equal_teacher_forcing():
    lm, prompts = handle("llama"), prompts_of(7)
    written = generate(lm, prompts, 12, slots=3)
    texts = [np.concatenate([w.prompt, w.tokens]).astype(np.int64) for w in written]
    forced = choice_logprobs(lm, [Choices.after(t, len(w.prompt)) for t, w in zip(texts, written, strict=True)])
    for w, expected in zip(written, forced, strict=True):
        assert len(w.logprobs) == len(w.tokens)
        np.testing.assert_allclose(w.logprobs, expected, atol=1e-5)


@pytest.mark.parametrize("budget", [1, 2, 7])
def test_texts_end_with_eos_or_the_budget(budget):
    written = generate(handle("gpt2"), prompts_of(40), budget)
    for text in written:
        assert 1 <= len(text.tokens) <= budget
        assert EOS not in text.tokens[:-1]
        assert text.finish_reason == ("eos" if text.tokens[-1] == EOS else "length")
        assert text.finish_reason == "eos" or len(text.tokens) == budget


def test_eos_on_the_last_token_is_eos():
    lm, prompts = handle("gpt2"), prompts_of(40)
    long = generate(lm, prompts, 12)
    place, text = next((i, w) for i, w in enumerate(long) if w.finish_reason == "eos" and len(w.tokens) > 1)
    again = generate(lm, prompts, len(text.tokens))[place]
    assert again.finish_reason == "eos"
    assert again.tokens == text.tokens


def test_every_eos_token_ends():
    lm = handle("gpt2")
    lm.eos_ids = (EOS, *range(2, V, 2))
    for text in generate(lm, prompts_of(20), 30):
        assert text.finish_reason == "eos"
        assert all(token % 2 and token != EOS for token in text.tokens[:-1])


def test_ended_texts_take_no_steps(monkeypatch):
    """Guards against batches that wait for their longest text."""
    lm, prompts, steps = handle("gpt2"), prompts_of(40), []
    read = memory_class(lm).read
    monkeypatch.setattr(
        memory_class(lm), "read", lambda self, rows, *more: steps.append(len(rows)) or read(self, rows, *more)
    )
    written = generate(lm, prompts, 20, slots=8)
    assert sum(steps) == sum(len(text.tokens) for text in written)
    assert all(count == 8 for count in steps[: len(steps) // 2])


def test_generate_needs_no_gradient():
    lm = CausalLM(tiny_model("gpt2").requires_grad_(), word_tokenizer())
    seen = []
    lm.model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.requires_grad))
    assert len(generate(lm, prompts_of(3), 4)) == 3
    assert not any(seen)


def test_the_whole_context_may_be_used():
    lm = CausalLM(tiny_model("gpt2", n_positions=16), word_tokenizer())
    lm.eos_ids = ()
    text = generate(lm, [list(range(2, 12))], 6)[0]
    assert len(text.tokens) == 6
    assert text.tokens == naive(lm, range(2, 12), 6, np.random.default_rng([0, 0]), {})[0]


def test_a_model_without_a_position_limit():
    text = generate(tiny_lm("bloom"), [[2] * 150], 3)[0]
    assert text.finish_reason == "eos" or len(text.tokens) == 3


def test_no_prompts():
    assert generate(tiny_lm(), [], 5) == []


def test_arrays_are_prompts():
    prompts = prompts_of(3)
    same(generate(tiny_lm(), [np.array(p, np.int32) for p in prompts], 4), generate(tiny_lm(), prompts, 4))


class TestErrors:
    """Each is found before a token is read."""

    @pytest.fixture
    def lm(self):
        lm = CausalLM(tiny_model("gpt2"), word_tokenizer())
        make_memory(lm, 1)  # tries the model on a few tokens
        lm.model.register_forward_hook(lambda *_: pytest.fail("read a token"))
        lm.trunk.register_forward_hook(lambda *_: pytest.fail("read a token"))
        return lm

    def test_an_empty_prompt(self, lm):
        with pytest.raises(ValueError, match="prompt 1 is empty"):
            generate(lm, [[2], [], [3]], 5)

    def test_a_prompt_too_long(self, lm):
        with pytest.raises(ValueError, match=r"prompt 1 has 120 tokens.*max_new_tokens is 9.*128 positions.*shorten"):
            generate(lm, [[2], [3] * 120], 9)

    @pytest.mark.parametrize("prompt", [[2, V], [-1, 3]])
    def test_a_token_outside_the_vocabulary(self, lm, prompt):
        with pytest.raises(ValueError, match=rf"prompt 1 has the token (-1|{V}).*0 to {V - 1}"):
            generate(lm, [[2], prompt], 5)

    @pytest.mark.parametrize("budget", [0, -3])
    def test_no_budget(self, lm, budget):
        """Guards against one token where none was asked for."""
        with pytest.raises(ValueError, match=rf"max_new_tokens is {budget}.*at least 1"):
            generate(lm, [[2]], budget)

    @pytest.mark.parametrize("slots", [0, -1])
    def test_no_slots(self, lm, slots):
        """Guards against texts that come back unwritten."""
        with pytest.raises(ValueError, match=rf"slots is {slots}.*at least 1"):
            generate(lm, [[2]], 5, slots=slots)

    @pytest.mark.parametrize("settings", [{"temperature": -1}, {"top_k": 0}, {"top_p": 2}], ids=str)
    def test_bad_sampling(self, lm, settings):
        with pytest.raises(ValueError, match=next(iter(settings))):
            generate(lm, [[2]], 5, **settings)
