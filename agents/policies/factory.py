"""The hyperparameters of policies, and the policy that an environment and a config ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..environment.adapter import EnvAdapter
from ..settings.config import Config
from .gru import GRUPolicy
from .language_model import LanguageModelPolicy
from .mlp import MLPPolicy
from .policy import Policy


@dataclass(frozen=True)
class PolicyConfig(Config):
    """Hyperparameters of the policy network."""

    policy: Literal["auto", "mlp", "gru", "lm"] | Callable[..., Any] = "auto"
    """"mlp" has no memory; "gru" is recurrent, for partially observable environments; "lm" is a language model that
    starts as a copy of the environment's reference model; "auto" is "lm" if there is one, else "mlp". Or a
    class or function that makes one of your own, called as MLPPolicy is"""
    net_arch: tuple[int, ...] = (64, 64)
    """widths of the hidden layers of actor and critic"""
    activation: Literal["tanh", "relu", "silu"] = "tanh"
    """activation of the hidden layers; tanh usually does best with PPO on control (Andrychowicz et al., 2021)"""
    memory_size: int = 64
    """width of the GRU's hidden state"""
    separate_critic: bool = False
    """give a language model's critic its own transformer trunk instead of reading the policy's hidden states"""
    bf16: bool = False
    """run a language model in bfloat16 autocast; weights stay float32"""
    log_std_init: float = 0.0
    """initial log standard deviation of continuous actions"""
    normalize_observation: bool = False
    """normalize observations by their running mean and standard deviation, which are saved with the policy"""

    def check(self) -> None:
        """See `Config.check`."""
        super().check()
        self.bounds("memory_size", "net_arch", at_least=1)


def make_policy_for(adapter: EnvAdapter, config: PolicyConfig) -> Policy:
    """Make the policy for this environment and config."""
    spaces = adapter.observation_space, adapter.action_space
    reference = adapter.reference_model
    shape: dict[str, Any] = {
        "net_arch": config.net_arch,
        "activation": config.activation,
        "memory_size": config.memory_size,
        "log_std_init": config.log_std_init,
        "normalize": config.normalize_observation,
    }
    if callable(config.policy):
        text = {} if reference is None else {"reference_model": reference, "separate_critic": config.separate_critic}
        made: Policy = config.policy(*spaces, **shape, **text)
        return made
    if config.policy == "lm" and reference is None:
        raise ValueError(
            f"policy='lm' starts as a copy of the environment's reference_model, and {adapter.vector_env} has none: "
            "accepted are 'auto', 'mlp' and 'gru'"
        )
    if config.policy == "lm" or (config.policy == "auto" and reference is not None):
        return LanguageModelPolicy(*spaces, reference, separate_critic=config.separate_critic)
    if config.bf16:
        raise ValueError("bf16=True is for language models: small networks compute in float32")
    return (GRUPolicy if config.policy == "gru" else MLPPolicy)(*spaces, **shape)
