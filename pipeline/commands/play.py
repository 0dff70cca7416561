"""`textrlhf evaluate` and `textrlhf watch`: play episodes without training."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    """sample actions as in training; the default for text"""
    deterministic: bool = False
    """take the most likely actions; the default for all but text"""
    split: Literal["train", "heldout"] | None = None
    """of text: which prompts; by default held-out ones, where there are any"""
    seed: int = 0
    """which episodes: the same seed gives the same ones"""
    best: bool = False
    """use the best agent of the run (train --evaluate-every), not the last"""
    trust: bool = False
    """import the code that the run names: environments, wrappers, reward functions, agents of its author's own"""
    module: str | None = None
    """a module of yours to import first, which registers the environment"""
    device: str | None = None
    """where the policy runs: auto, cpu or cuda; by default where it was trained"""

    def load(self) -> tuple[Checkpoint, Agent]:
        """The checkpoint and its agent."""
        at_least_one("--episodes", self.episodes)
        if self.stochastic and self.deterministic:
            raise UserError("--stochastic and --deterministic exclude each other: give one of them")
        checkpoint = find_checkpoint(self.run, best=self.best)
        agent = load_agent(checkpoint, self.module, self.device, self.trust)
        if self.split and agent.env.split is None:
            agent.close()
            raise UserError(f"--split {self.split}: {agent.env.name} has no prompts to split")
        return checkpoint, agent

    @property
    def changes(self) -> dict[str, Any]:
        """Changed arguments of the environment."""
        return {"split": self.split} if self.split else {}


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

    from ..runs.run_report import in_words, scores_of

    how = {"deterministic": options.deterministic} if options.stochastic or options.deterministic else {}
    how["progress"] = not options.json
    scores = scores_of(agent, options.episodes, seed=options.seed, env_kwargs=options.changes, **how)
    agent.close()
    if options.json:
        print(json.dumps({**outcome(agent, scores, seed=options.seed), "checkpoint": str(checkpoint.path)}))
        return
    key_values(
        [
            ("Agent", f"{agent!r}"),
            ("Checkpoint", str(checkpoint.path)),
            ("Evaluation", in_words(agent, scores)),
            ("Length", f"{sum(scores.lengths) / len(scores.lengths):.1f} steps"),
            ("Seed", f"{options.seed}"),
        ]
    )


def watch(argv: Sequence[str]) -> None:
    """Run `textrlhf watch`."""
    options = parse(WatchOptions, argv, "watch")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    _, agent = options.load()

    import gymnasium as gym

    with as_user_error(gym.error.Error):
        modes = render_modes(agent)
    mode = pick_mode(modes, has_display())
    heading(f"{agent!r} plays")
    with agent.threads():
        try:
            with as_user_error(gym.error.DependencyNotInstalled):
                play(agent, mode, options)
        except UserError as error:
            if "ansi" not in modes:
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
    assert agent.env.again is not None  # it was made again from a checkpoint
    with contextlib.closing(agent.env.again(1, {"vectorization_mode": "sync"}).env) as env:
        single: Any = env.unwrapped
        return list(single.envs[0].metadata.get("render_modes", []))


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
    from ...agents.training.evaluation import evaluation_env

    shown = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # else the last frame of an episode is never shown
    changes = {"render_mode": mode, "vectorization_mode": "sync", "vector_kwargs": shown, **options.changes}
    try:
        adapter = evaluation_env(agent, None, 1, changes)
    except TypeError as error:
        if "render_mode" not in str(error):
            raise
        raise UserError(f"{agent.env.name} takes no render_mode, so it cannot be watched: add that argument") from error
    env: Any = adapter.vector_env
    deterministic = options.deterministic or not (options.stochastic or agent.env.is_text)
    act = agent.player(1, options.seed, deterministic)

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
