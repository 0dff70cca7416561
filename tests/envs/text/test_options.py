"""The arguments of text environments are the same in the dataclass, signatures, docstring and documentation."""

import ast
import inspect
import itertools
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import gymnasium as gym
import pytest

import textrlhf
from textrlhf.envs.text import TextEnv, TextOptions, TextVectorEnv
from textrlhf.envs.text.kl_penalty import KL_PENALTIES
from textrlhf.envs.text.options import CHOICES, TextKeywords
from textrlhf.records.checks import SPLITS

PAGE = Path(textrlhf.__file__).parent / "docs/envs/text_rlhf.md"
DEFAULTS = {field.name: field.default for field in fields(TextOptions)}
ROW = re.compile(r"^\s*\| `(\w+)` \| [^|]+ \| `?([^|`]+)`? \| [^|]+ \|$", re.M)


def test_the_keywords_are_those_of_the_dataclass():
    types = {field.name: field.type for field in fields(TextOptions)}
    assert {name: hint.__forward_arg__ for name, hint in TextKeywords.__annotations__.items()} == types


@pytest.mark.parametrize("env", [TextEnv, TextVectorEnv])
def test_the_signature_has_every_argument(env):
    parameters = inspect.signature(env).parameters
    assert {name: one.default for name, one in parameters.items() if name in DEFAULTS} == DEFAULTS
    assert set(parameters) - set(DEFAULTS) <= {"render_mode", "num_envs", "autoreset_mode"}
    assert parameters["kl_penalty"].annotation == "KLPenaltyMode"
    assert not any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def test_the_signature_of_a_subclass_is_its_own():
    class Mine(TextEnv):
        def __init__(self, mine=0):
            super().__init__()

    assert list(inspect.signature(Mine).parameters) == ["mine"]


@pytest.mark.parametrize("text", [TextEnv.__doc__, PAGE.read_text(encoding="utf-8")], ids=["docstring", "page"])
def test_the_table_of_arguments_is_complete_and_true(text):
    table = {name: ast.literal_eval(default.strip()) for name, default in ROW.findall(text.split("## Arguments")[1])}
    others = {"render_mode": None, "num_envs": 1, "autoreset_mode": "SameStep"}
    assert {name: value for name, value in table.items() if name not in others} == DEFAULTS
    assert table.items() <= (DEFAULTS | others).items()


def test_every_field_is_explained():
    tree = ast.parse(inspect.getsource(TextOptions)).body[0]
    body = tree.body[1:]  # after the docstring
    for field, reason in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(reason, ast.Expr), field.target.id


def test_choices_are_those_implemented():
    assert get_args(CHOICES["kl_penalty"]) == tuple(KL_PENALTIES)
    assert get_args(CHOICES["split"]) == SPLITS


def test_gym_make_takes_every_argument():
    defaults = {name: value for name, value in DEFAULTS.items() if name != "max_episode_steps"}
    gym.make("TextRLHF-v0", **defaults).close()
