"""Resident memory over a run of a million steps, with a folder, checkpoints and evaluations: it must not grow.

    python benchmarks/memory_flat.py            # some three minutes
    python benchmarks/memory_flat.py 200000

Prints one JSON line: MiB at every tenth of the way, and the growth from the second tenth to the last.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from pathlib import Path

from textrlhf.agents import PPO, Callback, Evaluate


def resident() -> float:
    """This process's resident memory in MiB."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS: the peak, in bytes


class Watch(Callback):
    def __init__(self, total: int) -> None:
        self.every, self.mib = total // 10, []

    def on_update(self, agent, metrics) -> bool:
        if agent.num_timesteps >= self.every * (len(self.mib) + 1):
            self.mib.append(round(resident(), 1))
        return True


def main() -> None:
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    watch = Watch(total)
    agent = PPO("CartPole-v1", n_envs=16, n_steps=64, n_epochs=2, batch_size=512, seed=0)
    with tempfile.TemporaryDirectory() as run:
        agent.learn(total, run=run, progress=False, callbacks=[watch, Evaluate(total // 20, 10)])
    growth = round(watch.mib[-1] - watch.mib[1], 1)
    print(json.dumps({"benchmark": "memory_flat", "steps": total, "mib": watch.mib, "growth": growth}))


if __name__ == "__main__":
    main()
