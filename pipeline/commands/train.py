"""`textrlhf train`: train an agent on an environment."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import gymnasium as gym
import tyro

from ...agents import Agent
from ...agents.settings.config import (
    LANGUAGE_MODEL,
    Config,
    Tuned,
    language_model_settings,
    make_config,
    tuned_for,
    tuned_settings,
)
from ...agents.settings.registry import AGENTS, agent_class
from ...envs.registration import TEXT_ENVS
from ...records.progress import rounded
from ..console.arguments import named_fields, parse, peek, wants_help
from ..console.checks import (
    at_least_one,
    check_device,
    check_kl_options,
    find_environment,
    function_named,
    takes_arguments,
)
from ..console.errors import UserError, as_user_error, did_you_mean
from ..console.hints import hint_for_training
from ..console.printing import heading
from ..runs.fine_tuning import fine_tuning
from ..runs.run_folder import Request, new_run
from ..runs.run_report import report, train_new

STEPS = 100_000  # without tuned hyperparameters
TEXT_OPTIONS = ("model", "prompts", "reward_model", "kl_coef", "credit")  # arguments of text environments


@dataclass
class AgentOptions:
    """What agent to make, in what environment."""

    env: Annotated[str, tyro.conf.arg(metavar="ID")] = tyro.MISSING
    """the environment, for example CartPole-v1; of a module of yours module:Id-v0, which it registers, or
    module:function, which makes one"""
    agent: str = "ppo"
    """the algorithm; textrlhf agents lists them"""
    env_kwargs: Annotated[str, tyro.conf.arg(metavar="JSON")] = "{}"
    """arguments for the environment as a JSON object, for example '{"is_slippery": false}'"""
    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None
    """for text: the language model to train, by folder or hub id, or a shipped one"""
    prompts: Annotated[str | None, tyro.conf.arg(metavar="FILE")] = None
    """for text: rows with a "prompt", a .jsonl, .json, .csv, .tsv or .parquet file, a `datasets` folder or a hub id"""
    reward_model: Annotated[str | None, tyro.conf.arg(metavar="REWARD_MODEL")] = None
    """for text: a reward model by its run, folder or hub id, or a function of yours, module:function"""
    kl_coef: Annotated[float | None, tyro.conf.arg(metavar="BETA")] = None
    """for text: the coefficient of the KL penalty"""
    credit: Literal["end", "token"] | None = None
    """for text: pay the score at a text's end, or with each token what it adds"""
    tuned: bool = True
    """start from the environment's tuned hyperparameters, if there are any"""


@dataclass
class Options(AgentOptions):
    """Train an agent on an environment, and save everything about it in a folder.

    Example:
      textrlhf train --agent ppo --env CartPole-v1 --steps 100000 --seed 0 --run runs/cartpole

    Every hyperparameter is an option too. The defaults below are those of the given --agent and --env, tuned where
    there are tuned ones (textrlhf envs): give both, as in textrlhf train --env CartPole-v1 --help. Where neither you
    nor they give one, the learning rate of a language model follows its size, and the batch size of clone the data.
    """

    steps: int = STEPS
    """number of environment steps, counted over all parallel environments"""
    run: Annotated[str | None, tyro.conf.arg(metavar="DIR")] = None
    """where to save it; by default runs/ENV-AGENT-SEED, with the time if there is no seed"""
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
    for flag in ("steps", "evaluate_every", "evaluation_episodes"):
        at_least_one(f"--{flag.replace('_', '-')}", getattr(options, flag))
    env_kwargs = checked_arguments(options, config)
    check_kl_options(options.env, [("--kl-coef", options.kl_coef), ("--kl-target", options.kl_target)])
    env = options.env.rpartition(":")[2].replace("/", "-").lower()
    which = time.strftime("%Y%m%d-%H%M%S") if config.seed is None else config.seed
    run = new_run(options.run or f"runs/{env}-{options.agent}-{which}", "train")
    agent, known = make_agent(options, config, env_kwargs)
    names = ("env", "steps", "evaluate_every", "evaluation_episodes", "stop_at", "kl_target")
    request = Request(command="train", **{name: getattr(options, name) for name in names})
    if not options.quiet:
        which = hyperparameters_in_words(agent, config, named_fields(type(config), argv), tuned=known)
        epoch = getattr(agent, "epoch_steps", None)
        steps = f"{options.steps:,} steps" + (f" ({rounded(options.steps / epoch)} epochs)" if epoch else "")
        heading(f"{type(agent).__name__} on {options.env}: {steps}, seed {agent.seed}, {which}")
    train_new(agent, run, request, quiet=options.quiet)
    report(agent, run, request, quiet=options.quiet)
    agent.close()


def checked_arguments(options: AgentOptions, config: Config) -> dict[str, Any]:
    """The environment's arguments; a UserError if there is no such environment or device."""
    find_environment(options.env)
    demonstrations = getattr(config, "demonstrations", None)
    env_kwargs = fine_tuning(options.agent, options.env, env_arguments(options), demonstrations)
    check_device(config.device)
    return env_kwargs


def make_agent(options: AgentOptions, config: Config, env_kwargs: Mapping[str, Any]) -> tuple[Agent, Tuned | None]:
    """The agent that is asked for, and what was tuned for its environment."""
    about = options.env + (f" with --env-kwargs {options.env_kwargs}" if options.env_kwargs != "{}" else "")
    with as_user_error(gym.error.Error, ValueError, TypeError, KeyError, about=about):
        known = _tuned(options.agent, options.env, env_kwargs) if options.tuned else None
        given = {name: getattr(config, name) for name in config.given}
        both = {**(known.env_kwargs if known else {}), **env_kwargs}
        return agent_class(options.agent)(options.env, env_kwargs=both, **given), known


def parse_options(
    argv: Sequence[str], options_class: type[AgentOptions] = Options, command: str = "train"
) -> tuple[Any, Config]:
    """Parse a command line whose options depend on the agent, and their defaults on the environment.

    Given in the config are tuned hyperparameters and those on the command line: the agent chooses the others.
    """
    name, env = peek(argv, "--agent", "ppo") or "", peek(argv, "--env")
    if name not in AGENTS:
        raise UserError(f"no agent {name!r}: {did_you_mean(name, AGENTS, '`textrlhf agents` lists them')}")
    if not env and not wants_help(argv):
        raise UserError(f"{command} needs an environment: --env CartPole-v1, for example (`textrlhf envs` lists more)")
    kind: type[Config] = agent_class(name).config_class
    try:
        env_kwargs = _json_object(peek(argv, "--env-kwargs") or "{}")
    except UserError:  # reported when the command line is parsed
        env_kwargs = {}
    env_kwargs |= {option: value for option in TEXT_OPTIONS if (value := peek(argv, _flag(option)))}
    begin, steps = starting_point(name, env or "", env_kwargs, tuned="--no-tuned" not in argv)
    both: Any = dataclasses.make_dataclass(
        command.title(),
        [("hyperparameters", kind)],
        bases=(options_class,),
        namespace={"__doc__": options_class.__doc__},
        kw_only=True,
    )
    default = both(hyperparameters=begin, **({"steps": steps} if hasattr(options_class, "steps") else {}))
    options = parse(both, argv, command, default, functools.partial(hint_for_training, argv))
    chosen = {field: getattr(options.hyperparameters, field) for field in named_fields(kind, argv)}
    return options, begin.replace(**chosen)


def starting_point(agent: str, env: str, env_kwargs: dict[str, Any], *, tuned: bool) -> tuple[Config, int]:
    """The tuned hyperparameters, or else the agent's defaults for the environment; and a number of steps."""
    kind = agent_class(agent).config_class
    if tuned and (known := _tuned(agent, env, env_kwargs)):
        return make_config(kind, **known.hyperparameters), known.total_timesteps
    text = env.rpartition(":")[2] in TEXT_ENVS
    defaults: Config = kind().with_defaults(language_model_settings(agent) if text else {})
    return defaults, STEPS


def _tuned(agent: str, env: str, env_kwargs: Mapping[str, Any]) -> Tuned | None:
    """What is tuned for this very environment and model."""
    known = tuned_for(agent, env, env_kwargs)
    return None if known == tuned_settings(agent).get(LANGUAGE_MODEL) else known


def hyperparameters_in_words(agent: Agent, config: Config, named: Collection[str], *, tuned: Tuned | None) -> str:
    """Which hyperparameters an agent has, and which of them the command line changed or the agent chose itself."""
    if tuned:
        what, usual = "tuned hyperparameters", tuned.hyperparameters
    elif agent.env.is_text and getattr(config, "policy", None) in ("auto", "lm"):
        what, usual = "defaults for language models", language_model_settings(agent.name)
    else:
        what, usual = "default hyperparameters", {}
    begin = make_config(type(config), **usual)
    own = sorted(set(named) - {"seed", "demonstrations"})
    changed = {name: value for name in own if (value := getattr(config, name)) != getattr(begin, name)}
    changes = f" except {', '.join(f'{name}={value}' for name, value in changed.items())}" if changed else ""
    by_itself = [
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name in ("learning_rate", "batch_size")
        if name not in config.given and (value := getattr(agent.config, name, None)) != getattr(begin, name, None)
    ]
    chosen = f", chosen for this model and data {', '.join(by_itself)}" if by_itself else ""
    return what + changes + chosen


def env_arguments(options: AgentOptions) -> dict[str, Any]:
    """The environment's arguments, with those for text that have options of their own."""
    found = _json_object(options.env_kwargs)
    own = {name: value for name in TEXT_OPTIONS if (value := getattr(options, name)) is not None}
    for name, value in own.items():
        if found.get(name, value) != value:
            raise UserError(
                f"{_flag(name)} {value} and --env-kwargs with {name} {found[name]!r} differ: give one of them"
            )
    if own and not takes_arguments(options.env, own):
        flags = ", ".join(map(_flag, own))
        raise UserError(f"{flags}: {options.env} has no such argument; text environments do (`textrlhf envs`)")
    found |= own
    reward_model = found.get("reward_model")
    if isinstance(reward_model, str):
        found["reward_model"] = function_named(reward_model) or reward_model
    return found


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserError(f"--env-kwargs {text}: accepted is a JSON object, for example '{{\"is_slippery\": false}}'")
    return value
