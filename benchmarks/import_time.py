"""What `import textrlhf` costs beside `import gymnasium`, each in a fresh process, in turn.

    python benchmarks/import_time.py

Prints one JSON line; the ratio is that of the medians, without the interpreter's own start.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(module: str) -> float:
    return float(subprocess.run([sys.executable, "-c", CODE.format(module)], capture_output=True, check=True).stdout)


def main() -> None:
    pairs = [(seconds("gymnasium"), seconds("textrlhf")) for _ in range(16)][1:]
    gymnasium, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    figures = {"gymnasium": round(gymnasium, 3), "textrlhf": round(ours, 3), "ratio": round(ours / gymnasium, 3)}
    print(json.dumps({"benchmark": "import_time", **figures}))


if __name__ == "__main__":
    main()
