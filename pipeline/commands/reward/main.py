"""`textrlhf reward …`: the commands of reward models."""

from __future__ import annotations

from collections.abc import Sequence

from ...console.dispatch import run_command

COMMANDS = {
    "train": ("train", "train a reward model on human preferences, labels or ratings"),
    "resume": ("train", "finish training a reward model that was interrupted"),
    "evaluate": ("evaluate", "compare a reward model with human judgements"),
    "score": ("score", "score texts, one or a file of them"),
}
EXAMPLES = (
    "textrlhf reward train prefs.jsonl --model reviews --run runs/my-reward-model",
    "textrlhf reward evaluate runs/my-reward-model prefs.jsonl --split heldout",
    "textrlhf reward score runs/my-reward-model --prompt 'The film was' --response ' wonderful.'",
)


ABOUT = "Reward models score texts. A learned one can be the reward of a text environment."
NOTE = "In Python: gym.make('TextRLHF-v0', reward_model='runs/my-reward-model')."


def reward(argv: Sequence[str]) -> None:
    """Run `textrlhf reward`."""
    run_command(argv, "textrlhf reward", __package__ or "", COMMANDS, about=ABOUT, examples=EXAMPLES, note=NOTE)
