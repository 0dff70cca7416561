"""`textrlhf evaluate` and `textrlhf watch`: play episodes without training."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ...records.progress import rounded
from ..console.arguments import parse
from ..console.checks import at_least_one
from ..console.errors import UserError, as_user_error
from ..console.printing import heading, key_values, line
from ..runs.run_folder import EVALUATION_SEED, find_checkpoint, load_agent, outcome

if TYPE_CHECKING:
    from ...agents import Agent
    from ...records.checkpoint import Checkpoint


@dataclass
class PlayOptions:
    """What both commands ask for."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """a run's folder (its last checkpoint is used), or a checkpoint's"""
    episodes: int = 1
    """how many to play"""
    stochastic: bool = False
    """sample actions as in training, instead of taking the most likely"""
    seed: int = 0
    """which episodes: the same seed gives the same ones"""
    best: bool = False
    """use the best agent of the run (train --evaluate-every), not the last"""
    module: str | None = None
    """a module to import first, which registers the environment"""
    device: str | None = None
    """where the policy runs: auto, cpu or cuda; by default where it was trained"""

    def load(self) -> tuple[Checkpoint, Agent]:
        """The checkpoint and its agent."""
        at_least_one("--episodes", self.episodes)
        checkpoint = find_checkpoint(self.run, best=self.best)
        return checkpoint, load_agent(checkpoint, self.module, self.device)


@dataclass
class EvaluateOptions(PlayOptions):
    """Play episodes without training, and print mean, standard deviation, worst and best of their returns.

    Example:
      textrlhf evaluate runs/cartpole --episodes 20
    """

    episodes: int = 100
    """how many to play"""
    seed: int = EVALUATION_SEED
    """which episodes: the same seed gives the same scores"""
    json: bool = False
    """print one line of JSON"""


@dataclass
class WatchOptions(PlayOptions):
    """Watch an agent play: in a window if there is a display, else as text if the environment supports it.

    Example:
      textrlhf watch runs/cartpole --episodes 3
    """


def evaluate(argv: Sequence[str]) -> None:
    """Run `textrlhf evaluate`."""
    options = parse(EvaluateOptions, argv, "evaluate")
    checkpoint, agent = options.load()

    from ... import agents

    scores = agents.evaluate(
        agent, n_episodes=options.episodes, deterministic=not options.stochastic, seed=options.seed
    )
    agent.close()
    if options.json:
        result = outcome(agent, scores, deterministic=not options.stochastic, seed=options.seed)
        print(json.dumps({**result, "checkpoint": str(checkpoint.path)}))
        return
    how = "sampled" if options.stochastic else "the most likely"
    key_values(
        [
            ("Agent", f"{agent!r}"),
            ("Checkpoint", str(checkpoint.path)),
            ("Return", str(scores)),
            ("Length", f"{sum(scores.lengths) / len(scores.lengths):.1f} steps"),
            ("Actions", f"{how}, seed {options.seed}"),
        ]
    )


def watch(argv: Sequence[str]) -> None:
    """Run `textrlhf watch`."""
    options = parse(WatchOptions, argv, "watch")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    _, agent = options.load()

    import gymnasium as gym

    mode = pick_mode(render_modes(agent), has_display())
    heading(f"{agent!r} plays")
    with agent.threads():
        try:
            with as_user_error(gym.error.DependencyNotInstalled):
                play(agent, mode, options)
        except UserError as error:
            if "ansi" not in render_modes(agent):
                raise
            line(f"No window ({error}): showing text instead.")
            play(agent, "ansi", options)
    agent.close()


def has_display() -> bool:
    """Whether a window can open; SDL_VIDEODRIVER=dummy is an invisible one."""
    if sys.platform in ("darwin", "win32"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"))


def render_modes(agent: Agent) -> list[str]:
    """The render modes of the agent's environment."""
    import gymnasium as gym

    recipe = agent.env.recipe
    if recipe is None:
        raise UserError("this agent's environment cannot be made by an id, so it cannot be watched")
    with contextlib.closing(gym.make(recipe["id"], **{**recipe["kwargs"], "render_mode": None})) as env:
        return list(env.metadata.get("render_modes", []))


def pick_mode(modes: Sequence[str], display: bool) -> str:
    """A window if there is a display, else text, else an error."""
    if "human" in modes and display:
        return "human"
    if "ansi" in modes:
        return "ansi"
    if "human" in modes:
        raise UserError(
            "there is no display for a window (DISPLAY and WAYLAND_DISPLAY are unset): use a machine with one and pip "
            'install "gymnasium[classic-control]", or the environment\'s own extra, or use `textrlhf evaluate`'
        )
    raise UserError(
        f'this environment has the render_modes {list(modes)}: expected "human" or "ansi" among them; print the scores '
        "with `textrlhf evaluate`"
    )


def play(agent: Agent, mode: str, options: WatchOptions) -> None:
    """Play episodes and show every step."""
    from gymnasium.vector import AutoresetMode

    from ...agents.environment import play as playing
    from ...agents.training.evaluation import playing_env

    shown = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # else the last frame of an episode is never shown
    changes = {"render_mode": mode, "vectorization_mode": "sync", "vector_kwargs": shown}
    adapter = playing_env(agent, None, 1, changes)
    env: Any = adapter.vector_env
    act = agent.player(1, options.seed, not options.stochastic)

    def show() -> None:
        if mode == "ansi":  # a window draws itself
            print(env.render()[0])  # with colours even in a file: in FrozenLake they mark the player

    with contextlib.closing(adapter):
        episode, total, length = 1, 0.0, 0
        for step in playing.play(adapter, act, options.episodes, options.seed, on_reset=show):
            show()
            total, length = total + float(step.result.reward[0]), length + int(step.counts[0])
            if step.ended:
                line(f"Episode {episode}: return {rounded(total)} in {length:,} steps")
                episode, total, length = episode + 1, 0.0, 0
