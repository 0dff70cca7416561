"""Maze-v0: find the exit of a maze of any size."""

from __future__ import annotations

import operator
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from ..records.checks import count, finite, one_of
from .maze_layouts import Maze, Picture, carve

_MIN_PIXELS = 36  # the minimum for Stable-Baselines3's convolutions
_FRAME_PIXELS = 512

Observation = int | NDArray[np.uint8]


class MazeEnv(gym.Env[Observation, int]):
    """Find the way out of a maze.

    ## Description
    The agent stands in the upper left cell of a maze and has to reach the exit in the lower right one. The maze is
    carved by randomized depth-first search, so that exactly one path joins any two cells; `loops` opens further walls.
    The same `size`, `maze_seed` and `loops` give the same maze.

    ## Action Space
    `Discrete(4)`. A step into a wall leaves the agent where it is.

    | action | direction |
    | --- | --- |
    | 0 | up |
    | 1 | right |
    | 2 | down |
    | 3 | left |

    ## Observation Space
    With `observation="position"`, `Discrete(rows * cols)`: the number `row * cols + col` of the agent's cell.

    With `observation="image"`, `Box(0, 255, (height, width, 3), uint8)`: the maze from above, walls dark, the exit
    green, the agent a red disc. Cells have at least 3 pixels, and enough for both sides to have at least 36.

    ## Rewards
    −1 for each step, +1 for the one that reaches the exit. The best return is `2 − shortest_path`.

    ## Starting State
    Cell (0, 0), or the one in `options={"start": (row, col)}` given to `reset`, for that episode only.

    ## Episode End
    - Terminated: the agent reaches the exit.
    - Truncated: after `max_steps` steps, if the last one does not reach the exit.

    ## Information
    | key | what |
    | --- | --- |
    | `shortest_path` | the least number of steps to the exit from where this episode started |
    | `distance` | the least number of steps to the exit from here |

    ## Arguments
    | argument | default | what |
    | --- | --- | --- |
    | `size` | 8 | rows and columns: one number for both, or `(rows, cols)`; each at least 2 |
    | `maze_seed` | 0 | which maze; not used with `new_each_reset` |
    | `new_each_reset` | False | another maze each episode, drawn from the seed given to `reset`; needs images |
    | `observation` | `"position"` | or `"image"` |
    | `loops` | 0.0 | the share of the inner walls to open: 1 leaves an empty field |
    | `max_steps` | None | steps before an episode is truncated; None is four per cell |
    | `render_mode` | None | `"rgb_array"` or `"ansi"` |

    With `new_each_reset`, `reset(seed=7)` draws the maze of `maze_seed=7`.

    ## Version History
    - v0: the first version.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array", "ansi"], "render_fps": 8}  # type: ignore[misc]

    def __init__(
        self,
        size: int | tuple[int, int] = 8,
        maze_seed: int = 0,
        new_each_reset: bool = False,
        observation: Literal["position", "image"] = "position",
        loops: float = 0.0,
        max_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        rows, cols = _pair(size) or (size, size)
        self.rows, self.cols = count("size", rows, least=2), count("size", cols, least=2)
        self.maze_seed, self.new_each_reset = count("maze_seed", maze_seed, least=0), new_each_reset
        one_of("observation", observation, ("position", "image"))
        if new_each_reset and observation != "image":
            raise ValueError(
                f"observation is {observation!r} with new_each_reset=True, but a position does not show the walls of a "
                'new maze: pass observation="image", or new_each_reset=False for a fixed maze'
            )
        if not 0 <= finite("loops", loops) <= 1:
            raise ValueError(f"loops is {loops!r}: expected a share of the inner walls to open, from 0 to 1")
        one_of("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        self.observation, self.loops, self.render_mode = observation, float(loops), render_mode
        self.max_steps = 4 * self.rows * self.cols if max_steps is None else count("max_steps", max_steps)

        shortest = min(self.rows, self.cols)
        self._pixels = max(3, -(-(_MIN_PIXELS - shortest - 1) // shortest))  # a cell's side; walls are one pixel
        self.observation_space: Any = spaces.Discrete(self.rows * self.cols)
        if observation == "image":
            shape = (self.rows * (self._pixels + 1) + 1, self.cols * (self._pixels + 1) + 1, 3)
            self.observation_space = spaces.Box(0, 255, shape, np.uint8)
        self.action_space: Any = spaces.Discrete(4)

        self._cell: int | None = None  # None before the first reset
        self._over = True
        self._steps = self._shortest_path = 0
        self._frame: Picture | None = None
        self._enter(carve(self.rows, self.cols, np.random.default_rng(self.maze_seed), self.loops))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode, at the cell `options={"start": (row, col)}` if given."""
        start = self._start(options) if options else 0  # checked before anything changes
        super().reset(seed=seed)
        if self.new_each_reset:
            self._enter(carve(self.rows, self.cols, self.np_random, self.loops))
        self._cell, self._over, self._steps = start, False, 0
        self._shortest_path = self.maze.distances[start]
        return self._observe(start), {"shortest_path": self._shortest_path, "distance": self._shortest_path}

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Move to a neighbouring cell; a wall is no move."""
        if self._over or self._cell is None:
            what = "before the first reset" if self._cell is None else "after the end of the episode"
            raise ResetNeeded(f"step() {what}: call reset() first")
        try:
            direction = operator.index(action)
        except TypeError:
            direction = -1
        if not 0 <= direction < 4:
            raise ValueError(f"action is {action!r}: expected 0 (up), 1 (right), 2 (down) or 3 (left)")
        cell = self._cell = self.maze.moves[self._cell][direction]
        self._steps += 1
        terminated = cell == self.maze.exit
        truncated = not terminated and self._steps >= self.max_steps
        self._over = terminated or truncated
        info = {"shortest_path": self._shortest_path, "distance": self.maze.distances[cell]}
        return self._observe(cell), 1.0 if terminated else -1.0, terminated, truncated, info

    def render(self) -> Any:
        """Return the maze as a picture (`rgb_array`) or as text (`ansi`)."""
        if self.render_mode is None:
            modes = self.metadata["render_modes"]
            gym.logger.warn(f"render() with render_mode=None renders nothing: make the environment with one of {modes}")
            return None
        if self._cell is None:
            raise ResetNeeded("render() before the first reset: call reset() first")
        if self.render_mode == "ansi":
            return self.maze.to_text(self._cell)
        if self._frame is None:
            cell = min(48, max(self._pixels, _FRAME_PIXELS // max(self.rows, self.cols)))
            self._frame = Picture(self.maze, cell, max(1, cell // 8))
        return self._frame.with_agent(self._cell)

    def _enter(self, maze: Maze) -> None:
        self.maze = maze
        self._picture = Picture(maze, self._pixels, 1) if self.observation == "image" else None
        self._frame = None  # drawn when first rendered

    def _observe(self, cell: int) -> Observation:
        return cell if self._picture is None else self._picture.with_agent(cell)

    def _start(self, options: dict[str, Any]) -> int:
        if unknown := set(options) - {"start"}:
            raise ValueError(f'options has {sorted(map(str, unknown))}: expected {{"start": (row, col)}}')
        expected = f"expected (row, col) with 0 <= row < {self.rows} and 0 <= col < {self.cols}, not the exit"
        start = options["start"]
        pair = _pair(start)
        if pair is None or not (0 <= pair[0] < self.rows and 0 <= pair[1] < self.cols):
            raise ValueError(f'options["start"] is {start!r}, no cell of this maze: {expected}')
        if pair == (self.rows - 1, self.cols - 1):
            raise ValueError(f'options["start"] is {start!r}, the exit: {expected}')
        return pair[0] * self.cols + pair[1]


def _pair(values: Any) -> tuple[int, int] | None:
    """Two whole numbers; None for anything else."""
    try:
        first, second = (count("", value, least=-(1 << 62)) for value in values)
    except (TypeError, ValueError):
        return None
    return first, second
