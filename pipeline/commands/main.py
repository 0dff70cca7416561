"""The command `textrlhf`: its subcommands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..console.dispatch import run_command
from ..console.errors import UserError, files_as_user_errors

COMMANDS = {
    "demo": ("demo", "train a language model to please a reward model, in three minutes: start here"),
    "train": ("train", "train an agent on an environment"),
    "resume": ("resume", "finish a run that was interrupted"),
    "evaluate": ("play", "play episodes without training, and print the scores"),
    "watch": ("play", "watch an agent play"),
    "profile": ("profile", "show where the time of an agent's rollouts and updates goes"),
    "write": ("write", "continue a prompt with a trained language model"),
    "data": ("data", "describe a data set, or convert it: preferences, ratings, conversations in any usual form"),
    "chat": ("chat", "talk with a trained language model"),
    "reward": ("reward.main", "train, evaluate and use reward models"),
    "envs": ("listing", "list environments with tuned hyperparameters, or all"),
    "agents": ("listing", "list the agents"),
}
EXAMPLES = (
    "textrlhf demo",
    "textrlhf train --agent ppo --env CartPole-v1 --steps 100000 --seed 0 --run runs/cartpole",
    "textrlhf evaluate runs/cartpole",
    "textrlhf reward train prefs.jsonl --model reviews --run runs/my-reward-model",
)
ABOUT = "Reinforcement learning on any Gymnasium environment, control or text."
NOTE = "What you can correct is reported in one line; with TEXTRLHF_TRACEBACK=1 it shows where it was raised, too."


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line; a mistake of the user ends it with one line and status 2."""
    try:
        with files_as_user_errors():
            _run(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        if os.environ.get("TEXTRLHF_TRACEBACK"):
            raise
        print(f"textrlhf: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt:
        print("textrlhf: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # as from `| head`; what is still buffered must not raise at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _run(argv: Sequence[str]) -> None:
    if list(argv[:1]) == ["--version"]:
        from ... import __version__

        print(f"textrlhf {__version__}")
    else:
        run_command(argv, "textrlhf", __package__ or "", COMMANDS, about=ABOUT, examples=EXAMPLES, note=NOTE)
