"""Sizes of forwards follow model and memory; gradient checkpointing changes memory only."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from textrlhf.language import CausalLM, LanguageError
from textrlhf.language.logprobs import TOKENS_AT_ONCE, read_layers, reading_tokens
from textrlhf.language.sizes import kept_per_token, recompute_activations, training_tokens
from tiny_models import ON_COLUMNS, ON_SLOTS, tiny_model, word_tokenizer

FAMILIES = sorted({*ON_SLOTS, *ON_COLUMNS})
IDS = torch.arange(120).view(4, 30) % 38 + 2


def measured(model, backward=False) -> float:
    """Bytes per token that a forward keeps for its gradient, but for the weights."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, tuple[int, torch.Tensor]] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes(), tensor  # kept alive, so that no place is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.base_model(input_ids=IDS, attention_mask=torch.ones_like(IDS), use_cache=False)
    return sum(size for size, _ in kept.values()) / IDS.numel()


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_are_estimated(family: str) -> None:
    """Off by more than a factor of two, memory is refused that is there, or taken that is not."""
    model = tiny_model(family).requires_grad_(True)
    assert 0.5 < kept_per_token(model) / measured(model) < 2.1
    recompute_activations(model)
    assert measured(model) < 0.25 * kept_per_token(model)
    assert measured(model) < kept_per_token(model, recompute=True) < kept_per_token(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointed_gradients_are_the_same(family: str) -> None:
    """Dropout that is turned on, layers that read a changed cache, hidden states that are recorded twice."""
    plain = tiny_model(family).requires_grad_(True)
    checkpointed = copy.deepcopy(plain)
    recompute_activations(checkpointed)
    recompute_activations(checkpointed)  # once more changes nothing
    gradients = []
    for model in (plain, copy.deepcopy(checkpointed)):
        layers = read_layers(CausalLM(model, word_tokenizer()), IDS)
        assert [layer.shape for layer in layers] == [(4, 30, layer.shape[2]) for layer in layers]
        sum(layer.square().sum() for layer in layers).backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-6)
    assert len(gradients[0]) > 10


def test_models_without_such_layers_are_refused() -> None:
    with pytest.raises(LanguageError, match="gradient_checkpointing=True: Sequential has none"):
        recompute_activations(nn.Sequential(nn.Linear(2, 2)))


def test_tokens_follow_memory() -> None:
    """A number that is not the same for slightly different memory; 0; more than is fast."""
    model = tiny_model("llama")
    size = kept_per_token(model)
    found = [training_tokens(model, free=free * size) for free in (1, 300, 700, 1000, 1023, 1024, 1500, 10**6)]
    assert found == [256, 256, 512, 512, 512, 1024, 1024, 2048]
    assert training_tokens(model, recompute=True, free=700 * size) > 512
    assert training_tokens(model) == 2048


def test_reading_follows_the_model_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores whose last bits depend on the memory that is free."""
    monkeypatch.setattr("textrlhf.language.free_memory.free_memory", lambda device: 0)
    small, large = tiny_model("llama"), tiny_model("llama")
    large.config.hidden_size, large.config.num_hidden_layers = 8192, 80
    assert reading_tokens(small, TOKENS_AT_ONCE) == TOKENS_AT_ONCE["cpu"]
    assert reading_tokens(large, TOKENS_AT_ONCE) == (1 << 28) // (4 * 8192 * 100)
