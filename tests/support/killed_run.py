"""Run as a script: trains with a run folder and kills itself, with SIGKILL, at a given point.

python killed_run.py FOLDER step 400      in the environments' 400th step
python killed_run.py FOLDER sync 9        at the 9th fsync: inside the writing of a checkpoint
python killed_run.py FOLDER rename 5      right after the 5th rename
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from textrlhf.agents import PPO
from textrlhf.agents.environment import adapter
from textrlhf.records import folder, saving_budget

SETTINGS = {
    "n_envs": 2,
    "n_steps": 16,
    "batch_size": 16,
    "n_epochs": 2,
    "seed": 4,
    "policy": "gru",
    "normalize_observation": True,
    "normalize_reward": True,
    "lr_schedule": "linear",
    "checkpoint_every": 163,
}
STEPS = 1300


def fresh() -> PPO:
    return PPO("CartPole-v1", **SETTINGS)


def killing(owner: object, name: str, at: int) -> None:
    original, calls = getattr(owner, name), [0]

    def wrapped(*args, **kwargs):
        result = original(*args, **kwargs)
        calls[0] += 1
        if calls[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, wrapped)


if __name__ == "__main__":
    run, where, at = sys.argv[1:]
    owner, name = {"step": (adapter.EnvAdapter, "step"), "sync": (folder, "sync"), "rename": (Path, "rename")}[where]
    saving_budget.ALLOWANCE = float("inf")
    killing(owner, name, int(at))
    fresh().learn(STEPS, run=run, progress=False)
    raise SystemExit("was not killed")
