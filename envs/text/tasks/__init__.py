"""The built-in tasks."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

from ..task import Prompt, Scores, Task

_TASKS = {
    "reviews": ("reviews", "Reviews"),
    "dialogue": ("dialogue", "TextDialogue"),
    "summarize": ("summarize", "TextSummarize"),
    "translate": ("translate", "TextTranslate"),
    "qa": ("qa", "TextQA"),
    "arithmetic": ("arithmetic", "TextArithmetic"),
}


class OwnPrompts(Task):
    """Prompts of the user without a task: the reward is the user's too."""

    name = "own prompts"
    model = ""
    max_new_tokens = 32
    has_gold = False

    def prompts(self, split: str) -> Sequence[Prompt]:
        """Raise: there are none built in."""
        raise ValueError("prompts is missing: pass a data file or a list of texts")

    def measure(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Mapping[str, Scores]:
        """Return no measures."""
        return {}


def make_task(task: str | Task | None, own_prompts: bool) -> Task:
    """Return a task by its name; None is "reviews", or no task where the user has prompts of their own."""
    if isinstance(task, Task):
        return task
    if task is None:
        if own_prompts:
            return OwnPrompts()
        task = "reviews"
    if task not in _TASKS:
        raise ValueError(
            f"task is {task!r}: expected one of {', '.join(map(repr, _TASKS))}, or a textrlhf.envs.text.Task"
        )
    module, name = _TASKS[task]
    made: Task = getattr(importlib.import_module(f".{module}", __name__), name)()
    return made
