"""Maze-v0: every cell reaches the exit, distances are exact, and pictures show the maze."""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from textrlhf.envs.maze import MazeEnv
from textrlhf.envs.maze_layouts import AGENT_COLOUR, DOWN, EXIT_COLOUR, FLOOR_COLOUR, LEFT, RIGHT, UP, Maze

KINDS: list[dict[str, Any]] = [
    {},
    {"size": (2, 9), "loops": 0.3},
    {"observation": "image", "size": 5},
    {"observation": "image", "new_each_reset": True},
]
MAZES = [(size, seed, loops) for size in (2, (2, 7), 8) for seed in range(3) for loops in (0.0, 0.4, 1.0)]


def passages(text: str, rows: int, cols: int) -> np.ndarray:
    """Read the passages (N, N) off the rendered text, not off the environment's own tables."""
    lines = text.splitlines()
    open_to = np.zeros((rows * cols, rows * cols), bool)
    for r in range(rows):
        for c in range(cols):
            cell = r * cols + c
            if lines[2 * r + 1][4 * c + 4] == " ":
                open_to[cell, cell + 1] = open_to[cell + 1, cell] = True
            if lines[2 * r + 2][4 * c + 2] == " ":
                open_to[cell, cell + cols] = open_to[cell + cols, cell] = True
    return open_to


def shortest(open_to: np.ndarray) -> np.ndarray:
    """Distances to the last cell by relaxation until nothing changes, infinite where there is no path."""
    distances = np.full(len(open_to), np.inf)
    distances[-1] = 0
    while True:
        nearer = np.minimum(distances, np.where(open_to, distances, np.inf).min(axis=1) + 1)
        if np.array_equal(nearer, distances):
            return distances
        distances = nearer


def path_out(maze: Maze, cell: int) -> Iterator[int]:
    while cell != maze.exit:
        action = min(range(4), key=lambda a: maze.distances[maze.moves[cell][a]])
        yield action
        cell = maze.moves[cell][action]


def spec(**kwargs: Any) -> EnvSpec:
    return EnvSpec("Maze-v0", entry_point="textrlhf.envs.maze:MazeEnv", kwargs=kwargs)


@pytest.mark.parametrize(("size", "seed", "loops"), MAZES)
def test_every_cell_is_reachable_and_distances_are_exact(size: Any, seed: int, loops: float) -> None:
    env = MazeEnv(size, seed, loops=loops)
    _, info = env.reset()
    seen = passages(env.maze.to_text(0), env.rows, env.cols)
    expected = shortest(seen)
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(env.maze.distances, expected)
    assert info == {"shortest_path": expected[0], "distance": expected[0]}
    cells, inner = env.rows * env.cols, 2 * env.rows * env.cols - env.rows - env.cols
    opened = round(loops * (inner - (cells - 1)))  # a perfect maze is a tree: cells - 1 passages
    assert seen.sum() / 2 == cells - 1 + opened


@pytest.mark.parametrize("loops", [0.0, 0.5])
def test_moves_match_the_rendered_maze(loops: float) -> None:
    env = MazeEnv((4, 6), loops=loops)
    open_to = passages(env.maze.to_text(0), 4, 6)
    walls = 0
    for cell in range(23):
        for action, (dr, dc) in {UP: (-1, 0), RIGHT: (0, 1), DOWN: (1, 0), LEFT: (0, -1)}.items():
            start = (cell // 6, cell % 6)
            env.reset(options={"start": start})
            r, c = start[0] + dr, start[1] + dc
            free = 0 <= r < 4 and 0 <= c < 6 and open_to[cell, r * 6 + c]
            observation, reward, terminated, truncated, info = env.step(action)
            assert observation == (r * 6 + c if free else cell)
            assert reward == (1.0 if terminated else -1.0)
            assert terminated == (observation == 23)
            assert not truncated
            assert info["distance"] == env.maze.distances[observation]
            walls += not free
    assert walls > 0


def test_the_maze_depends_on_maze_seed() -> None:
    def drawing(**kwargs: Any) -> str:
        return MazeEnv(6, **kwargs).maze.to_text(0)

    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    first = drawing(maze_seed=5)
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before  # noqa: NPY002
    assert drawing(maze_seed=5) == first
    assert len({drawing(maze_seed=seed) for seed in range(20)}) == 20
    env = MazeEnv(6, maze_seed=5)
    env.reset(seed=99)
    assert env.maze.to_text(0) == first


def test_the_mazes_of_v0_do_not_change() -> None:
    """Results name a maze by its seed: another carving would be another environment."""
    assert MazeEnv(3, maze_seed=0).maze.to_text(0) == GOLDEN


GOLDEN = """\
┌───────────┐
│ ●         │
├───────┐   │
│       │   │
│   ╷   ╵   │
│   │     ◆ │
└───┴───────┘"""


@pytest.mark.parametrize("start", [None, (2, 3)])
def test_an_optimal_path_has_the_best_return(start: tuple[int, int] | None) -> None:
    env = MazeEnv((5, 7), maze_seed=2)
    cell, info = env.reset(options=start and {"start": start})
    total, terminated, length = 0.0, False, info["shortest_path"]
    assert cell == (start[0] * 7 + start[1] if start else 0)
    for n_steps, action in enumerate(path_out(env.maze, cell), 1):
        assert not terminated
        _, reward, terminated, _, info = env.step(action)
        total += reward
        assert info == {"shortest_path": length, "distance": length - n_steps}
    assert terminated
    assert total == 1 - (length - 1)
    assert env.reset()[0] == 0  # the start was for one episode


def test_truncation_after_max_steps() -> None:
    for limit, env in ((7, MazeEnv(3, max_steps=7)), (4 * 3 * 5, MazeEnv((3, 5)))):
        for _ in range(2):  # the second episode counts anew
            env.reset()
            cuts = [env.step(UP)[3] for _ in range(limit)]
            assert cuts == [False] * (limit - 1) + [True]
    length = env.maze.distances[0]
    env = MazeEnv((3, 5), max_steps=length)
    env.reset()
    *_, last = [env.step(action) for action in path_out(env.maze, 0)]
    assert last[1:4] == (1.0, True, False)


@pytest.mark.parametrize("size", [2, (2, 9), 8, 20])
@pytest.mark.parametrize("kind", ["observation", "frame"])
def test_pictures_show_the_agent_the_exit_and_the_passages(size: Any, kind: str) -> None:
    env = MazeEnv(size, observation="image", render_mode="rgb_array", loops=0.2)
    open_to = passages(env.maze.to_text(0), env.rows, env.cols)
    for cell in {0, 1, env.cols, env.maze.exit - 1}:
        start = divmod(cell, env.cols)
        observation, _ = env.reset(options={"start": start})
        picture = observation if kind == "observation" else env.render()
        assert min(picture.shape[:2]) >= 36
        if kind == "observation":
            assert env.observation_space.contains(picture)
        height, width = picture.shape[0] / env.rows, picture.shape[1] / env.cols  # of a cell, about

        def at(row: float, col: float, picture: Any = picture, height: float = height, width: float = width) -> Any:
            return tuple(picture[int((row + 0.5) * height), int((col + 0.5) * width)].tolist())

        assert at(*start) == AGENT_COLOUR
        assert at(env.rows - 1, env.cols - 1) == EXIT_COLOUR
        rows, cols = np.nonzero((picture == AGENT_COLOUR).all(axis=-1))
        assert (rows // height == start[0]).all()  # nowhere else
        assert (cols // width == start[1]).all()
        others = [c for c in range(env.maze.exit) if c != cell]
        assert {at(*divmod(c, env.cols)) for c in others} == {FLOOR_COLOUR}
        for c in others:  # an open passage is all floor, a wall is not
            row, col = divmod(c, env.cols)
            y, x = int((row + 0.5) * height), int((col + 0.5) * width)
            strips = {c + env.cols: picture[y : int((row + 1.5) * height), x]}
            if col + 1 < env.cols:
                strips[c + 1] = picture[y, x : int((col + 1.5) * width)]
            for neighbour in strips.keys() & set(others):
                assert (strips[neighbour] == FLOOR_COLOUR).all() == open_to[c, neighbour]


def test_the_text_shows_agent_and_exit() -> None:
    env = MazeEnv((3, 4), render_mode="ansi")
    env.reset(options={"start": (1, 2)})
    lines = env.render().splitlines()
    assert [(r, line.index("●")) for r, line in enumerate(lines) if "●" in line] == [(3, 10)]
    assert lines[5][14] == "◆"
    assert {len(line) for line in lines} == {4 * 4 + 1}
    for action in path_out(env.maze, 6):
        env.step(action)
    assert "●" in env.render()  # at the exit too


def test_new_each_reset_uses_the_environments_generator() -> None:
    env = MazeEnv(6, new_each_reset=True, observation="image", render_mode="rgb_array")
    pictures, frames, paths = [], [], set()
    for episode in range(8):
        observation, info = env.reset(seed=7 if episode == 0 else None)
        assert info["shortest_path"] == shortest(passages(env.maze.to_text(0), 6, 6))[0]
        pictures.append(observation.tobytes())
        frames.append(env.render().tobytes())
        paths.add(info["shortest_path"])
    assert len(set(pictures)) == len(set(frames)) == 8
    assert len(paths) > 1
    assert env.reset(seed=7)[0].tobytes() == pictures[0] == MazeEnv(6, 7, observation="image").reset()[0].tobytes()
    assert env.reset()[0].tobytes() == pictures[1]


@pytest.mark.parametrize("kwargs", KINDS)
@pytest.mark.parametrize("render_mode", [None, "rgb_array", "ansi"])
def test_check_env(kwargs: dict[str, Any], render_mode: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(spec(**kwargs), render_mode=render_mode)
        check_env(env.unwrapped)
        sb3_check_env(env.unwrapped)
        sb3_check_env(env)


@pytest.mark.parametrize("kwargs", KINDS)
def test_copies_continue_identically(kwargs: dict[str, Any]) -> None:
    def episode(env: MazeEnv) -> list[bytes]:
        seen = []
        for action in np.random.default_rng(3).integers(4, size=60).tolist():
            observation, reward, terminated, truncated, info = env.step(action)
            seen.append(pickle.dumps((np.asarray(observation).tobytes(), reward, terminated, truncated, info)))
            if terminated or truncated:
                seen.append(np.asarray(env.reset()[0]).tobytes())
        return [*seen, np.asarray(env.reset()[0]).tobytes()]

    env, again = MazeEnv(**kwargs), MazeEnv(**kwargs)
    env.reset(seed=11)
    again.reset(seed=11)
    env.step(RIGHT)
    again.step(RIGHT)
    copies = [copy.deepcopy(env), pickle.loads(pickle.dumps(env)), again]
    expected = episode(env)
    assert all(episode(one) == expected for one in copies)


def test_a_vector_of_mazes() -> None:
    envs = gym.make_vec(spec(size=4), num_envs=3, vectorization_mode="sync")
    _, infos = envs.reset(seed=0, options={"start": (1, 1)})
    assert infos["shortest_path"].tolist() == [MazeEnv(4).maze.distances[5]] * 3
    for _ in range(70):  # past the end of an episode
        observations = envs.step(envs.action_space.sample())[0]
    assert observations.shape == (3,)
    envs.close()


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": 1}, "size is 1.*at least 2"),
        ({"size": (5, 1)}, "size is 1"),
        ({"size": 4.0}, r"size is 4\.0"),
        ({"size": "8"}, "size is '8'"),
        ({"size": True}, "size is True"),
        ({"maze_seed": -1}, "maze_seed is -1"),
        ({"observation": "pixels"}, "observation is 'pixels'.*'position', 'image'"),
        ({"new_each_reset": True}, "observation is 'position'.*observation=\"image\""),
        ({"loops": 1.5}, "loops is 1.5.*from 0 to 1"),
        ({"loops": float("nan")}, "loops is nan"),
        ({"max_steps": 0}, "max_steps is 0.*at least 1"),
        ({"render_mode": "human"}, "render_mode is 'human'.*rgb_array"),
    ],
)
def test_a_wrong_argument_is_named(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MazeEnv(**kwargs)


@pytest.mark.parametrize("action", [-1, 4, 1.0, "up", None, np.array([1]), np.float32(2)])
def test_a_wrong_action_changes_nothing(action: Any) -> None:
    env = MazeEnv(4, max_steps=1)
    env.reset()
    with pytest.raises(ValueError, match=r"action is .*expected 0 \(up\)"):
        env.step(action)
    assert env.step(np.int64(UP))[3]  # the first step, not the second


@pytest.mark.parametrize("start", [(4, 0), (0, -1), (0.0, 1), (1,), 3, None, "ab", (True, 1), (3, 3)])
def test_a_wrong_start_changes_nothing(start: Any) -> None:
    env = MazeEnv(4)
    env.reset(options={"start": np.array([1, 2])})
    with pytest.raises(ValueError, match=r'options\["start"\] is .*0 <= row < 4'):
        env.reset(options={"start": start})
    assert env.step(UP)[0] == env.maze.moves[4 + 2][UP]
    with pytest.raises(ValueError, match="'strat'.*expected"):
        env.reset(options={"strat": (0, 0)})


def test_a_step_outside_an_episode_asks_for_a_reset() -> None:
    env = MazeEnv(2, max_steps=1, render_mode="ansi")
    for outside in (env.render, lambda: env.step(0)):
        with pytest.raises(ResetNeeded, match=r"before the first reset: call reset\(\)"):
            outside()
    env.reset()
    env.step(UP)
    with pytest.raises(ResetNeeded, match=r"after the end of the episode: call reset\(\)"):
        env.step(UP)
    with pytest.warns(UserWarning, match="render_mode=None"):
        assert MazeEnv().render() is None


def test_tabular_q_learning_finds_the_shortest_path() -> None:
    env = MazeEnv(5, maze_seed=1)
    rng = np.random.default_rng(0)
    values = np.zeros((25, 4))
    for _ in range(300):
        cell, _ = env.reset()
        ended = False
        while not ended:
            action = int(rng.integers(4)) if rng.random() < 0.1 else int(values[cell].argmax())
            after, reward, terminated, truncated, _ = env.step(action)
            target = reward + (not terminated) * values[after].max()
            values[cell, action] += 0.5 * (target - values[cell, action])
            cell, ended = after, terminated or truncated
    cell, info = env.reset()
    steps, ended = 0, False
    while not ended:
        cell, _, terminated, truncated, _ = env.step(int(values[cell].argmax()))
        steps, ended = steps + 1, terminated or truncated
    assert steps == info["shortest_path"] > 8  # longer than a straight line
