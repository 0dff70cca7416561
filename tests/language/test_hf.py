"""Private names of Hugging Face and torch are used in one module, and no model of the caller's is changed."""

import ast
from pathlib import Path

import torch

import textrlhf
from textrlhf.language import CausalLM
from textrlhf.language.hf import ready_to_run, with_parameters_of
from tiny_models import tiny_model, word_tokenizer

LIBRARY = Path(textrlhf.__file__).parent
FOREIGN = {
    "_attn_implementation", "_buffers", "_C", "_modules", "_parameters", "_parametrizations", "NewGELUActivation",
}  # fmt: skip


def test_only_hf_uses_private_names():
    for folder in ("agents", "envs", "language", "pipeline", "records", "reward_models"):
        for path in (LIBRARY / folder).rglob("*.py"):
            if path.name == "hf.py":
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                name = getattr(node, "attr", None) if isinstance(node, ast.Attribute) else getattr(node, "name", None)
                assert name not in FOREIGN, f"{path.relative_to(LIBRARY)}: {name} belongs into language/hf.py"


def test_a_ready_model_is_used_as_it_is():
    model = ready_to_run(tiny_model("gpt2"))
    assert ready_to_run(model) is model
    assert CausalLM(model, word_tokenizer()).model is model
    llama = tiny_model("llama")
    assert ready_to_run(llama) is llama


def test_the_callers_model_is_not_changed():
    model = tiny_model("gpt2").requires_grad_(True).train()
    before = [type(module) for module in model.modules()]
    lm = CausalLM(model, word_tokenizer())
    assert [type(module) for module in model.modules()] == before
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in lm.model.modules())
    for one, other in zip(model.parameters(), lm.model.parameters(), strict=True):
        assert one is other
    ids = torch.tensor([[2, 3, 4]])
    torch.testing.assert_close(model.eval()(ids).logits, lm.model(ids).logits, atol=1e-5, rtol=0)


def test_frozen_copies_share_the_weights():
    model = tiny_model("gpt2").requires_grad_(True)
    frozen = with_parameters_of(model, frozen=True)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert frozen.lm_head.weight is frozen.transformer.wte.weight  # still tied
    with torch.no_grad():
        model.lm_head.weight.add_(1)
    assert torch.equal(frozen.lm_head.weight, model.lm_head.weight)
