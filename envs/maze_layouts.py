"""A maze: how it is carved, how far each cell lies from the exit, and how it looks."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

UP, RIGHT, DOWN, LEFT = range(4)
AGENT, EXIT = "●", "◆"
WALL_COLOUR, FLOOR_COLOUR = (38, 50, 56), (250, 248, 240)
EXIT_COLOUR, AGENT_COLOUR = (67, 160, 71), (229, 57, 53)
_JOINTS = " ╵╶└╷│┌├╴┘─┴┐┤┬┼"  # one bit for each wall that meets here: up 1, right 2, down 4, left 8

Passages = NDArray[np.bool_]


class Maze:
    """Cells numbered row by row, and which neighbours are open to one another; the exit is the last cell.

    `moves[cell][action]` is the cell an action leads to (the same one where a wall stands), `distances[cell]` the
    least number of steps from there to the exit.
    """

    def __init__(self, open_right: Passages, open_down: Passages) -> None:
        """Take the open passages: to the right neighbour (rows, cols − 1), to the lower one (rows − 1, cols)."""
        self.rows, self.cols = len(open_right), open_down.shape[1]
        self.open_right, self.open_down = open_right, open_down
        self.exit = self.rows * self.cols - 1
        self.moves = _moves(open_right, open_down)
        self.distances = _distances(self.moves, self.exit)

    def to_text(self, agent: int) -> str:
        """Draw the maze in box-drawing characters, one line for each row and each row of walls."""
        across, upright = self._walls()
        marks = {self.exit: EXIT, agent: AGENT}  # the later one wins where both stand
        lines = []
        for r in range(self.rows + 1):
            line = ""
            for c in range(self.cols + 1):
                joint = 1 * bool(r and upright[r - 1, c]) + 4 * bool(r < self.rows and upright[r, c])
                joint += 2 * bool(c < self.cols and across[r, c]) + 8 * bool(c and across[r, c - 1])
                line += _JOINTS[joint] + ("" if c == self.cols else "───" if across[r, c] else "   ")
            lines.append(line)
            if r < self.rows:
                cells = [f" {marks.get(r * self.cols + c, ' ')} " for c in range(self.cols)] + [""]
                lines.append("".join("│ "[not wall] + cell for wall, cell in zip(upright[r], cells, strict=True)))
        return "\n".join(lines)

    def _walls(self) -> tuple[Passages, Passages]:
        """Where walls stand, the outer ones too: above each cell (rows + 1, cols), left of it (rows, cols + 1)."""
        across = np.pad(~self.open_down, ((1, 1), (0, 0)), constant_values=True)
        upright = np.pad(~self.open_right, ((0, 0), (1, 1)), constant_values=True)
        return across, upright


class Picture:
    """A maze in pixels, drawn once; only the agent is drawn each time."""

    def __init__(self, maze: Maze, cell: int, wall: int) -> None:
        """Draw cells `cell` pixels wide between walls `wall` pixels thick."""
        self._cols, self._cell, self._wall = maze.cols, cell, wall
        tiles = np.zeros((2 * maze.rows + 1, 2 * maze.cols + 1), bool)  # walls and cells by turns; True is floor
        tiles[1::2, 1::2] = True
        tiles[1::2, 2:-1:2] = maze.open_right
        tiles[2:-1:2, 1::2] = maze.open_down
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
    open_right, open_down = np.zeros((rows, cols - 1), bool), np.zeros((rows - 1, cols), bool)
    # each cell's own order of trying its neighbours, drawn at once: as random as drawing on the way, and fast
    untried: list[list[int]] = rng.random((rows * cols, 4)).argsort(axis=1).tolist()
    reached, path = [False] * (rows * cols), [(0, 0)]
    reached[0] = True
    while path:
        row, col = path[-1]
        if not untried[row * cols + col]:
            path.pop()
            continue
        direction = untried[row * cols + col].pop()
        to_row, to_col = row + (direction == DOWN) - (direction == UP), col + (direction == RIGHT) - (direction == LEFT)
        if not (0 <= to_row < rows and 0 <= to_col < cols) or reached[to_row * cols + to_col]:
            continue
        if to_row == row:
            open_right[row, min(col, to_col)] = True
        else:
            open_down[min(row, to_row), col] = True
        reached[to_row * cols + to_col] = True
        path.append((to_row, to_col))
    if loops > 0:
        passages = np.concatenate([open_right.ravel(), open_down.ravel()])
        closed = np.flatnonzero(~passages)
        opened = rng.random(len(closed)).argsort()[: round(loops * len(closed))]
        passages[closed[opened]] = True
        open_right = passages[: open_right.size].reshape(rows, cols - 1)
        open_down = passages[open_right.size :].reshape(rows - 1, cols)
    return Maze(open_right, open_down)


def _moves(open_right: Passages, open_down: Passages) -> list[list[int]]:
    rows, cols = len(open_right), open_down.shape[1]
    cells = np.arange(rows * cols).reshape(rows, cols)
    moves = np.repeat(cells[..., None], 4, axis=2)  # (rows, cols, 4): into every wall, staying where one is
    moves[1:, :, UP] = np.where(open_down, cells[:-1], cells[1:])
    moves[:, :-1, RIGHT] = np.where(open_right, cells[:, 1:], cells[:, :-1])
    moves[:-1, :, DOWN] = np.where(open_down, cells[1:], cells[:-1])
    moves[:, 1:, LEFT] = np.where(open_right, cells[:, :-1], cells[:, 1:])
    listed: list[list[int]] = moves.reshape(-1, 4).tolist()  # lists: one entry is read several times faster
    return listed


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
