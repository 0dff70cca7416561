"""The loss of cloning is the cross-entropy of the demonstrated actions."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from chat_models import chat_lm, said
from clone_envs import ROWS, TALK, some_episodes, texts
from slot_policy import SlotPolicy
from textrlhf.agents import Clone, Demonstrations, Episode, record
from textrlhf.agents.demonstrations.demonstrations import Prefixes
from textrlhf.language.fit import NextTokens, mean_loss
from textrlhf.records.progress import Stopwatch
from tiny_envs import Chatting, text_env
from tiny_models import tiny_lm
from token_env import CONTEXT, TokenEnv


def gradients(agent: Clone, monkeypatch: pytest.MonkeyPatch) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient, by name, of the next minibatch."""
    monkeypatch.setattr(agent.optimizer, "descend", lambda learning_rate: None)
    loss = agent.advance(1.0, Stopwatch())["train/loss"]
    return loss, {name: p.grad.clone() for name, p in agent.policy.network.named_parameters() if p.grad is not None}


def compare(found: dict[str, torch.Tensor], module: torch.nn.Module, prefix: str = "") -> None:
    """The gradients found equal a module's float64 ones; where that has none, they are 0."""
    largest = max(float(p.grad.abs().max()) for p in module.parameters() if p.grad is not None)
    for name, p in module.named_parameters():
        wanted = torch.zeros_like(p) if p.grad is None else p.grad
        torch.testing.assert_close(found[prefix + name].double(), wanted, rtol=1e-4, atol=2e-6 * max(largest, 1))


def flat(made: Demonstrations) -> tuple[torch.Tensor, torch.Tensor]:
    seen, actions = (
        np.concatenate(column) for column in zip(*[(e.observations[0], e.actions) for e in made.episodes], strict=True)
    )
    return torch.from_numpy(seen).double(), torch.from_numpy(actions)


def layers(mlp: Any, x: torch.Tensor) -> torch.Tensor:
    """An MLP's outputs in the precision of its weights."""
    *hidden, last = mlp.layers
    for layer in hidden:
        x = torch.tanh(F.linear(x, layer.weight, layer.bias))
    return F.linear(x, last.weight, last.bias)


@pytest.mark.parametrize("masks", [False, True])
def test_mlp_loss_and_gradients_equal_cross_entropy(masks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against float64; with masks the softmax is over allowed actions only."""
    made = some_episodes(masks)
    agent = Clone("CartPole-v1", demonstrations=made, seed=1, batch_size=100, heldout=0.0, max_grad_norm=1e9)
    agent.policy.actor.layers[-1].weight.data.mul_(100)  # its initial gain of 0.01 would hide errors
    double = copy.deepcopy(agent.policy).double()
    seen, actions = flat(made)
    logits = layers(double.actor, seen)
    if masks:
        allowed = np.concatenate([np.unpackbits(e.masks, axis=-1, count=2) for e in made.episodes]).astype(bool)
        assert not allowed.all()
        logits = logits.masked_fill(~torch.from_numpy(allowed), -torch.inf)
    loss = F.cross_entropy(logits, actions)
    loss.backward()
    found, grads = gradients(agent, monkeypatch)
    assert found == pytest.approx(float(loss.detach()), abs=1e-6)
    compare(grads, double)


def test_gru_loss_and_gradients_equal_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against float64, cell by cell, with a state reset at each episode."""
    made = some_episodes()
    agent = Clone(
        "CartPole-v1", demonstrations=made, policy="gru", seed=1, batch_size=100, heldout=0.0, max_grad_norm=1e9
    )
    agent.policy.actor.layers[-1].weight.data.mul_(100)
    double = copy.deepcopy(agent.policy).double()
    gru, total = double.grus[0], 0.0
    for episode in made.episodes:
        state = torch.zeros(agent.config.memory_size, dtype=torch.float64)
        for seen, action in zip(torch.from_numpy(episode.observations[0]).double(), episode.actions, strict=True):
            inputs = gru.weight_ih_l0 @ seen + gru.bias_ih_l0
            states = gru.weight_hh_l0 @ state + gru.bias_hh_l0
            (ir, iz, i_new), (hr, hz, h_new) = inputs.chunk(3), states.chunk(3)
            update = torch.sigmoid(iz + hz)
            state = (1 - update) * torch.tanh(i_new + torch.sigmoid(ir + hr) * h_new) + update * state
            total = total - layers(double.actor, state).log_softmax(-1)[int(action)]
    loss = total / made.n_steps
    loss.backward()
    found, grads = gradients(agent, monkeypatch)
    assert found == pytest.approx(float(loss.detach()), abs=1e-6)
    compare(grads, double)


def test_gaussian_loss_and_gradients_equal_the_density(monkeypatch: pytest.MonkeyPatch) -> None:
    made = some_episodes(space="box")
    agent = Clone(
        "Pendulum-v1", demonstrations=made, seed=1, batch_size=100, heldout=0.0, max_grad_norm=1e9, log_std_init=-0.3
    )
    double = copy.deepcopy(agent.policy).double()
    seen, actions = flat(made)
    normal = torch.distributions.Normal(layers(double.actor, seen), double.distribution.log_std.exp())
    loss = -normal.log_prob(actions.double() / 2).sum(-1).mean()  # of Box(-2, 2): the policy acts in [-1, 1]
    loss.backward()
    found, grads = gradients(agent, monkeypatch)
    assert found == pytest.approx(float(loss.detach()), abs=1e-6)
    compare(grads, double)


@pytest.mark.parametrize(
    ("rows", "family"), [(ROWS, "gpt2"), (ROWS, "llama"), (TALK, "gpt2"), (ROWS, "gemma2")], ids=str
)
def test_text_loss_is_over_response_tokens_only(rows: Any, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against float64, text by text; padding, prompt and the user's turns have no loss."""
    agent = texts(rows, family, max_grad_norm=1e9)
    lm = tiny_lm(family)
    model = copy.deepcopy(lm.model).double().requires_grad_(True)
    total, count = 0.0, 0
    for row in rows:
        ids, learned = lm.encode(row["prompt"]).tolist(), []
        for i, turn in enumerate(row.get("turns") or [row["completion"]]):
            new = lm.encode_more(turn).tolist() + ([lm.eos_ids[0]] if i % 2 == 0 else [])
            learned += range(len(ids), len(ids) + len(new)) if i % 2 == 0 else []
            ids += new
        logits = model(torch.tensor([ids])).logits[0]
        total = total + F.cross_entropy(logits[[at - 1 for at in learned]], torch.tensor(ids)[learned], reduction="sum")
        count += len(learned)
    loss = total / count
    loss.backward()
    found, grads = gradients(agent, monkeypatch)
    assert agent.num_timesteps == count
    assert found == pytest.approx(float(loss.detach()), abs=2e-6)
    compare(grads, model, "model.")
    assert not any(gradient.any() for name, gradient in grads.items() if name.startswith("critic"))


@pytest.mark.parametrize("system", ["Be brief.", "Say it at length."])
def test_of_a_conversation_only_the_assistants_turns_have_a_loss(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against float64: system, user and template are read, and are never targets."""
    lm, ended = chat_lm(), "<|im_end|>"
    talk = said("the hat?", "Here it is.", "and then?", "So.", system=system)
    env = gym.make_vec("TextRLHF-v0", 1, model=lm, prompts=["the"], reward_model="none", context=256)
    agent = Clone(env, demonstrations=[{"messages": talk}], seed=0, heldout=0.0, batch_size=1000, max_grad_norm=1e9)
    whole = lm.tokenizer.apply_chat_template(talk, tokenize=False)
    encoded = lm.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    spans = [
        (whole.index(answer + ended), whole.index(answer + ended) + len(answer + ended))
        for answer in ("Here it is.", "So.")
    ]
    places = [i for i, (a, b) in enumerate(encoded["offset_mapping"]) if any(s <= a and b <= e for s, e in spans)]
    ids = torch.tensor([encoded["input_ids"]])
    model = copy.deepcopy(lm.model).double().requires_grad_(True)
    logits = model(ids).logits[0]
    loss = F.cross_entropy(logits[[at - 1 for at in places]], ids[0, places])
    loss.backward()
    found, grads = gradients(agent, monkeypatch)
    assert agent.num_timesteps == len(places)
    assert found == pytest.approx(float(loss.detach()), abs=2e-6)
    compare(grads, model, "model.")


def test_text_loss_equals_next_token_loss() -> None:
    """Against language/fit, which pads and reads texts differently."""
    agent = texts(heldout=0.4, seed=3)
    lm = tiny_lm()
    assert len(agent._training_data().heldout.texts) == 1
    for policy_loss, episodes in (
        (agent.heldout_metrics()["heldout/loss"], agent._training_data().heldout.texts),
        (agent.advance(1.0, Stopwatch())["train/loss"], agent._training_data().dataset.texts),
    ):
        whole = [np.append(text.tokens, lm.eos_ids[0]) for ((text),) in episodes]
        starts = [int(text.lengths[0]) for ((text),) in episodes]
        assert policy_loss == pytest.approx(mean_loss(NextTokens(lm, whole, starts)), abs=2e-6)


def test_few_texts_are_memorised_and_generated() -> None:
    agent = texts(learning_rate=5e-3, lr_schedule="constant")
    first = agent.advance(1.0, Stopwatch())["train/loss"]
    agent.learn(60 * agent.epoch_steps, progress=False)
    last = agent.advance(0.0, Stopwatch())["train/loss"]
    assert first > 2
    assert last < 0.02
    lm, seen = agent.policy.lm, np.full(24, -1, np.int64)
    ids = lm.encode(ROWS[2]["prompt"])
    seen[: len(ids)], state, written, at = ids, None, [], len(ids)
    while not written or written[-1] not in lm.eos_ids:
        action, state = agent.predict(seen, state, deterministic=True)
        written.append(int(action))
        seen[at], at = action, at + 1
    assert lm.decode(written).split() == ROWS[2]["completion"].split()
    assert tiny_lm().fingerprint() == tiny_lm().fingerprint() != agent.policy.lm.fingerprint()


class SlotClone(Clone):
    """Clone with a custom policy."""

    def make_policy(self):
        return SlotPolicy()


def test_other_policies_see_texts_step_by_step() -> None:
    """A policy with its own observation log evaluates as it acts."""
    drawn = np.random.default_rng(0)
    made = record(lambda seen: int(drawn.integers(3, 6)), TokenEnv(), 6, seed=0)
    agent = SlotClone(TokenEnv(), demonstrations=made, seed=0, n_envs=1, heldout=0.0, batch_size=1000)
    total = 0.0
    for episode in made.episodes:
        memory = agent.policy.initial_memory(1)
        for t, (row, action) in enumerate(zip(episode.observations.rows(CONTEXT), episode.actions, strict=True)):
            agent.policy.act((row[None],), memory, np.array([t == 0]))
            outputs = agent.policy.actor(memory.state)
            total -= float(outputs.detach().log_softmax(-1)[0, int(action)])
    assert agent.advance(1.0, Stopwatch())["train/loss"] == pytest.approx(total / made.n_steps, abs=1e-5)


def test_heldout_accuracy_equals_stepwise_predictions() -> None:
    """The most likely tokens are the same teacher-forced and step by step."""
    agent = texts([*ROWS, *ROWS], heldout=0.4, seed=1)
    right, count = 0, 0
    for ((text),) in agent._training_data().heldout.texts:
        state, rows = None, text.rows(24)
        wanted = [*text.tokens[text.lengths[:-1]], 1]
        for row, token in zip(rows, wanted, strict=True):
            action, state = agent.predict(row, state, deterministic=True)
            right, count = right + int(action == token), count + 1
    assert agent.heldout_metrics()["heldout/accuracy"] == pytest.approx(right / count)


def test_dialogue_demonstrations_replay_in_the_environment() -> None:
    """The demonstrated tokens as actions lead the environment through the same observations."""

    class Chat(Chatting):
        def reply(self, prompt, turns, rng):
            return " a5 a6"

    env = gym.make("TextRLHF-v0", **text_env(Chat()))
    seen, _ = env.reset(seed=0)
    prompt = env.unwrapped.reference_model.decode(seen[seen >= 0])
    rows = [{"prompt": prompt, "turns": [" a7", " a5 a6", " a8 a9"]}]
    (episode,) = Demonstrations.from_texts(rows, tiny_lm(), 24).episodes
    assert isinstance(episode.observations, Prefixes)
    for row, action in zip(episode.observations.rows(24), episode.actions, strict=True):
        np.testing.assert_array_equal(seen, row)
        seen, *_ = env.step(action)


def test_windows_of_a_text_are_trained_separately() -> None:
    """In an environment that shows only the latest tokens each window is a text; the first steps share one."""
    lm, ids = tiny_lm(), [5, 9, 12, 7, 20, 31]
    windows = [ids[max(0, t - 2) : t + 1] for t in range(5)]
    seen = np.array([window + [-1] * (24 - len(window)) for window in windows])
    made = Demonstrations([Episode((seen,), np.array(ids[1:]))] * 2)
    agent = texts(made)
    wanted = []
    for window, token in zip(windows, ids[1:], strict=True):
        logits = copy.deepcopy(lm.model).double()(torch.tensor([window])).logits[0, -1]
        wanted.append(-float(logits.detach().log_softmax(-1)[token]))
    assert agent.advance(1.0, Stopwatch())["train/loss"] == pytest.approx(np.mean(wanted), abs=2e-6)
