"""Hyperparameters: every wrong one is answered at once, every one is explained, and they survive JSON."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import math
from dataclasses import dataclass
from typing import Any

import pytest

from textrlhf.agents import PPOConfig
from textrlhf.agents.settings.config import Config, make_config, scheduled


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("learning_rte", "learning_rate"), ("n_step", "n_steps"), ("entropi_coef", "ent_coef"), ("lambda", "gae_lambda")],
)
def test_misspelt_name_suggests_the_closest(wrong: str, right: str) -> None:
    with pytest.raises(TypeError, match=f"PPOConfig has no hyperparameter '{wrong}': did you mean '{right}'"):
        make_config(PPOConfig, **{wrong: 1})


def test_unknown_name_lists_all() -> None:
    with pytest.raises(TypeError, match="'zzzz': accepted are n_envs, seed, device"):
        make_config(PPOConfig, zzzz=1)


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("n_steps", 1.5, "int"),
        ("n_steps", True, "int"),
        ("n_steps", "8", "int"),
        ("learning_rate", "3e-4", "float"),
        ("learning_rate", False, "float"),
        ("learning_rate", None, "float"),
        ("device", 0, "str"),
        ("normalize_advantage", 1, "bool"),
        ("target_kl", "none", "float or None"),
        ("seed", 0.5, "int or None"),
        ("net_arch", 64, "a tuple of int"),
        ("net_arch", (64, "64"), "a tuple of int"),
        ("activation", "gelu", "'tanh' or 'relu' or 'silu'"),
        ("lr_schedule", None, "'constant' or 'linear' or 'cosine'"),
    ],
)
def test_wrong_type_is_refused(name: str, value: Any, accepted: str) -> None:
    with pytest.raises(TypeError) as caught:
        make_config(PPOConfig, **{name: value})
    assert str(caught.value) == f"{name}={value!r}: accepted is {accepted}"


@pytest.mark.parametrize(
    ("name", "value", "meaning"),
    [
        ("n_envs", 0, "at least 1"),
        ("checkpoints", 0, "at least 1"),
        ("checkpoint_every", 0, "None or at least 1"),
        ("torch_threads", -1, "None or at least 1"),
        ("seed", -1, "None or at least 0 and below 4294967296"),
        ("n_steps", 0, "at least 1"),
        ("batch_size", 0, "at least 1"),
        ("n_epochs", 0, "at least 1"),
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", math.nan, "a finite number"),
        ("gamma", 1.01, "at least 0 and at most 1"),
        ("gae_lambda", -0.1, "at least 0 and at most 1"),
        ("gamma", math.nan, "a finite number"),
        ("clip_range", 0, "above 0"),
        ("max_grad_norm", -0.5, "above 0"),
        ("target_kl", 0.0, "None or above 0"),
        ("clip_range_vf", -1.0, "None or above 0"),
    ],
)
def test_value_out_of_range_is_refused(name: str, value: Any, meaning: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=") as caught:
        make_config(PPOConfig, **{name: value})
    assert str(caught.value) == f"{name}={value!r}: accepted is {meaning}"


@pytest.mark.parametrize(
    "values",
    [
        {"gamma": 1, "gae_lambda": 0, "n_steps": 1, "net_arch": (), "seed": 0},
        {"learning_rate": 1, "target_kl": None, "clip_range_vf": 2, "checkpoint_every": 1},
    ],
)
def test_bounds_are_inclusive(values: dict[str, Any]) -> None:
    config = make_config(PPOConfig, **values)
    assert {name: getattr(config, name) for name in values} == values


def test_changes_are_checked_and_copied() -> None:
    config = PPOConfig(n_steps=32)
    changed = make_config(PPOConfig, config, gamma=0.5)
    assert (changed.n_steps, changed.gamma, config.gamma) == (32, 0.5, 0.99)
    with pytest.raises(ValueError, match="gamma=2"):
        make_config(PPOConfig, config, gamma=2)
    with pytest.raises(TypeError, match="no hyperparameter 'gama'"):
        make_config(PPOConfig, config, gama=1)
    with pytest.raises(TypeError, match="config is a Config: accepted is a PPOConfig"):
        make_config(PPOConfig, Config())


def test_config_is_frozen() -> None:
    """A running agent that changed its hyperparameters would be saved with others than it had."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        PPOConfig().gamma = 0.5  # type: ignore[misc]


def other_than(default: Any, hint: str) -> Any:
    """A value of the field's type that is not its default."""
    if isinstance(default, bool):
        return not default
    if isinstance(default, int | float):
        return default / 2 if isinstance(default, float) and default else default + 1
    if isinstance(default, tuple):
        return (3, 5, 7)
    if default is None:
        return 0.25 if "float" in hint else ("a", "b") if "tuple" in hint else 11
    return {"tanh": "relu", "constant": "cosine"}.get(default, "gru" if hint.startswith("Literal") else "cpu")


def test_config_round_trips_through_json() -> None:
    """Every one away from its default, so that none can be lost unseen; a tuple comes back as a tuple."""
    values = {field.name: other_than(field.default, str(field.type)) for field in dataclasses.fields(PPOConfig)}
    config = make_config(PPOConfig, **values)
    assert all(getattr(config, field.name) != field.default for field in dataclasses.fields(PPOConfig))
    back = make_config(PPOConfig, **json.loads(json.dumps(config.to_json())))
    assert back == config
    assert isinstance(back.net_arch, tuple)


def test_ppo_fields_are_documented() -> None:
    """The strings under the fields are what `--help` and the docs show."""
    fields, explained = [], []
    for kind in PPOConfig.__mro__[:-1]:
        tree = ast.parse(inspect.getsource(kind)).body[0]
        assert isinstance(tree, ast.ClassDef)
        for statement, after in zip(tree.body, [*tree.body[1:], None], strict=True):
            if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
                continue
            fields.append(statement.target.id)
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                text = after.value.value
                if isinstance(text, str) and len(text.split()) >= 3:
                    explained.append(statement.target.id)
    assert set(fields) >= {field.name for field in dataclasses.fields(PPOConfig)}
    assert explained == fields


@pytest.mark.parametrize(
    ("schedule", "at"),
    [
        ("constant", [3.0, 3.0, 3.0, 3.0, 3.0]),
        ("linear", [3.0, 2.25, 1.5, 0.75, 0.0]),
        ("cosine", [3.0, 3 * (0.5 + 0.5 * math.sqrt(0.5)), 1.5, 3 * (0.5 - 0.5 * math.sqrt(0.5)), 0.0]),
    ],
)
def test_schedules_fall_to_zero(schedule: Any, at: list[float]) -> None:
    found = [scheduled(3.0, schedule, remaining) for remaining in (1.0, 0.75, 0.5, 0.25, 0.0)]
    assert found == pytest.approx(at, abs=1e-12)


def test_subclass_fields_are_checked() -> None:
    @dataclass(frozen=True)
    class Mine(Config):
        width: int = 3
        """how wide it is"""

        def check(self) -> None:
            super().check()
            self.bounds("width", below=10)

    assert make_config(Mine, width=5).width == 5
    with pytest.raises(ValueError, match="width=12: accepted is below 10"):
        make_config(Mine, width=12)
    with pytest.raises(ValueError, match="n_envs=0"):
        make_config(Mine, n_envs=0)
