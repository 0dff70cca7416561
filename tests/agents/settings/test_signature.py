"""Hyperparameters as `help`, editors and type checkers see them."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

import textrlhf
import write_keywords
from textrlhf import PPO
from textrlhf.agents.settings.registry import AGENTS, agent_class
from textrlhf.agents.settings.signature import field_docs


@pytest.mark.parametrize("name", AGENTS)
def test_signature_and_docstring_list_every_hyperparameter(name):
    cls = agent_class(name)
    parameters = inspect.signature(cls).parameters
    docs = field_docs(cls.config_class)
    for field in dataclasses.fields(cls.config_class):
        assert docs[field.name], f"{field.name} has no docstring behind it"
        if name == "clone" and field.name == "demonstrations":
            continue  # an argument of its own, which takes more than a path
        assert parameters[field.name].default == field.default
        assert f"{field.name}: {field.type} = {field.default!r}" in cls.__doc__
        assert docs[field.name] in cls.__doc__


def test_a_subclass_with_its_own_config_shows_it():
    @dataclasses.dataclass(frozen=True)
    class MyConfig(PPO.config_class):
        patience: int = 3
        """updates to wait"""

    class MyPPO(PPO):
        """Mine."""

        config_class = MyConfig

    assert inspect.signature(MyPPO).parameters["patience"].default == 3
    assert "patience: int = 3\n            updates to wait" in MyPPO.__doc__
    assert "patience" not in inspect.signature(PPO).parameters


def test_keyword_types_are_those_of_the_configs():
    assert write_keywords.TARGET.read_text() == write_keywords.source(), "run `make keywords`"


def test_type_checkers_see_what_the_registry_names():
    source = inspect.getsource(textrlhf.agents)
    for module, cls in AGENTS.values():
        for name in (cls, f"{cls}Config"):
            assert f"from .{module} import {name} as {name}\n" in source
            assert name in dir(textrlhf)
