"""What a task's own demonstrators write, as rows for a learner: the form that users' files have too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from .task import SPLITS, Prompt, Task
from .tasks import make_task

Row = dict[str, Any]


def demonstrations(source: Any, n: int, *, seed: int = 0, split: str = "train") -> list[Row]:
    """Let a task demonstrate `n` good responses to the prompts of a split.

    `source` is a task, its name ("reviews"), the id of a text environment ("TextDialogue-v0"), or such a environment,
    single or a batch, whose own prompts are then answered, whatever `split`. Prompts come in random order, each once
    before any comes again. With a larger `n` the first rows stay the same.

    Returns rows `{"prompt", "completion"}`, or of a dialogue `{"prompt", "turns"}`, the agent's and the user's in turn:
    what `textrlhf.records.jsonl.write_jsonl` writes, and `Clone(…, demonstrations=…)` learns from.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"n is {n!r}: expected a whole number of at least 1")
    task, prompts = _found(source, split)
    rows: list[Row] = []
    order: list[int] = []
    draws = np.random.default_rng(seed)
    for i in range(n):
        order = order or draws.permutation(len(prompts)).tolist()
        prompt = prompts[order.pop(0)]
        rows.append({"prompt": prompt.text, **_demonstrated(task, prompt, np.random.default_rng([seed, i]))})
    return rows


def _found(source: Any, split: str) -> tuple[Task, Sequence[Prompt]]:
    engine = getattr(getattr(source, "unwrapped", None), "engine", None)
    if engine is not None:
        return engine.task, engine.prompts.records
    if split not in SPLITS:
        raise ValueError(f"split is {split!r}: expected one of {', '.join(map(repr, SPLITS))}")
    if isinstance(source, str) and source in gym.registry:
        spec = gym.registry[source]
        if not str(spec.entry_point).endswith(":TextEnv"):
            raise ValueError(
                f"source is {source!r}, which is no text environment: record(agent, env, …) plays its episodes"
            )
        source = spec.kwargs.get("task")
    elif not isinstance(source, str | Task):
        raise TypeError(f"source is {source!r}: expected a task, its name, or a text environment or its id")
    task = make_task(source, own_prompts=False)
    return task, task.prompts(split)


def _demonstrated(task: Task, prompt: Prompt, rng: np.random.Generator) -> Row:
    if task.turns == 1:
        return {"completion": task.demonstrate(prompt, rng)}
    demonstrate_turn = getattr(task, "demonstrate_turn", None)
    if demonstrate_turn is None:
        raise NotImplementedError(
            f"the task {task.name!r} is a dialogue without demonstrate_turn(prompt, turns, rng): give it one that "
            "returns what the agent does well to say after its `turns`"
        )
    said: list[str] = []  # by the agent
    turns: list[str] = []  # by both
    while True:
        said.append(demonstrate_turn(prompt, said, rng))
        turns.append(said[-1])
        if len(said) >= task.turns or task.over(prompt, said):
            return {"turns": turns}
        turns.append(task.reply(prompt, said, rng))
