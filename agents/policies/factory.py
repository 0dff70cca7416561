"""Which policy a environment asks for, and the hyperparameters that shape it: shared by all who learn actor and
critic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..environment.adapter import EnvAdapter
from ..settings.config import Config
from .gru import GRUPolicy
from .language_model import LanguageModelPolicy
from .mlp import MLPPolicy
from .policy import Policy


@dataclass(frozen=True)
class PolicyConfig(Config):
    """What agents share whose policy is one of those here."""

    policy: Literal["auto", "mlp", "gru", "lm"] = "auto"
    """"gru" remembers, for environments that do not show everything; "lm" is a language model that begins as the
    environment's reference; "auto" is "lm" where there is one, else "mlp" """
    net_arch: tuple[int, ...] = (64, 64)
    """widths of the hidden layers"""
    activation: Literal["tanh", "relu", "silu"] = "tanh"
    """tanh wins on control with PPO"""
    memory_size: int = 64
    """width of the GRU's memory"""
    separate_critic: bool = False
    """a language model's critic has a trunk of its own, instead of one more output on the policy's"""
    bf16: bool = False
    """a language model computes in bfloat16 where that is precise enough (autocast); weights stay float32"""
    log_std_init: float = 0.0
    """log of the first deviation of continuous actions"""
    normalize_observation: bool = False
    """centre and scale observations by running statistics, kept in the policy"""

    def check(self) -> None:
        """See `Config.check`."""
        super().check()
        self.require(["memory_size"], lambda value: value >= 1, "at least 1")
        self.require(["net_arch"], lambda widths: all(width >= 1 for width in widths), "widths of at least 1")


def make_policy_for(adapter: EnvAdapter, config: PolicyConfig) -> Policy:
    """Make the policy for this environment and config."""
    spaces = adapter.observation_space, adapter.action_space
    reference = adapter.reference_model
    if config.policy == "lm" and reference is None:
        raise ValueError(
            f"policy='lm' begins as the environment's reference_model, and {adapter.vector_env} has none: "
            "accepted there are 'auto', 'mlp' and 'gru'"
        )
    if config.policy == "lm" or (config.policy == "auto" and reference is not None):
        return LanguageModelPolicy(*spaces, reference, separate_critic=config.separate_critic)
    if config.bf16:
        raise ValueError("bf16=True is for language models: small networks compute in float32")
    if config.policy == "gru":
        return GRUPolicy(
            *spaces,
            memory_size=config.memory_size,
            net_arch=config.net_arch,
            activation=config.activation,
            log_std_init=config.log_std_init,
            normalize=config.normalize_observation,
        )
    return MLPPolicy(
        *spaces,
        net_arch=config.net_arch,
        activation=config.activation,
        log_std_init=config.log_std_init,
        normalize=config.normalize_observation,
    )
