"""Language-model policies: acting, evaluation and values against float64 forwards of single texts."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from gymnasium import spaces

from textrlhf.agents.environment.masks import pack
from textrlhf.agents.experience.rollout import Rollout
from textrlhf.agents.policies import LanguageModelPolicy
from textrlhf.agents.training.optimizer import FlatAdam, load_own_tensors, own_tensors
from textrlhf.language import CausalLM, load
from tiny_models import V, tiny_lm, tiny_model, word_tokenizer

pytestmark = pytest.mark.slow

FAMILIES = ["gpt2", "llama", "opt", "bloom", "gemma2"]  # the last two on the column cache
N, CONTEXT = 4, 24
OBSERVATIONS, ACTIONS = spaces.Box(-1, V - 1, (CONTEXT,), np.int64), spaces.Discrete(V)


def fresh(family: str = "gpt2", **options) -> LanguageModelPolicy:
    return LanguageModelPolicy(OBSERVATIONS, ACTIONS, tiny_lm(family), **options)


def moved(family: str = "gpt2", size: float = 0.1, **options) -> LanguageModelPolicy:
    """A policy that has learned something, also about values."""
    policy, draws = fresh(family, **options), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=draws))
    return policy


def lms_of(policy: LanguageModelPolicy) -> list[CausalLM]:
    return [policy.lm, policy.critic_lm] if policy.critic_lm else [policy.lm]


def texts_of(rng, n: int = N) -> np.ndarray:
    texts = np.full((n, CONTEXT), -1, np.int64)
    for text in texts:
        length = rng.integers(1, 9)
        text[:length] = rng.integers(2, V, length)
    return texts


class Oracle:
    """The same weights in float64, one whole text at a time."""

    def __init__(self, policy: LanguageModelPolicy) -> None:
        self.lm = copy.deepcopy(policy.lm.model).double()
        separate = policy.critic_lm
        self.trunk = copy.deepcopy(separate.trunk).double() if separate else self.lm.base_model
        self.first, _, self.last = copy.deepcopy(policy.network["critic"]).double().layers

    @torch.no_grad()
    def log_probs(self, text: np.ndarray, allowed: np.ndarray) -> torch.Tensor:  # -> (V,)
        logits = self.lm(**self.asked(text)).logits[0, -1].masked_fill(~torch.from_numpy(allowed), -torch.inf)
        return logits.double().log_softmax(-1)

    @torch.no_grad()
    def value(self, text: np.ndarray) -> float:
        out = self.trunk(**self.asked(text), output_hidden_states=True)
        assert len(out.hidden_states) == 3
        seen = []
        for layer in (*out.hidden_states[:2], out.last_hidden_state):
            states = [state / (state.square().mean() + 1e-7).sqrt() for state in layer[0].double()]
            seen += [states[-1], sum(states) / CONTEXT**0.5]
        return float(self.last(torch.nn.functional.gelu(self.first(torch.cat(seen)))))

    def asked(self, text: np.ndarray) -> dict:
        ids = torch.from_numpy(text[text >= 0])[None]
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}


def lived(policy: LanguageModelPolicy, steps: int = 14, seed: int = 0) -> tuple[Rollout, torch.Tensor]:
    """Texts written by the policy under masks, which at times do not change, change by a few tokens, or end.

    Every act is held against the oracle; the entropies it found come with the rollout.
    """
    rng, oracle, draws = np.random.default_rng(seed), Oracle(policy), torch.Generator().manual_seed(seed)
    texts, starts, memory = texts_of(rng), np.ones(N, bool), policy.initial_memory(N)
    log = policy.new_log(memory)
    acts, masks, begun, entropies, worth = [], [], [], [], []
    for _ in range(steps):
        allowed = rng.random((N, V)) < rng.choice([0.2, 0.6, 1.0], (N, 1))
        allowed[:, 5] = True
        log.add((texts.copy(),), starts)
        act = policy.act((texts.copy(),), memory, starts, masks=allowed, generator=draws)
        memory = act.memory
        for row, text in enumerate(texts):
            log_probs = oracle.log_probs(text, allowed[row])
            assert allowed[row, act.action[row]]
            assert float(act.log_prob[row]) == pytest.approx(float(log_probs[act.action[row]]), abs=1e-5)
            entropies.append(-float((log_probs.exp() * log_probs.clamp_min(-1e9)).sum()))
            worth.append(oracle.value(text))
        acts.append(act)
        masks.append(pack(allowed))
        begun.append(starts)
        starts = rng.random(N) < 0.15
        texts = np.where(starts[:, None], texts_of(rng), texts)
        for row in np.flatnonzero(~starts):
            length, more = int((texts[row] >= 0).sum()), rng.integers(0, 3, 2).sum()
            new = np.concatenate([[int(act.action[row])], rng.integers(2, V, 4)])[:more]  # none of it at times
            if length + more <= CONTEXT:
                texts[row, length : length + more] = new
    nothing = np.zeros((steps, N))
    log.add((texts.copy(),), starts)
    worth += [0.0 if opens else oracle.value(text) for text, opens in zip(texts, starts, strict=True)]
    values = policy.values(log, acts)
    np.testing.assert_allclose(values, np.reshape(worth, (steps + 1, N)), atol=1e-5)
    rollout = Rollout(
        log=log,
        by_segments=policy.by_segments,
        actions=torch.stack([act.action for act in acts]),
        log_probs=torch.stack([act.log_prob for act in acts]),
        values=values[:-1],
        rewards=nothing,
        terminated=nothing > 0,
        truncated=nothing > 0,
        valid=nothing == 0,
        starts=np.stack(begun),
        next_values=nothing,
        masks=np.stack(masks),
        mask_width=V,
    )
    rollout.estimate_advantages(1.0, 1.0)
    return rollout, torch.tensor(entropies).reshape(steps, N)


@pytest.mark.parametrize("critic", [False, True], ids=["shared", "separate"])
@pytest.mark.parametrize("family", FAMILIES)
def test_act_and_evaluate_equal_full_forwards(family: str, critic: bool) -> None:
    """Masks of one step applied at another, states of another token, steps mixed up in a shuffled minibatch."""
    policy = moved(family, separate_critic=critic)
    rollout, entropies = lived(policy)
    rollout.advantages = entropies  # so that they come along
    seen = 0
    for batch in rollout.minibatches(20, np.random.default_rng(0)):
        new = policy.evaluate(batch)
        torch.testing.assert_close(new.log_prob, batch.log_probs, atol=1e-5, rtol=0)
        torch.testing.assert_close(new.value, batch.values, atol=1e-5, rtol=0)
        torch.testing.assert_close(new.entropy, batch.advantages, atol=1e-5, rtol=0)
        seen += len(batch.actions)
    assert seen == rollout.valid.size


@pytest.mark.parametrize("critic", [False, True], ids=["shared", "separate"])
@pytest.mark.parametrize("family", FAMILIES)
def test_value_does_not_change_the_memory(family: str, critic: bool) -> None:
    """Of some rows only, of a text that is not the one a row holds, of more texts than are read at once."""
    policy, rng = moved(family, separate_critic=critic), np.random.default_rng(3)
    oracle, texts = Oracle(policy), texts_of(rng)
    alone, disturbed = policy.initial_memory(N), policy.initial_memory(N)
    for turn in range(8):
        starts = np.full(N, turn == 0)
        acts = [policy.act((texts,), m, starts, deterministic=True) for m in (alone, disturbed)]
        assert torch.equal(acts[0].action, acts[1].action)
        assert torch.equal(acts[0].log_prob, acts[1].log_prob)
        rows = np.array([[3, 0], [1, 2]][turn % 2])
        finals = texts[rows].copy()
        finals[0, (finals[0] >= 0).sum()] = 7  # continues
        finals[1] = texts_of(rng, 1)  # another one
        for row, value in zip(finals, policy.value((finals,), disturbed, rows), strict=True):
            assert float(value) == pytest.approx(oracle.value(row), abs=1e-5)
        if turn % 3 == 0:
            policy.value((texts,), disturbed)
        for row, token in zip(texts, acts[0].action.tolist(), strict=True):
            row[(row >= 0).sum()] = token


def gradients(policy: LanguageModelPolicy, what: str) -> set[str]:
    """Names of the weights that a loss on log-probabilities or values reaches."""
    batch = next(lived(policy, steps=6)[0].minibatches(1000, np.random.default_rng(0)))
    policy.network.zero_grad()
    getattr(policy.evaluate(batch), what).square().sum().backward()
    return {name for name, p in policy.network.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
def test_losses_reach_their_own_parameters(family: str) -> None:
    """The critic leaves the policy as it is, and learns its own trunk where it has one."""
    separate, shared = moved(family, separate_critic=True), moved(family)
    names = {name for name, _ in separate.network.named_parameters()}
    reached = gradients(separate, "value")
    assert {name.split(".")[0] for name in reached} == {"critic", "critic_trunk"}
    unused = names - reached - gradients(separate, "log_prob")  # keys' biases shift all scores alike
    assert all("k_proj.bias" in name for name in unused), unused
    assert {name.split(".")[0] for name in gradients(separate, "log_prob")} == {"model"}
    assert {name.split(".")[0] for name in gradients(shared, "value")} == {"critic"}
    assert {name.split(".")[0] for name in gradients(shared, "log_prob")} == {"model"}


@pytest.mark.parametrize("critic", [False, True], ids=["shared", "separate"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
def test_policy_starts_as_a_copy(family: str, critic: bool) -> None:
    reference = tiny_lm(family)
    before, policy = reference.fingerprint(), fresh(family, separate_critic=critic)
    for lm in lms_of(policy):
        assert lm.fingerprint() == before
    assert not policy.value((texts_of(np.random.default_rng(0)),), policy.initial_memory(N)).any()
    FlatAdam(policy.network).flat.add_(0.1)  # every weight of the policy is a view of this, and none of the reference's
    assert all(lm.fingerprint() != before for lm in lms_of(policy))
    assert reference.fingerprint() == before
    assert not any(parameter.requires_grad for parameter in reference.model.parameters())


@pytest.mark.parametrize("critic", [False, True], ids=["shared", "separate"])
@pytest.mark.parametrize("family", ["gpt2", "opt", "bloom"])
def test_tied_weights_stay_tied(family: str, critic: bool, tmp_path) -> None:
    """Also through Adam's one tensor, a checkpoint, and a Hugging Face folder; nothing is kept twice."""
    policy = moved(family, separate_critic=critic)
    adam = FlatAdam(policy.network)
    model = policy.lm.model
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    adam.flat.mul_(1.1)
    assert torch.equal(model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    tensors = {name: tensor.clone() for name, tensor in own_tensors(policy.network).items()}
    assert sum(t.numel() for t in tensors.values()) == len(adam.flat) + sum(
        b.numel() for name, b in policy.network.named_buffers() if name in tensors
    )
    other = fresh(family, separate_critic=critic)
    FlatAdam(other.network)
    load_own_tensors(other.network, tensors)
    texts = (texts_of(np.random.default_rng(0)),)
    mine, theirs = (p.value(texts, p.initial_memory(N)) for p in (policy, other))
    assert torch.equal(mine, theirs)
    assert other.lm.fingerprint() == policy.lm.fingerprint()
    policy.export(tmp_path)
    assert load(tmp_path / "model").fingerprint() == policy.lm.fingerprint()


def test_weights_are_float32() -> None:
    """Adam's small steps would be lost in halves; and a critic's head, which is no part of the network, comes along."""
    half = CausalLM(tiny_model("llama").to(torch.bfloat16), word_tokenizer())
    policy = LanguageModelPolicy(OBSERVATIONS, ACTIONS, half, separate_critic=True)
    FlatAdam(policy.network)
    policy.act((texts_of(np.random.default_rng(0)),), policy.initial_memory(N), np.ones(N, bool))
    assert {p.dtype for lm in lms_of(policy) for p in lm.model.parameters()} == {torch.float32}
    assert half.model.dtype is torch.bfloat16


def test_to_device_moves_everything() -> None:
    """The critic's head stayed behind, and its memory could not be proved on the other device."""
    policy = fresh("llama", separate_critic=True)
    policy.to_device(torch.device("meta"))
    assert {p.device.type for lm in lms_of(policy) for p in lm.model.parameters()} == {"meta"}


def test_autocast_does_not_keep_old_weights() -> None:
    """An update lies within one autocast, which keeps its halves of the weights: of those before the first step."""
    policy = moved("llama")
    batch = next(lived(policy, steps=6)[0].minibatches(1000, np.random.default_rng(0)))
    adam = FlatAdam(policy.network)
    with torch.autocast("cpu", torch.bfloat16):
        before = policy.evaluate(batch).log_prob
        adam.add(-before.mean())
        adam.step(1e-2, 1.0)
        within = policy.evaluate(batch).log_prob.detach()
    with torch.autocast("cpu", torch.bfloat16):
        after = policy.evaluate(batch).log_prob.detach()
    assert float((before.detach() - after).abs().mean()) > 0.02
    assert torch.equal(within, after)


def test_values_are_float32_under_autocast() -> None:
    policy = moved("llama")
    policy.network["critic"].layers[-1].bias.data.fill_(300.0)  # where bfloat16 counts by twos
    texts, memory = (texts_of(np.random.default_rng(0)),), policy.initial_memory(N)
    exact = policy.value(texts, memory)
    with torch.autocast("cpu", torch.bfloat16):
        valued = policy.value(texts, memory)
    assert valued.dtype is torch.float32
    assert float((valued - exact).abs().max()) < 0.1


@pytest.mark.parametrize(
    ("observations", "actions", "reference", "message"),
    [
        (spaces.Box(-1, V - 1, (200,), np.int64), ACTIONS, None, "up to 200 tokens, .* has 128 positions: lower"),
        (
            OBSERVATIONS,
            spaces.Discrete(V + 9),
            None,
            f"action space is Discrete\\({V + 9}\\).* accepts Discrete\\({V}\\)",
        ),
        (OBSERVATIONS, spaces.Discrete(V, start=1), None, "accepts Discrete\\(40\\)"),
        (OBSERVATIONS, spaces.Box(-1, 1, (V,)), None, "accepts Discrete\\(40\\)"),
        (
            spaces.Box(-1, 1, (4,)),
            ACTIONS,
            None,
            r"reads token ids: accepted are observations Box\(-1, V-1, \(context,\)",
        ),
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), ACTIONS, None, "reads token ids"),
        (spaces.Discrete(V), ACTIONS, None, "reads token ids"),
        (OBSERVATIONS, ACTIONS, "gpt2", r"reference_model is a str: .* accepts a textrlhf.language.CausalLM"),
    ],
)
def test_mismatched_environment_is_refused(observations, actions, reference, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LanguageModelPolicy(observations, actions, reference or tiny_lm())
