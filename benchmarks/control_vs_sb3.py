"""PPO on CartPole-v1, side by side with Stable-Baselines3 in one process, one thread each.

    python benchmarks/control_vs_sb3.py            # about ten minutes; --quick for a look

Prints one JSON line: (a) steps/s at the RL Zoo's CartPole hyperparameters on both sides, in turn, and the ratio's
median; (b) seconds of training until 100 evaluation episodes average 475, looked at every 5,000 steps with the
looking not counted: SB3 with the zoo's hyperparameters, textrlhf with its tuned ones, a row a seed, and the ratio
of medians. Both are graded by the same function.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch
from stable_baselines3 import PPO as SB3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

import textrlhf
from textrlhf.agents import PPO, Callback

ENV, TOTAL, LOOK, GOAL = "CartPole-v1", 100_000, 5_000, 475
ZOO = {"n_steps": 32, "batch_size": 256, "n_epochs": 20, "gamma": 0.98, "gae_lambda": 0.8}


def sb3(seed: int) -> SB3:
    return SB3(
        "MlpPolicy",
        make_vec_env(ENV, 8, seed=seed),
        learning_rate=lambda remaining: 1e-3 * remaining,
        clip_range=lambda remaining: 0.2 * remaining,
        seed=seed,
        device="cpu",
        **ZOO,
    )


def ours_at_zoo(seed: int) -> PPO:
    schedules = {"lr_schedule": "linear", "clip_schedule": "linear"}
    return PPO(ENV, n_envs=8, learning_rate=1e-3, clip_range=0.2, seed=seed, **ZOO, **schedules)


def grade(predict: Callable[[np.ndarray], np.ndarray], episodes: int = 100) -> float:
    """Mean return of that many episodes, one a slot, under the deterministic policy."""
    env = gym.make_vec(ENV, num_envs=episodes, vectorization_mode="sync")
    observation, _ = env.reset(seed=1_000)
    returns, alive = np.zeros(episodes), np.ones(episodes, bool)
    while alive.any():
        observation, reward, terminated, truncated, _ = env.step(predict(observation))
        returns += reward * alive
        alive &= ~(terminated | truncated)
    return float(returns.mean())


class Clock:
    """Counts training seconds, not those spent looking."""

    def __init__(self, predict: Callable[[np.ndarray], np.ndarray]) -> None:
        self.predict, self.next = predict, LOOK
        self.seconds, self.steps, self.best = 0.0, 0, 0.0
        self._since = time.perf_counter()

    def solved(self, steps: int) -> bool:
        if steps < self.next:
            return False
        self.next += LOOK
        self.seconds += time.perf_counter() - self._since
        self.steps = steps
        score = grade(self.predict)
        self.best = max(self.best, score)
        self._since = time.perf_counter()
        return score >= GOAL

    def row(self, seed: int, done: bool) -> dict[str, float | None]:
        seconds = round(self.seconds, 2) if done else None
        return {"seed": seed, "seconds": seconds, "steps": self.steps, "best": self.best}


class LookSB3(BaseCallback):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.done = clock, False

    def _on_rollout_start(self) -> None:
        self.done = self.done or self.clock.solved(self.num_timesteps)

    def _on_step(self) -> bool:
        return not self.done


class LookOurs(Callback):
    def __init__(self, clock: Clock) -> None:
        self.clock, self.done = clock, False

    def on_update(self, agent, metrics) -> bool:
        self.done = self.clock.solved(agent.num_timesteps)
        return not self.done


def time_sb3(seed: int) -> dict[str, float | None]:
    model = sb3(seed)
    look = LookSB3(Clock(lambda observation: model.predict(observation, deterministic=True)[0]))
    model.learn(TOTAL, callback=look)
    return look.clock.row(seed, look.done)


def time_ours(seed: int) -> dict[str, float | None]:
    agent = PPO.tuned(ENV, seed=seed)
    look = LookOurs(Clock(lambda observation: agent.predict(observation, deterministic=True)[0]))
    agent.learn(TOTAL, callbacks=look, progress=False)
    return look.clock.row(seed, look.done)


def speed(learn: Callable[[int], object], steps: int) -> float:
    since = time.perf_counter()
    learn(steps)
    return steps / (time.perf_counter() - since)


def median_seconds(rows: list[dict[str, float | None]]) -> float:
    return statistics.median(row["seconds"] if row["seconds"] is not None else float("inf") for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7, help="of the speed pair")
    parser.add_argument("--seeds", type=int, default=5, help="of the time to solve")
    parser.add_argument("--quick", action="store_true", help="three short repetitions and one seed")
    options = parser.parse_args()
    steps = 2_560 if options.quick else 12_800
    repetitions, seeds = (3, 1) if options.quick else (options.repetitions, options.seeds)
    torch.set_num_threads(1)

    theirs, ours = sb3(0), ours_at_zoo(0)
    for warm_up in (theirs.learn, lambda n: ours.learn(n, progress=False)):
        warm_up(1_280)
    pairs = [
        (speed(theirs.learn, steps), speed(lambda n: ours.learn(n, progress=False), steps)) for _ in range(repetitions)
    ]
    solved = [(time_sb3(seed), time_ours(seed)) for seed in range(1, seeds + 1)]
    their_rows, our_rows = [row for row, _ in solved], [row for _, row in solved]
    result = {
        "benchmark": "control_vs_sb3",
        "versions": {"textrlhf": textrlhf.__version__, "stable_baselines3": stable_baselines3.__version__},
        "a_steps_per_second": {
            "sb3": [round(a) for a, _ in pairs],
            "textrlhf": [round(b) for _, b in pairs],
            "ratio": round(statistics.median(b / a for a, b in pairs), 2),
        },
        "b_seconds_to_475": {
            "sb3": their_rows,
            "textrlhf": our_rows,
            "ratio": round(median_seconds(their_rows) / median_seconds(our_rows), 2),
        },
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
