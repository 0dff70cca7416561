"""The command `textrlhf`: its subcommands."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from ..console.errors import UserError, did_you_mean

COMMANDS = {
    "demo": ("demo", "train a language model to please a reward model, in three minutes: start here"),
    "train": ("train", "train an agent on an environment"),
    "resume": ("resume", "finish a run that was interrupted"),
    "evaluate": ("evaluate", "play episodes without training, and print the scores"),
    "watch": ("watch", "watch an agent play"),
    "write": ("write", "continue a prompt with a trained language model"),
    "reward": ("reward.main", "train, evaluate and use reward models"),
    "envs": ("listing", "list environments with tuned hyperparameters, or all"),
    "agents": ("listing", "list the agents"),
}
"""name -> the module here with a function of that name (imported only when called), and what it does"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command line; a mistake of the user ends it with one line and status 2."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        _run(words)
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


def _run(words: list[str]) -> None:
    name = words[0] if words else "--help"
    if name in ("-h", "--help", "help"):
        _overview()
    elif name == "--version":
        from ... import __version__

        print(f"textrlhf {__version__}")
    elif name in COMMANDS:
        module = importlib.import_module(f".{COMMANDS[name][0]}", __package__)
        getattr(module, name)(words[1:])
    else:
        hint = did_you_mean(name, COMMANDS, f"there are {', '.join(COMMANDS)}")
        raise UserError(f"no command {name!r}: {hint} (textrlhf --help)")


def _overview() -> None:
    from ..console.printing import heading, key_values, line

    line("usage: textrlhf COMMAND [OPTIONS]")
    line()
    line("Reinforcement learning on any Gymnasium environment, control or text.")
    line()
    heading("Commands")
    key_values([(f"  {name}", what) for name, (_, what) in COMMANDS.items()])
    line()
    heading("Examples")
    line("  textrlhf demo")
    line("  textrlhf train --agent ppo --env CartPole-v1 --steps 100000 --seed 0 --run runs/cartpole")
    line("  textrlhf evaluate runs/cartpole")
    line("  textrlhf reward train prefs.jsonl --model reviews --run runs/my-reward-model")
    line()
    line("`textrlhf COMMAND --help` lists a command's options. TEXTRLHF_TRACEBACK=1 shows the traceback of an error.")
