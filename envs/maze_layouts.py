"""A maze: how it is carved, how far each cell lies from the exit, and how it looks."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

UP, RIGHT, DOWN, LEFT = range(4)
STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))  # rows and columns that each of these goes
AGENT, EXIT = "●", "◆"
WALL_COLOUR, FLOOR_COLOUR = (38, 50, 56), (250, 248, 240)
EXIT_COLOUR, AGENT_COLOUR = (67, 160, 71), (229, 57, 53)
_JOINTS = " ╵╶└╷│┌├╴┘─┴┐┤┬┼"  # one bit for each wall that meets here: up 1, right 2, down 4, left 8

Tiles = NDArray[np.bool_]  # (2 · rows + 1, 2 · cols + 1): walls and cells by turns; True is floor


class Maze:
    """Cells numbered row by row, and the tiles of floor and wall; the exit is the last cell.

    `moves[cell][action]` is the cell an action leads to (the same one where a wall stands), `distances[cell]` the
    least number of steps from there to the exit.
    """

    def __init__(self, floor: Tiles) -> None:
        self.floor = floor
        self.rows, self.cols = floor.shape[0] // 2, floor.shape[1] // 2
        self.exit = self.rows * self.cols - 1
        cells = np.arange(self.rows * self.cols).reshape(self.rows, self.cols)
        open_to = [floor[1 + row :: 2, 1 + col :: 2][: self.rows, : self.cols] for row, col in STEPS]
        moves = [cells + (row * self.cols + col) * free for (row, col), free in zip(STEPS, open_to, strict=True)]
        # lists: one entry is read several times faster
        self.moves: list[list[int]] = np.stack(moves, axis=-1).reshape(-1, 4).tolist()
        self.distances = _distances(self.moves, self.exit)

    def to_text(self, agent: int) -> str:
        """Draw the maze in box-drawing characters, one line for each row and each row of walls."""
        marks = {self.exit: EXIT, agent: AGENT}  # the later one wins where both stand
        height, width = self.floor.shape
        walls = np.pad(~self.floor, 1)
        meeting = [walls[1 + row :, 1 + col :][:height, :width] for row, col in STEPS]
        joints = np.sum([2**bit * there for bit, there in enumerate(meeting)], axis=0)
        text = ""
        for (i, j), free in np.ndenumerate(self.floor):
            if i % 2 and j % 2:
                text += f" {marks.get(i // 2 * self.cols + j // 2, ' ')} "
            elif i % 2:
                text += " " if free else "│"
            elif j % 2:
                text += "   " if free else "───"
            else:
                text += _JOINTS[joints[i, j]]
            text += "\n" if j == width - 1 else ""
        return text.removesuffix("\n")


class Picture:
    """A maze in pixels, drawn once; only the agent is drawn each time."""

    def __init__(self, maze: Maze, cell: int, wall: int) -> None:
        """Draw cells `cell` pixels wide between walls `wall` pixels thick."""
        self._cols, self._cell, self._wall = maze.cols, cell, wall
        tiles = maze.floor.copy()
        # a post that no wall touches, where loops were opened, is floor too
        posts = tiles[1:-2:2, 2:-1:2] & tiles[3::2, 2:-1:2] & tiles[2:-1:2, 1:-2:2] & tiles[2:-1:2, 3::2]
        tiles[2:-1:2, 2:-1:2] = posts
        colours = np.array([WALL_COLOUR, FLOOR_COLOUR], np.uint8)[tiles.astype(int)]
        colours[-2, -2] = EXIT_COLOUR
        heights, widths = ([wall, cell] * n + [wall] for n in (maze.rows, maze.cols))
        self._empty = colours.repeat(heights, axis=0).repeat(widths, axis=1)  # (height, width, 3)
        offsets = np.arange(cell) - (cell - 1) / 2
        self._disc = np.hypot(offsets[:, None], offsets) <= 0.42 * cell

    def with_agent(self, agent: int) -> NDArray[np.uint8]:
        """Return a new (height, width, 3) picture with the agent in its cell."""
        picture: NDArray[np.uint8] = self._empty.copy()
        pitch = self._cell + self._wall
        row, col = divmod(agent, self._cols)
        top, left = row * pitch + self._wall, col * pitch + self._wall
        picture[top : top + self._cell, left : left + self._cell][self._disc] = AGENT_COLOUR
        return picture


def carve(rows: int, cols: int, rng: np.random.Generator, loops: float = 0.0) -> Maze:
    """Carve a maze by randomized depth-first search, then open the share `loops` of the inner walls left.

    Without loops exactly one path joins any two cells.
    """
    floor = np.zeros((2 * rows + 1, 2 * cols + 1), bool)
    floor[1::2, 1::2] = True
    # each cell's own order of trying its neighbours, drawn at once: as random as drawing on the way, and fast
    untried: list[list[int]] = rng.random((rows * cols, 4)).argsort(axis=1).tolist()
    reached, path = {(0, 0)}, [(0, 0)]
    while path:
        row, col = path[-1]
        if not untried[row * cols + col]:
            path.pop()
            continue
        down, right = STEPS[untried[row * cols + col].pop()]
        there = row + down, col + right
        if 0 <= there[0] < rows and 0 <= there[1] < cols and there not in reached:
            floor[2 * row + 1 + down, 2 * col + 1 + right] = True
            reached.add(there)
            path.append(there)
    if loops > 0:
        to_the_right, below = floor[1::2, 2:-1:2], floor[2:-1:2, 1::2]  # the passages between cells
        passages = np.concatenate([to_the_right.ravel(), below.ravel()])
        closed = np.flatnonzero(~passages)
        opened = rng.random(len(closed)).argsort()[: round(loops * len(closed))]
        passages[closed[opened]] = True
        to_the_right[:] = passages[: to_the_right.size].reshape(to_the_right.shape)
        below[:] = passages[to_the_right.size :].reshape(below.shape)
    return Maze(floor)


def _distances(moves: list[list[int]], target: int) -> list[int]:
    """Steps to `target` from every cell, breadth first from there: a passage is open both ways."""
    distances = [-1] * len(moves)
    distances[target] = 0
    waiting = deque([target])
    while waiting:
        cell = waiting.popleft()
        for neighbour in moves[cell]:
            if distances[neighbour] < 0:
                distances[neighbour] = distances[cell] + 1
                waiting.append(neighbour)
    return distances
