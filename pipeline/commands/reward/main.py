"""`textrlhf reward …`: the commands of reward models."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from ...console.errors import UserError, did_you_mean
from ...console.printing import heading, key_values, line

COMMANDS = {
    "train": ("train", "train a reward model on human preferences, labels or ratings"),
    "resume": ("train", "finish training a reward model that was interrupted"),
    "evaluate": ("evaluate", "compare a reward model with human judgements"),
    "score": ("score", "score texts, one or a file of them"),
}
"""name -> the module here with a function of that name (imported only when called), and what it does"""


def reward(argv: Sequence[str]) -> None:
    """Run `textrlhf reward`."""
    name = argv[0] if argv else "--help"
    if name in COMMANDS:
        getattr(importlib.import_module(f".{COMMANDS[name][0]}", __package__), name)(argv[1:])
    elif name in ("-h", "--help", "help"):
        _overview()
        raise SystemExit(0)
    else:
        hint = did_you_mean(name, COMMANDS, f"there are {', '.join(COMMANDS)}")
        raise UserError(f"reward has no command {name!r}: {hint} (textrlhf reward --help)")


def _overview() -> None:
    line("usage: textrlhf reward COMMAND [OPTIONS]")
    line()
    line("Reward models score texts. A learned one can be the reward of a text environment.")
    line()
    heading("Commands")
    key_values([(f"  {name}", what) for name, (_, what) in COMMANDS.items()])
    line()
    heading("Example:")
    line("  textrlhf reward train prefs.jsonl --model reviews --run runs/my-reward-model")
    line("  textrlhf reward evaluate runs/my-reward-model prefs.jsonl --split heldout")
    line("  textrlhf reward score runs/my-reward-model --prompt 'The film was' --response ' wonderful.'")
    line()
    line("In Python: gym.make('TextRLHF-v0', reward_model='runs/my-reward-model').")
    line("`textrlhf reward COMMAND --help` lists a command's options.")
