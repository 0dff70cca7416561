"""Options that `train` does not have: the answer is what to type instead."""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import Any

import pytest

from textrlhf.agents.settings.habits import ENVIRONMENT
from textrlhf.envs.text.options import TextOptions
from textrlhf.pipeline.commands.train import AgentOptions, parse_options
from textrlhf.pipeline.console.errors import UserError

FIELDS = {field.name for field in dataclasses.fields(TextOptions)}
OWN = {field.name for field in dataclasses.fields(AgentOptions)} & FIELDS


def answer(line: str, env: str = "TextRLHF-v0") -> str:
    with pytest.raises(UserError) as error:
        parse_options(["--env", env, *shlex.split(line)])
    return str(error.value)


def env_kwargs(said: str) -> Any:
    flag, value = shlex.split(said.partition("environment: ")[2])
    assert flag == "--env-kwargs"
    return json.loads(value)


@pytest.mark.parametrize("name", sorted(FIELDS - OWN - {"device", "feedback"}))
def test_every_argument_of_a_text_environment_is_known(name: str) -> None:
    said = answer(f"--{name.replace('_', '-')} 3")
    assert env_kwargs(said) == {name: 3}


def test_python_knows_the_same_names() -> None:
    assert ENVIRONMENT.keys() | {"device"} == FIELDS


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('--system "Be brief, it\'s late."', {"system_prompt": "Be brief, it's late."}),
        ("--max-new-tokens=20 --on-length truncate", {"max_new_tokens": 20, "on_length": "truncate"}),
        ("--chat --allowed-tokens 1 2 3", {"chat": True, "allowed_tokens": [1, 2, 3]}),
        ("--no-chat", {"chat": False}),
        ("--env-kwargs '{\"turns\": 2}' --missing_eos_penalty .5 --lr 3", {"turns": 2, "missing_eos_penalty": 0.5}),
    ],
)
def test_values_and_what_is_there_already(line: str, expected: dict[str, Any]) -> None:
    assert env_kwargs(answer(line)) == expected


@pytest.mark.parametrize(
    ("line", "env", "expected"),
    [
        ("--beta 0.1", "TextRLHF-v0", "it is called --kl-coef here"),
        ("--lr 0.1", "CartPole-v1", "it is called --learning-rate here"),
        ("--max-new-tokens 3", "CartPole-v1", "CartPole-v1 has no such argument; text environments do"),
        ("--is-slippery False", "FrozenLake-v1", "--env-kwargs '{\"is_slippery\": false}'"),
        (
            "--feedback a:b",
            "TextDialogue-v0",
            "only Python can give: PPO('TextDialogue-v0', env_kwargs={\"feedback\": ",
        ),
        ("--n-stps 3", "CartPole-v1", "did you mean --n-steps?"),
    ],
)
def test_other_answers(line: str, env: str, expected: str) -> None:
    assert expected in answer(line, env)
