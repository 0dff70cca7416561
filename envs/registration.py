"""The ids of the environments; entry points are strings, so that registering imports nothing."""

from __future__ import annotations

import gymnasium

TEXT_ENVS = {  # id: task (None: the default one), description
    "TextRLHF-v0": (None, "continue a review; or any prompts, with any model and reward model"),
    "TextDialogue-v0": ("dialogue", "sell clothes to a simulated customer, over several turns"),
    "TextSummarize-v0": ("summarize", "summarize a short report in one sentence"),
    "TextTranslate-v0": ("translate", "English into German"),
    "TextQA-v0": ("qa", "answer a question about a few facts"),
    "TextArithmetic-v0": ("arithmetic", "work out a sum, a difference or a product"),
}
MAZES = {"Maze-v0": "find the way out of a maze of any size"}
ABOUT = {env_id: about for env_id, (_, about) in TEXT_ENVS.items()} | MAZES


def register() -> None:
    """Register every environment once."""
    for env_id, (task, _) in TEXT_ENVS.items():
        gymnasium.register(
            env_id,
            entry_point="textrlhf.envs.text.env:TextEnv",
            vector_entry_point="textrlhf.envs.text.vector:TextVectorEnv",
            kwargs={} if task is None else {"task": task},
        )
    gymnasium.register("Maze-v0", entry_point="textrlhf.envs.maze:MazeEnv")
