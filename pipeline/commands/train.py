"""`textrlhf train`: train an agent on an environment."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import gymnasium as gym
import tyro

from ...agents import Agent
from ...agents.settings.config import Config, language_model_settings, make_config, tuned_for
from ...agents.settings.registry import AGENTS, agent_class
from ...envs.registration import TEXT_ENVS
from ..console.arguments import parse, peek, wants_help
from ..console.checks import at_least_one, check_device, find_environment
from ..console.errors import UserError, as_user_error, did_you_mean
from ..console.printing import heading
from ..runs.fine_tuning import fine_tuning
from ..runs.run_folder import Request, new_run
from ..runs.run_report import learning, report

STEPS = 100_000  # without tuned hyperparameters


@dataclass
class Options:
    """Train an agent on an environment, and save everything about it in a folder.

    Example:
      textrlhf train --agent ppo --env CartPole-v1 --steps 100000 --seed 0 --run runs/cartpole

    Every hyperparameter is an option too. The defaults below are those of the given --agent and --env, tuned where
    there are tuned ones (textrlhf envs): give both, as in textrlhf train --env CartPole-v1 --help.
    """

    env: Annotated[str, tyro.conf.arg(metavar="ID")] = tyro.MISSING
    """the environment, for example CartPole-v1; module:Id-v0 for one that your module registers"""
    agent: str = "ppo"
    """the algorithm; textrlhf agents lists them"""
    steps: int = STEPS
    """number of environment steps, counted over all parallel environments"""
    run: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """where to save it; by default runs/ENV-AGENT-SEED, with the time if there is no seed"""
    env_kwargs: Annotated[str, tyro.conf.arg(metavar="JSON")] = "{}"
    """arguments for the environment as a JSON object, for example '{"is_slippery": false}'"""
    tuned: bool = True
    """start from the environment's tuned hyperparameters, if there are any"""
    evaluate_every: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """evaluate on 20 episodes every N steps, and save the best agent in DIR/best"""
    evaluation_episodes: int = 100
    """number of episodes of the final evaluation"""
    stop_at: Annotated[float | None, tyro.conf.arg(metavar="SCORE")] = None
    """stop early, once an evaluation (with --evaluate-every) or the last 100 training episodes average SCORE"""
    kl_target: Annotated[float | None, tyro.conf.arg(metavar="NATS")] = None
    """for text: adapt the KL penalty towards this KL from the reference model per text"""
    quiet: bool = False
    """print nothing but the result"""


def train(argv: Sequence[str]) -> None:
    """Run `textrlhf train`."""
    options, config = parse_options(argv)
    given = _json_object(options.env_kwargs)
    known = tuned_for(options.agent, options.env, given) if options.tuned else None
    env_kwargs = {**(known.env_kwargs if known else {}), **given}
    env_kwargs = fine_tuning(options.agent, options.env, env_kwargs, getattr(config, "demonstrations", None))
    for flag in ("steps", "evaluate_every", "evaluation_episodes"):
        at_least_one(f"--{flag.replace('_', '-')}", getattr(options, flag))
    find_environment(options.env)
    check_device(config.device)
    env = options.env.rpartition(":")[2].replace("/", "-").lower()
    which = time.strftime("%Y%m%d-%H%M%S") if config.seed is None else config.seed
    run = new_run(options.run or f"runs/{env}-{options.agent}-{which}")
    about = options.env + (f" with --env-kwargs {options.env_kwargs}" if given else "")
    with as_user_error(gym.error.Error, ValueError, TypeError, KeyError, about=about):
        begin, _ = starting_point(options.agent, options.env, given, tuned=options.tuned)
        chosen = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        changed = {name: value for name, value in chosen.items() if value != getattr(begin, name)}
        kind = agent_class(options.agent)
        agent: Agent = kind(options.env, begin if known else None, env_kwargs=env_kwargs, **changed)
    names = ("env", "steps", "evaluate_every", "evaluation_episodes", "stop_at", "kl_target")
    request = Request(command="train", **{name: getattr(options, name) for name in names})
    request.save(run)
    if not options.quiet:
        which = ("tuned" if known else "default") + " hyperparameters"
        if changed.keys() - {"seed"}:
            which += f" except {', '.join(f'{name}={value}' for name, value in changed.items() if name != 'seed')}"
        heading(f"{kind.__name__} on {options.env}: {options.steps:,} steps, seed {agent.seed}, {which}")
    with learning(run):
        agent.learn(options.steps, callbacks=request.callbacks(), run=run, progress=not options.quiet)
    report(agent, run, request, quiet=options.quiet)
    agent.close()


def parse_options(argv: Sequence[str]) -> tuple[Options, Config]:
    """Parse a command line whose options depend on the agent, and their defaults on the environment."""
    name, env = peek(argv, "--agent", "ppo") or "", peek(argv, "--env")
    if name not in AGENTS:
        raise UserError(f"no agent {name!r}: {did_you_mean(name, AGENTS, '`textrlhf agents` lists them')}")
    if not env and not wants_help(argv):
        raise UserError("train needs an environment: --env CartPole-v1, for example (`textrlhf envs` lists more)")
    kind: type[Config] = agent_class(name).config_class
    try:
        env_kwargs = _json_object(peek(argv, "--env-kwargs") or "{}")
    except UserError:  # reported when the command line is parsed
        env_kwargs = {}
    begin, steps = starting_point(name, env or "", env_kwargs, tuned="--no-tuned" not in argv)
    both = dataclasses.make_dataclass(
        "Train", [("hyperparameters", kind)], bases=(Options,), namespace={"__doc__": Options.__doc__}, kw_only=True
    )
    default = both(hyperparameters=begin, steps=steps)
    options: Any = parse(both, argv, "train", default)
    return options, options.hyperparameters


def starting_point(agent: str, env: str, env_kwargs: dict[str, Any], *, tuned: bool) -> tuple[Config, int]:
    """The default hyperparameters and steps: tuned for the environment, or the agent's own."""
    kind = agent_class(agent).config_class
    if tuned and (known := tuned_for(agent, env, env_kwargs)):
        return make_config(kind, **known.hyperparameters), known.total_timesteps
    text = env.rpartition(":")[2] in TEXT_ENVS
    return make_config(kind, **(language_model_settings(agent) if text else {})), STEPS


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserError(f"--env-kwargs {text}: accepted is a JSON object, for example '{{\"is_slippery\": false}}'")
    return value
