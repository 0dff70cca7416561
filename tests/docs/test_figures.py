"""The README's figures are those of the reference files: whoever measures again is told which rows to write anew."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| ")]


def reference(name: str) -> Any:
    return json.loads((ROOT / "runs" / "reference" / f"{name}.json").read_text())


def short(share: float) -> str:
    """.819"""
    return f"{share:.3f}".removeprefix("0")


def row(words: str) -> str:
    """The only row that has these words."""
    found = [line for line in ROWS if words in line]
    assert len(found) == 1, f"{len(found)} rows of the README say {words!r}"
    return found[0]


TEXT = {"reviews": "shipped model and learned reward model |"}
TEXT |= {"dialogue": "`TextDialogue-v0` after", "qa": "`TextQA-v0` after", "arithmetic": "`TextArithmetic-v0` after"}


@pytest.mark.parametrize("name", TEXT)
def test_scores_on_text(name: str) -> None:
    found, told = reference(f"text/{name}"), row(TEXT[name])
    assert f"→ {short(found['gold'])}" in told
    assert f"worst of five seeds {short(found['worst'])}" in told
    assert f"{found['total_timesteps']:,}" in told
    assert len(found["runs"]) == 5


def test_reviews_whole_row() -> None:
    found, told = reference("text/reviews"), row(TEXT["reviews"])
    seconds = [run["processor_seconds"] for run in found["runs"]]
    assert f"{min(seconds)} to {max(seconds)} processor seconds" in told
    grammatical = [run["after"]["grammatical"] for run in found["runs"]]
    assert f"worst {short(min(grammatical))}; " in told


def test_ppo_beside_trl() -> None:
    found, told = reference("benchmarks/ppo_vs_trl"), row("over TRL 1.12's PPO (")
    ppo = found["ppo"]
    for name in ("", "_separate_critic", "_in_fours", "_separate_critic_in_fours"):
        assert f"{ppo[f'ratio{name}']:.2f} ×" in told
    assert f"{found['early']['ratio']:.2f} ×" in row("where texts end early")
    assert f"{found['grpo']['ratio']:.2f} ×" in row("over TRL 1.16's GRPO")
    memory = row("memory at most")
    for name in ("memory_share_of_trl", "memory_share_separate_critic_in_fours"):
        assert f"{ppo[name]:.2f}" in memory
    assert f"{found['grpo']['memory_share_of_trl']:.2f}" in memory
    rollout = row("bare cached decode loop")
    assert f"{found['rollout']['ratio']:.2f}" in rollout
    assert f"{found['rollout']['ratio_with_values']:.2f}" in rollout
    halves = row("the same in bfloat16")
    for part in ("ppo_bf16", "grpo_bf16"):
        assert f"{found[part]['ratio']:.2f} ×" in halves


def test_learning_beside_trl() -> None:
    found, told = reference("benchmarks/learning_vs_trl"), row("until the reviews' gold is .8")
    assert f"{found['ratio']:.2f} × less" in told
    assert f"{found['pass_before']['ratio']:.2f} ×" in told
    for side in ("ours", "trl"):
        assert f"{median(found['seconds'][side]):.1f}" in told
        assert f"{median(found['pass_before']['seconds'][side]):.1f}" in told
