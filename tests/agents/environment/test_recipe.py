"""Recipes: what making an environment again would import, and paths that are stored."""

from __future__ import annotations

from pathlib import Path

import pytest

from textrlhf.agents.environment.recipe import absolute_paths, imports, moved_paths

CLIP = {"entry_point": "gymnasium.wrappers.transform_reward:ClipReward", "kwargs": {"min_reward": 0}}


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        ({"id": "CartPole-v1", "kwargs": {}, "wrappers": [CLIP]}, []),
        ({"id": "CartPole-v1", "kwargs": {}, "module": "evil"}, []),  # registered already: nothing is imported
        ({"id": "Unknown-v0", "kwargs": {}, "module": "evil"}, ["evil"]),
        ({"id": "Unknown-v0", "kwargs": {}, "entry_point": "evil:Env"}, ["evil:Env"]),
        ({"factory": "evil:make", "kwargs": {}}, ["evil:make"]),
        ({"id": "CartPole-v1", "kwargs": {"a": [{"b": {"import": "evil:f"}}]}}, ["evil:f"]),
        ({"id": "CartPole-v1", "kwargs": {}, "wrappers": [{"entry_point": "evil:W", "kwargs": {}}]}, ["evil:W"]),
        (
            {"id": "CartPole-v1", "kwargs": {}, "wrappers": [{**CLIP, "kwargs": {"f": {"import": "os:system"}}}]},
            ["os:system"],
        ),
        (  # Gymnasium's own names are not all harmless: make("module:Id") imports
            {
                "id": "CartPole-v1",
                "kwargs": {},
                "wrappers": [{"entry_point": "gymnasium.envs.registration:make", "kwargs": {}}],
            },
            ["gymnasium.envs.registration:make"],
        ),
        (
            {
                "id": "CartPole-v1",
                "kwargs": {},
                "wrappers": [{"entry_point": "gymnasium.wrappers.common:np.load", "kwargs": {}}],
            },
            ["gymnasium.wrappers.common:np.load"],
        ),
    ],
)
def test_imports_names_all_code_beyond_registered_environments(recipe: dict, named: list[str]) -> None:
    assert imports(recipe) == named


def test_paths_follow_a_run_that_has_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "run").mkdir(parents=True)
    (tmp_path / "a" / "prompts.jsonl").write_text("")
    monkeypatch.chdir(tmp_path / "a")
    kwargs = absolute_paths({"prompts": {"train": "prompts.jsonl"}, "model": "reviews", "task": "run"}, ["prompts"])
    stored = str(tmp_path / "a" / "prompts.jsonl")
    assert kwargs == {"prompts": {"train": stored}, "model": "reviews", "task": "run"}
    (tmp_path / "a").rename(tmp_path / "b")
    moved = moved_paths(kwargs, str(tmp_path / "a" / "run"), str(tmp_path / "b" / "run"))
    assert moved["prompts"] == {"train": str(tmp_path / "b" / "prompts.jsonl")}
    assert moved_paths(kwargs, "/elsewhere/run", str(tmp_path)) == kwargs
