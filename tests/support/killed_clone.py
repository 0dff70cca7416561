"""Run as a script: clones with a run folder and kills itself at a given point; see killed_run.

python killed_clone.py FOLDER step 70      after the 70th step of the optimiser
python killed_clone.py FOLDER sync 9       at the 9th fsync
python killed_clone.py FOLDER rename 5     right after the 5th rename
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from killed_run import killing
from textrlhf.agents import Clone, Demonstrations, Episode
from textrlhf.agents.training import optimizer as flat
from textrlhf.records import folder, saving_budget

STEPS = 1000


def demonstrations() -> Demonstrations:
    rng = np.random.default_rng(0)
    episodes = []
    for length in rng.integers(5, 40, 20):
        seen = rng.normal(size=(length, 4)).astype(np.float32)
        episodes.append(Episode((seen,), (seen[:, 2] > 0).astype(np.int64)))
    return Demonstrations(episodes)


def fresh(policy: str = "gru") -> Clone:
    return Clone(
        "CartPole-v1",
        demonstrations=demonstrations(),
        policy=policy,
        seed=4,
        batch_size=32,
        memory_size=16,
        net_arch=(16,),
        normalize_observation=True,
        warmup=5,
        checkpoint_every=213,
    )


if __name__ == "__main__":
    run, where, at = sys.argv[1:]
    owner, name = {"step": (flat.FlatAdam, "step"), "sync": (folder, "sync"), "rename": (Path, "rename")}[where]
    saving_budget.ALLOWANCE = float("inf")
    killing(owner, name, int(at))
    fresh().learn(STEPS, run=run, progress=False)
    raise SystemExit("was not killed")
