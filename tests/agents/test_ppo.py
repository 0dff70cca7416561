"""PPO's arithmetic: the ratio, the loss and its gradients, truncation, determinism."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from textrlhf.agents import PPO
from textrlhf.records.progress import Stopwatch
from textrlhf.records.run import DivergedError

MODES = list(AutoresetMode)


class Spaces(gym.Env):
    """Random observations and rewards in any spaces."""

    metadata = {"render_modes": []}

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        draw = self.np_random.random(3)
        return self.observation_space.sample(), float(draw[0]), bool(draw[1] < 0.1), bool(draw[2] < 0.1), {}


BOX = spaces.Box(-1, 1, (3,), np.float32)
OBSERVATIONS = {
    "box": BOX,
    "image": spaces.Box(0, 255, (12, 12, 3), np.uint8),
    "discrete": spaces.Discrete(5, start=2),
    "multidiscrete": spaces.MultiDiscrete([[2, 3], [4, 5]]),
    "multibinary": spaces.MultiBinary(4),
    "dict": spaces.Dict({"a": BOX, "b": spaces.Discrete(3)}),
    "tuple": spaces.Tuple((spaces.Discrete(3), spaces.Dict({"x": BOX, "y": spaces.MultiBinary(2)}))),
}
ACTIONS = {
    "discrete": spaces.Discrete(4, start=-1),
    "multidiscrete": spaces.MultiDiscrete([2, 3, 4]),
    "multibinary": spaces.MultiBinary((2, 2)),
    "box": spaces.Box(-2, 2, (2,), np.float32),
}


PAIRS = [(observation, "discrete") for observation in OBSERVATIONS] + [("box", action) for action in ACTIONS]


@pytest.mark.parametrize("policy", ["mlp", "gru"])
@pytest.mark.parametrize(
    ("observation", "action", "mode"),
    [
        *((*pair, MODES[i % 3]) for i, pair in enumerate(PAIRS)),
        *(("dict", "multidiscrete", mode) for mode in MODES),
    ],
)
def test_first_ratio_is_one(observation: str, action: str, mode: AutoresetMode, policy: str) -> None:
    """Design §7.1, with observation statistics that change between rollouts."""
    env = SyncVectorEnv([lambda: Spaces(OBSERVATIONS[observation], ACTIONS[action])] * 3, autoreset_mode=mode)
    agent = PPO(env, policy=policy, n_steps=16, batch_size=24, n_epochs=2, normalize_observation=True, seed=0)
    agent.cut(None)
    for _ in range(3):
        assert agent.advance(1.0, Stopwatch())["train/first_ratio_error"] < 1e-5


def test_loss_and_gradients_equal_sb3(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same batch and weights SB3's update has the same gradients to 1e-6."""
    from stable_baselines3 import PPO as SB3
    from stable_baselines3.common.logger import configure

    settings = {"n_steps": 64, "batch_size": 64, "n_epochs": 1, "ent_coef": 0.01, "max_grad_norm": 1e9}
    ours = PPO("CartPole-v1", n_envs=1, seed=0, **settings)
    theirs = SB3("MlpPolicy", gym.make("CartPole-v1"), seed=0, device="cpu", **settings)
    theirs.set_logger(configure(None, []))
    pairs = list(
        zip(
            [*ours.policy.actor.parameters(), *ours.policy.critic.parameters()],
            [
                *theirs.policy.mlp_extractor.policy_net.parameters(),
                *theirs.policy.action_net.parameters(),
                *theirs.policy.mlp_extractor.value_net.parameters(),
                *theirs.policy.value_net.parameters(),
            ],
            strict=True,
        )
    )
    ours.cut(None)
    rollout = ours.collect(Stopwatch())
    rollout.estimate_advantages(0.99, 0.95)
    # Move the weights off the point of collection, so that ratios differ from 1 and some are clipped.
    for mine, other in pairs:
        mine.data += 0.1 * torch.randn(mine.shape, generator=torch.Generator().manual_seed(mine.numel()))
        other.data.copy_(mine.data)
    keep = torch.from_numpy(np.flatnonzero(rollout.valid))
    batch = next(iter(rollout.minibatches(64, np.random.default_rng(0))))

    class Sample:
        observations, actions = batch.observations[0], batch.actions[:, None].float()
        old_values, old_log_prob = batch.values, batch.log_probs
        advantages, returns = batch.advantages, batch.returns

    class Buffer:
        def get(self, size):
            yield Sample

        values, returns = batch.values.numpy(), batch.returns.numpy()

    theirs.rollout_buffer = Buffer()
    theirs._current_progress_remaining = 1.0
    monkeypatch.setattr(theirs.policy.optimizer, "step", lambda: None)
    theirs.train()
    monkeypatch.setattr(ours.optimizer, "descend", lambda learning_rate: None)
    metrics = ours.update(rollout, 1.0)
    assert len(keep) == len(batch.actions)
    assert 0 < metrics["train/clip_fraction"] < 1
    for mine, other in pairs:
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-6, rtol=1e-5)
    logged = theirs.logger.name_to_value
    assert metrics["train/policy_loss"] == pytest.approx(logged["train/policy_gradient_loss"], abs=1e-6)
    assert metrics["train/value_loss"] == pytest.approx(logged["train/value_loss"], rel=1e-6)
    assert metrics["train/clip_fraction"] == pytest.approx(logged["train/clip_fraction"], abs=1e-6)


class Endless(gym.Env):
    """An endless reward of 1: with γ = 0.98 its value is 1/(1−γ) = 50."""

    metadata = {"render_modes": []}
    observation_space = spaces.Box(1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.ones(1, np.float32), {}

    def step(self, action):
        return np.ones(1, np.float32), 1.0, False, False, {}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_value_of_endless_reward_is_fifty_despite_truncation(mode: AutoresetMode) -> None:
    """Design §7.7: the time limit truncates; treated as a termination V would stay below 10."""
    env = SyncVectorEnv([lambda: TimeLimit(Endless(), 10)] * 4, autoreset_mode=mode)
    agent = PPO(env, n_steps=64, batch_size=64, gamma=0.98, gae_lambda=0.95, learning_rate=1e-2, vf_coef=1.0, seed=0)
    agent.learn(64 * 4 * 60, progress=False)
    assert agent.value(np.ones(1, np.float32)) == pytest.approx(50, abs=1.0)


def test_autoreset_modes_give_the_same_advantages() -> None:
    """Without NEXT_STEP's reset steps the advantages of all modes agree."""
    found = []
    for mode in MODES:
        env = SyncVectorEnv([lambda: TimeLimit(Endless(), 7)], autoreset_mode=mode)
        agent = PPO(env, n_steps=64, gamma=0.98, seed=0)
        agent.cut(None)
        rollout = agent.collect(Stopwatch())
        rollout.estimate_advantages(0.98, 0.95)
        found.append(rollout.advantages[rollout.valid][:42])  # six whole episodes
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert torch.allclose(found[1], found[2], atol=1e-5)


def weights(agent: PPO) -> torch.Tensor:
    return agent.optimizer.flat.detach().clone()


@pytest.mark.parametrize("policy", ["mlp", "gru"])
@pytest.mark.slow
def test_same_seed_same_run(policy: str) -> None:
    """Design §7.9, whatever the state of global generators; another seed differs."""
    runs = []
    for seed, noise in ((7, 0), (7, 1), (8, 0)):
        torch.manual_seed(noise)
        agent = PPO("CartPole-v1", seed=seed, n_steps=32, policy=policy, normalize_reward=True)
        runs.append(weights(agent.learn(600, progress=False)))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_training_leaves_global_generators_and_threads() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    threads = torch.get_num_threads()
    PPO("CartPole-v1", seed=1, n_steps=32).learn(500, progress=False)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_infinite_loss_raises() -> None:
    agent = PPO("CartPole-v1", n_steps=32, seed=0)
    agent.cut(None)
    rollout = agent.collect(Stopwatch())
    rollout.estimate_advantages(0.99, 0.95)
    rollout.returns[3, 1] = float("inf")
    with pytest.raises(DivergedError, match="update 0 is not finite"):
        agent.update(rollout, 1.0)


def test_target_kl_stops_the_update() -> None:
    def approx_kl(target: float | None) -> float:
        agent = PPO("CartPole-v1", n_steps=64, seed=0, learning_rate=1e-2, n_epochs=20, target_kl=target)
        agent.cut(None)
        return max(agent.advance(1.0, Stopwatch())["train/approx_kl"] for _ in range(4))

    assert approx_kl(0.01) < 0.02 < approx_kl(None)


def test_value_clipping_stops_the_gradient() -> None:
    """The gradient is zero once the value has moved beyond the range towards its target."""
    agent = PPO("CartPole-v1", n_steps=32, seed=0, clip_range_vf=1e-6)
    agent.cut(None)
    rollout = agent.collect(Stopwatch())
    rollout.estimate_advantages(0.99, 0.95)
    batch = next(iter(rollout.minibatches(10_000, np.random.default_rng(0))))
    value = (batch.values + torch.sign(batch.returns - batch.values) * 0.01).requires_grad_()
    agent.value_loss(value, batch).backward()
    assert value.grad is not None
    assert not value.grad.any()


def test_box_actions_are_stored_unclipped() -> None:
    agent = PPO("Pendulum-v1", n_steps=64, n_envs=2, log_std_init=2.0, seed=0)
    agent.cut(None)
    rollout = agent.collect(Stopwatch())
    assert rollout.actions.abs().max() > 2  # torques beyond the limit; Spaces.step above asserts what is sent


def test_schedules_are_applied() -> None:
    agent = PPO("CartPole-v1", n_steps=32, seed=0, lr_schedule="linear", clip_schedule="linear")
    agent.cut(None)
    early, late = agent.advance(1.0, Stopwatch()), agent.advance(0.1, Stopwatch())
    assert late["train/learning_rate"] == pytest.approx(0.1 * early["train/learning_rate"])
    assert late["train/clip_range"] == pytest.approx(0.1 * early["train/clip_range"])


def test_the_range_of_a_box_does_not_matter() -> None:
    """Unscaled, a policy of width 1 hardly moved in Box(-100, 100)."""

    class Aim(gym.Env[Any, Any]):
        observation_space = gym.spaces.Box(-1, 1, (1,))

        def __init__(self, limit: float) -> None:
            self.limit, self.action_space = limit, gym.spaces.Box(-limit, limit, (1,))

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
            super().reset(seed=seed)
            return np.zeros(1, np.float32), {}

        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            return np.zeros(1, np.float32), -abs(float(action[0]) / self.limit - 0.5), True, False, {}

    found = []
    for limit in (1.0, 100.0):
        agent = PPO(lambda limit=limit: Aim(limit), n_envs=4, n_steps=64, learning_rate=3e-3, seed=0)
        agent.learn(2048, progress=False)
        action, _ = agent.predict(np.zeros(1, np.float32), deterministic=True)
        found.append([agent.episodes.metrics()["rollout/return"], action[0] / limit])
    assert found[0][1] > 0.3
    assert found[0] == pytest.approx(found[1], abs=1e-3)
