"""A real language model, real people's ratings, one command: python examples/real

SmolLM2 (135 million weights) is cloned on snippets of film reviews, a reward model learns from people's ratings of
other snippets, and PPO makes the model write what these people liked. See docs/real.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from page import write_page
from stages import SIZES, RealRun


def main() -> None:
    """Run all stages that are not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/real"), help="the folder of runs and material")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a small part of everything, to see that it works")
    options = parser.parse_args()
    size = "quick" if options.quick else "full"
    folder = options.run / f"{'quick-' if options.quick else ''}seed-{options.seed}"
    run = RealRun(folder, options.run / "material", options.seed, SIZES[size])
    results = run.results()
    print(f"\nthe page of results: {write_page(folder, results)}")


if __name__ == "__main__":
    main()
