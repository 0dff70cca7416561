"""Put finished runs of the example into runs/reference/real: python examples/real/reference.py

results.json     each seed's figures, their means, and texts before and after of the first seed
seed-0.png …     the learning curves
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from textrlhf.records.folder import write_file

REFERENCE = Path(__file__).resolve().parents[2] / "runs" / "reference" / "real"


def collected(runs: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The results of several seeds as one."""
    first = next(iter(runs.values()))
    return {
        "command": "python examples/real --seed N for each seed, then python examples/real/reference.py --seeds N …",
        "seeds": list(runs),
        "mean": {
            when: {
                name: round(float(np.mean([run[when][name][0] for run in runs.values()])), 4) for name in first[when]
            }
            for when in ("before", "after")
        },
        "runs": [{name: value for name, value in run.items() if name != "texts"} for run in runs.values()],
        "texts": first["texts"],
    }


def main() -> None:
    """Collect the seeds that are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/real"), help="the folder of runs and material")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    runs = {}
    for seed in options.seeds:
        folder = options.run / f"seed-{seed}"
        if not (folder / "results.json").exists():
            parser.error(f"seed {seed} is not done: python examples/real --seed {seed}")
        runs[seed] = json.loads((folder / "results.json").read_text())
        REFERENCE.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "ppo" / "curves.png", REFERENCE / f"seed-{seed}.png")
    write_file(REFERENCE / "results.json", json.dumps(collected(runs), indent=1) + "\n")


if __name__ == "__main__":
    main()
