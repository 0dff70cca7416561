"""`textrlhf reward …`: which word runs which module, and how any reward model is opened."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...console.errors import UserError, as_user_error, nearest
from ...console.printing import heading, key_values, line

WORDS = {
    "train": ("train", "train", "learn a reward model from what people prefer, call good or rate"),
    "resume": ("train", "resume", "finish a reward model whose training was interrupted"),
    "evaluate": ("evaluate", "evaluate", "hold a reward model against people's judgements"),
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


def open_reward_model(name: str, device: str) -> Any:
    """Load a reward model: a run's, a saved one, a shipped one or any sequence classifier."""
    from ....reward_models import load_reward_model
    from ...console.checks import check_device
    from ...runs.reward_run import MODEL_FOLDER, is_reward_run

    check_device(device)
    if is_reward_run(Path(name)) and not (Path(name) / MODEL_FOLDER).is_dir():
        raise UserError(
            f"{name} has no reward model yet, its training was interrupted: `textrlhf reward resume {name}`"
        )
    with as_user_error(ValueError):
        return load_reward_model(name, device)


def _overview() -> None:
    line("usage: textrlhf reward COMMAND [OPTIONS]")
    line()
    line(
        "Reward models say what a text is worth. One that has learned what people like is the reward of a text "
        "environment."
    )
    line()
    heading("Commands")
    key_values([(f"  {word}", what) for word, (_, _, what) in WORDS.items()])
    line()
    heading("Example:")
    line("  textrlhf reward train prefs.jsonl --model reviews --run runs/my-reward-model")
    line("  textrlhf reward evaluate runs/my-reward-model prefs.jsonl --split heldout")
    line("  textrlhf reward score runs/my-reward-model --prompt 'The film was' --response ' wonderful.'")
    line()
    line("In Python: gym.make('TextRLHF-v0', reward_model='runs/my-reward-model').")
    line("textrlhf reward COMMAND --help tells more.")
