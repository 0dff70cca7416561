"""`textrlhf reward …`: which word runs which module, and how any judge is opened."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...console.errors import UserError, blaming_user, nearest
from ...console.printing import facts, heading, line

WORDS = {
    "train": ("train", "train", "learn a judge from what people prefer, call good or rate"),
    "resume": ("train", "resume", "finish a judge whose training was interrupted"),
    "evaluate": ("evaluate", "evaluate", "hold a judge against people's judgements"),
    "score": ("score", "score", "score texts, one or a file of them"),
}
"""word -> the module here and its function (imported only when called), and what it does"""


def reward(argv: Sequence[str]) -> None:
    """Run `textrlhf reward`."""
    word = argv[0] if argv else "--help"
    if word in WORDS:
        module, function, _ = WORDS[word]
        getattr(importlib.import_module(f".{module}", __package__), function)(argv[1:])
    elif word in ("-h", "--help", "help"):
        _overview()
        raise SystemExit(0)
    else:
        near = nearest(word, WORDS)
        hint = f"did you mean {near!r}?" if near else f"there are {', '.join(WORDS)}"
        raise UserError(f"reward has no command {word!r}: {hint} (textrlhf reward --help)")


def open_judge(name: str, device: str) -> Any:
    """Load a judge: a run's, a saved one, a shipped one or any sequence classifier."""
    from ....reward_models import load_judge
    from ...console.checks import check_device
    from ...runs.reward_run import JUDGE, is_judge_run

    check_device(device)
    if is_judge_run(Path(name)) and not (Path(name) / JUDGE).is_dir():
        raise UserError(f"{name} has no judge yet, its training was interrupted: `textrlhf reward resume {name}`")
    with blaming_user(ValueError):
        return load_judge(name, device)


def _overview() -> None:
    line("usage: textrlhf reward COMMAND [OPTIONS]")
    line()
    line("Judges say what a text is worth. One that has learned what people like is the reward of a text world.")
    line()
    heading("Commands")
    facts([(f"  {word}", what) for word, (_, _, what) in WORDS.items()])
    line()
    heading("Example:")
    line("  textrlhf reward train prefs.jsonl --model reviews --run runs/my-judge")
    line("  textrlhf reward evaluate runs/my-judge prefs.jsonl --split heldout")
    line("  textrlhf reward score runs/my-judge --prompt 'The film was' --response ' wonderful.'")
    line()
    line("In Python: gym.make('TextRLHF-v0', reward_model='runs/my-judge').")
    line("textrlhf reward COMMAND --help tells more.")
