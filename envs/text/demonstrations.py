"""Demonstrations of the built-in tasks, as rows in the form of users' files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from ...language.conversation import Conversation
from ...records.checks import SPLITS, count, one_of
from .task import Prompt, Task
from .tasks import make_task

Row = dict[str, Any]


def demonstrations(source: Any, n: int, *, seed: int = 0, split: str = "train") -> list[Row]:
    """Return `n` good responses to the prompts of a split.

    `source` is a task, its name ("reviews"), the id of a text environment ("TextDialogue-v0"), or a text environment or
    batch, whose own prompts are used whatever `split` is. Prompts come in random order, each once before any comes
    again. With a larger `n` the first rows stay the same.

    The rows are `{"prompt", "completion"}`, or for a dialogue `{"prompt", "turns"}`, beginning and ending with the
    agent's, and `{"messages"}` where the environment's chat template writes its prompts:
    `textrlhf.records.jsonl.write_jsonl` writes them, and `Clone(…, demonstrations=…)` is trained on them.
    """
    count("n", n)
    task, prompts = _find(source, split)
    written = not isinstance(source, str | Task)  # by the chat template of an environment's model, where it has one
    rows: list[Row] = []
    order: list[int] = []
    draws = np.random.default_rng(seed)
    for i in range(n):
        order = order or draws.permutation(len(prompts)).tolist()
        prompt = prompts[order.pop(0)]
        rng = np.random.default_rng([seed, i])
        if written and isinstance(prompt.text, Conversation):
            rows.append({"messages": [*prompt.text.messages, *_answers(task, prompt, rng)]})
        elif task.turns == 1:
            rows.append({"prompt": prompt.text, "completion": task.demonstrate(prompt, rng)})
        else:
            rows.append({"prompt": prompt.text, "turns": task.demonstrate_dialogue(prompt, rng, task.turns)})
    return rows


def _answers(task: Task, prompt: Prompt, rng: np.random.Generator) -> list[Row]:
    """What assistant and user say in a good response, as messages."""
    if task.turns == 1:
        return [{"role": "assistant", "content": task.demonstrate(prompt, rng).strip()}]
    said = task.demonstrate_dialogue(prompt, rng, task.turns)
    texts = [turn.messages[-1]["content"] if isinstance(turn, Conversation) else turn.strip() for turn in said]
    return [{"role": ("assistant", "user")[i % 2], "content": text} for i, text in enumerate(texts)]


def _find(source: Any, split: str) -> tuple[Task, Sequence[Prompt]]:
    engine = getattr(getattr(source, "unwrapped", None), "engine", None)
    if engine is not None:
        return engine.task, engine.prompts.records
    one_of("split", split, SPLITS)
    if isinstance(source, str) and source in gym.registry:
        spec = gym.registry[source]
        if not str(spec.entry_point).endswith(":TextEnv"):
            raise ValueError(
                f"source is {source!r}, which is no text environment: record its episodes with record(agent, env, …)"
            )
        source = spec.kwargs.get("task")
    elif not isinstance(source, str | Task):
        raise TypeError(f"source is {source!r}: expected a task, its name, or a text environment or its id")
    task = make_task(source, own_prompts=False)
    return task, task.prompts(split)
