"""`textrlhf envs` and `textrlhf agents`: lists of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from ..console.arguments import parse
from ..console.printing import console, key_values, line


@dataclass
class EnvsOptions:
    """List our own environments, and those with tuned hyperparameters, by agent.

    Example:
      textrlhf envs --all
    """

    all: bool = False
    """list every registered environment instead, one id per line"""


@dataclass
class AgentsOptions:
    """List the agents.

    Example:
      textrlhf agents
    """


def envs(argv: Sequence[str]) -> None:
    """Run `textrlhf envs`."""
    options = parse(EnvsOptions, argv, "envs")
    if options.all:
        import gymnasium as gym

        for env_id in sorted(gym.registry):
            line(env_id)
        return
    from ...agents.settings.config import tuned_settings
    from ...agents.settings.registry import AGENTS
    from ...envs.registration import ABOUT

    key_values(list(ABOUT.items()))
    line()
    for agent in AGENTS:
        table = Table(title=f"Tuned for {agent}", title_justify="left", header_style="bold")
        for column, justify in (("Environment", "left"), ("Steps", "right"), ("Hyperparameters", "left")):
            table.add_column(column, justify=justify, no_wrap=justify == "right")  # type: ignore[arg-type]
        for env_id, tuned in tuned_settings(agent).items():
            words = ", ".join(f"{name} {_plain(value)}" for name, value in tuned.hyperparameters.items())
            table.add_row(Text(env_id), f"{tuned.total_timesteps:,}", Text(words))
        console.print(table)
    line(
        "Any other Gymnasium environment works too: --env Acrobot-v1; of a module of yours --env module:Id-v0, which it"
    )
    line("registers, or --env module:function, which makes one. `textrlhf envs --all` lists all registered ids.")


def agents(argv: Sequence[str]) -> None:
    """Run `textrlhf agents`."""
    parse(AgentsOptions, argv, "agents")
    from ...agents.settings.registry import AGENTS, agent_class

    key_values([(name, (agent_class(name).__doc__ or "").strip().partition("\n")[0]) for name in AGENTS])
    line()
    line("Their hyperparameters: `textrlhf train --agent ppo --help`; with --env ID, those tuned for it.")


def _plain(value: object) -> str:
    return "×".join(map(str, value)) if isinstance(value, list) else str(value)
