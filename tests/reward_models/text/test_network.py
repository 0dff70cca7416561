"""The network: scores do not depend on padding, order or batch composition, for any family of models."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from textrlhf.reward_models.text import network as network_module
from textrlhf.reward_models.text.heads import Dropout, TokenValues, label_score
from textrlhf.reward_models.text.network import RewardNetwork, state_width
from textrlhf.reward_models.text.packing import Text
from tiny_models import ON_COLUMNS, ON_SLOTS, V, noisy, tiny_model

WINDOWED = {"sliding_window": 16}  # Mistral has a row in both tables
FAMILIES = [*((family, {}, True) for family in ON_SLOTS)] + [
    (family, WINDOWED if family == "mistral" else {}, False) for family in ON_COLUMNS
]
NAMES = [f"{family}{'' if share else ' on columns'}" for family, _, share in FAMILIES]
ENCODER = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


def on_tokens(trunk):
    return RewardNetwork(trunk, noisy(TokenValues(trunk.get_input_embeddings().weight.shape[0], state_width(trunk))))


def classifier(config, labels=1):
    config = copy.deepcopy(config)
    config.num_labels = labels
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return noisy(AutoModelForSequenceClassification.from_config(config))


@functools.cache
def reward_model(family, head, changes=()):
    model = tiny_model(family, **dict(changes))
    return on_tokens(model.base_model) if head == "tokens" else RewardNetwork(classifier(model.config))


@functools.cache
def encoder(head):
    config = CONFIG_MAPPING["bert"](**ENCODER)
    model = classifier(config)
    return on_tokens(model.base_model) if head == "tokens" else RewardNetwork(model)


def some_texts(seed=0, longest=22):
    """Groups of 1 to 4 texts; one has no prompt, one is the beginning of another, two are the same."""
    rng = np.random.default_rng(seed)
    texts, groups = [Text(np.array([7, 8, 7]), 0, 3)], [[0]]

    def add(prompt, *responses):
        groups.append([])
        for response in responses:
            groups[-1].append(len(texts))
            texts.append(Text(np.array([*prompt, *response]), len(prompt), len(prompt) + len(response)))

    for count in (1, 2, 3):
        prompt = rng.integers(2, V, rng.integers(5, 12)).tolist()
        add(prompt, *(rng.integers(2, V, rng.integers(1, longest - 11)).tolist() for _ in range(count)))
    add([9, 10, 11], [12, 13], [12, 13, 14], [12, 13], [5])
    add(rng.integers(2, V, 10).tolist(), rng.integers(2, V, 12).tolist(), rng.integers(2, V, 12).tolist())
    return texts, groups


def alone(network, text):
    """The raw score by a plain forward of this text alone, the head written out."""
    ids = torch.from_numpy(text.tokens)[None]
    inputs = {} if text.segments is None else {"token_type_ids": torch.from_numpy(text.segments)[None]}
    if network.values is not None:
        states = network.trunk(ids, **inputs).last_hidden_state[0]
        before = [states[t - 1] if t else torch.zeros_like(states[0]) for t in range(text.start, text.end)]
        values, gate = network.values.values, network.values.gate
        return float(sum(values[text.tokens[text.start + t]] * (1 + gate @ h) for t, h in enumerate(before)))
    if network.causal:
        return float(network.model.score(network.trunk(ids).last_hidden_state[0, -1])[0])
    return float(network.model(ids, **inputs).logits[0, 0])


def assert_scores(network, texts, groups):
    """In groups, ungrouped, in reverse: always as each text alone."""
    with torch.no_grad():
        expected = torch.tensor([alone(network, text) for text in texts])
        assert float(expected.max() - expected.min()) > 0.2  # else this could not fail
        ways = {
            "together": network(texts, groups),
            "apart": network(texts, [[i] for i in range(len(texts))]),
            "backwards": network(texts[::-1], [[len(texts) - 1 - i for i in group] for group in groups[::-1]]).flip(0),
        }
    for way, seen in ways.items():
        torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0, msg=lambda said, way=way: f"{way}: {said}")


@pytest.mark.parametrize("head", ["last", "tokens"])
@pytest.mark.parametrize(("family", "changes", "shares"), FAMILIES, ids=NAMES)
def test_scores_are_those_of_each_text_alone(family, changes, shares, head):
    """With padding, in any order and batch, for families that can share prompts and those that cannot."""
    network = reward_model(family, head, tuple(changes.items()))
    assert network.causal
    assert network.shares == shares
    assert_scores(network, *some_texts(longest=26))


def test_texts_of_a_prompt_share_a_row():
    """Guards against sharing that never happens: scores would be right, and training slow."""
    network, (texts, groups), seen = reward_model("llama", "last"), some_texts(), []
    hook = network.trunk.register_forward_pre_hook(
        lambda _, __, inputs: seen.append(inputs["input_ids"]), with_kwargs=True
    )
    with torch.no_grad():
        network(texts, groups)
    hook.remove()
    assert sum(len(ids) for ids in seen) == len(groups)


@pytest.mark.parametrize("head", ["last", "tokens"])
def test_eager_attention(head):
    """Its mask is added to the logits, not boolean."""
    network = copy.deepcopy(reward_model("llama", head))
    network.trunk.set_attn_implementation("eager")
    network = RewardNetwork(network.model, network.values)
    assert network.shares
    assert_scores(network, *some_texts())


@pytest.mark.parametrize("head", ["last", "tokens"])
def test_small_batches(head, monkeypatch):
    """Guards against scores assigned to other texts where a forward takes only some of them."""
    monkeypatch.setattr(network_module, "TOKENS_AT_ONCE", {"cpu": 40})
    assert_scores(reward_model("gpt2", head), *some_texts())


@pytest.mark.parametrize("head", ["last", "tokens"])
def test_encoder(head):
    network = encoder(head)
    assert not network.causal
    assert not network.shares
    texts, groups = some_texts()
    texts = [Text(t.tokens, t.start, t.end, (np.arange(len(t.tokens)) >= t.start).astype(np.int64)) for t in texts]
    assert_scores(network, texts, groups)
    with torch.no_grad():
        plain = network([Text(t.tokens, t.start, t.end) for t in texts], groups)
        assert (plain - network(texts, groups)).abs().max() > 0.01  # the segments matter


def test_gradients_are_those_of_each_text_alone():
    """Guards against a shared prompt whose gradient counts once."""
    network, (texts, groups) = copy.deepcopy(reward_model("llama", "tokens")), some_texts()
    weights = torch.randn(len(texts), generator=torch.Generator().manual_seed(3))
    found = []
    for parts in (groups, [[i] for i in range(len(texts))]):
        network.requires_grad_(True).zero_grad()
        (weights * network(texts, parts)).sum().backward()
        found.append({name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None})
    assert len(found[0]) > 10
    for name, slope in found[1].items():
        torch.testing.assert_close(found[0][name], slope, atol=1e-4, rtol=1e-4)


class TestHeads:
    @torch.no_grad()
    def test_contributions_sum_to_the_score(self):
        texts, _ = some_texts()
        for network in (reward_model("gpt2", "tokens"), reward_model("bloom", "tokens"), encoder("tokens")):
            for text in texts:
                added = network.contributions(text)
                assert len(added) == text.end - text.start
                assert float(added.sum()) == pytest.approx(float(network([text], [[0]])), abs=1e-5)

    @torch.no_grad()
    def test_empty_response(self):
        texts = [Text(np.array([3, 4]), 2, 2), Text(np.array([3, 4, 5]), 2, 3)]
        network = reward_model("gpt2", "tokens")
        scores = network(texts, [[0, 1]])
        assert float(scores[0]) == 0
        assert float(scores[1]) == pytest.approx(alone(network, texts[1]), abs=1e-5)

    def test_projected_states(self):
        """The smallest OPTs project their last states down."""
        trunk = tiny_model("opt").base_model
        assert state_width(trunk) == 24 != trunk.config.hidden_size
        assert state_width(tiny_model("llama").base_model) == 32

    def test_label_score(self):
        logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        p = logits.softmax(1)
        for label in range(3):
            torch.testing.assert_close(label_score(logits, label), (p[:, label] / (1 - p[:, label])).log())
        torch.testing.assert_close(label_score(logits[:, :2], None), logits[:, 1] - logits[:, 0])
        torch.testing.assert_close(label_score(logits[:, :2], 0), logits[:, 0] - logits[:, 1])
        assert torch.equal(label_score(logits[:, :1], None), logits[:, 0])

    def test_dropout_keeps_the_mean(self):
        dropout = Dropout(0.3, torch.Generator().manual_seed(0))
        kept = dropout(torch.ones(100_000))
        torch.testing.assert_close(kept.unique(), torch.tensor([0, 1 / 0.7]))
        assert float(kept.mean()) == pytest.approx(1, abs=0.01)

    @pytest.mark.parametrize("head", ["last", "tokens"])
    @torch.no_grad()
    def test_dropout_depends_on_the_seed(self, head):
        network, (texts, groups) = reward_model("gpt2", head), some_texts()
        seeds = (1, 1, 2)
        first, again, other = [
            network(texts, groups, Dropout(0.5, torch.Generator().manual_seed(seed))) for seed in seeds
        ]
        assert torch.equal(first, again)
        assert (first - other).abs().max() > 0.01
        torch.testing.assert_close(
            network(texts, groups, Dropout(0.0, torch.Generator())), network(texts, groups), atol=1e-6, rtol=0
        )
