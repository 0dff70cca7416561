"""The base class of agents with a `Policy`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ..language import CausalLM
from ..language.lora import Lora
from ..language.memory_estimate import check_memory, training_memory
from ..language.sizes import training_tokens
from .agent import Agent
from .environment.masks import Mask, checked, require_an_action
from .environment.play import Act
from .environment.spaces import Array, Flags, Leaves
from .policies import GRUPolicy, LanguageModelPolicy, Memory, MLPPolicy, Policy
from .settings.config import Config
from .settings.seeding import Stream, torch_generator


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
    """run a language model in bfloat16 autocast; weights stay float32. Rounding alone then changes first ratios, by
    up to .19 in a model of 135M weights (2e-5 in float32), which is near `clip_range`: prefer float32 where memory
    allows, and adapters where it does not"""
    lora_rank: int = 0
    """train adapters of this rank (LoRA) beside a language model's weights, which are the reference model's own and
    stay as they are; 0 trains all weights. The default learning rate is then ten times higher, up to 1e-3"""
    lora_alpha: float | None = None
    """scale of the adapters' outputs, times the rank; None: twice the rank, so that another rank needs no other
    learning rate"""
    lora_target_modules: tuple[str, ...] | None = None
    """names of the layers with adapters, such as ("q_proj", "v_proj"); None: all linear ones, which learns as well as
    training all weights"""
    gradient_checkpointing: bool = False
    """compute a language model's activations again in the backward pass instead of keeping them: less memory, a third
    more time"""
    tokens_at_once: int | None = None
    """tokens that a language model's update reads in one forward, padding included; gradients of several add up. If
    None, chosen by the model's size and the free memory, and recorded"""
    log_std_init: float = 0.0
    """initial log standard deviation of continuous actions"""
    normalize_observation: bool = False
    """normalize observations by their running mean and standard deviation, which are saved with the policy"""

    def check(self) -> None:
        """See `Config.check`."""
        super().check()
        self.bounds("memory_size", "net_arch", "tokens_at_once", at_least=1)
        self.bounds("lora_rank", at_least=0)
        self.bounds("lora_alpha", above=0)
        if self.lora_target_modules == ():
            raise ValueError("lora_target_modules=(): accepted is None or the names of some layers")
        if not self.lora_rank and (self.lora_alpha is not None or self.lora_target_modules is not None):
            raise ValueError(
                "lora_alpha and lora_target_modules are for adapters: set lora_rank too, to 16 for example"
            )


class PolicyAgent(Agent):
    """An agent whose actor and critic are one `Policy`."""

    config: PolicyConfig
    policy: Policy

    def _build(self) -> None:
        self.policy = self.make_policy()
        self.policy.to_device(self.device)
        if isinstance(self.policy, LanguageModelPolicy):  # sums of gradients depend on it
            self.policy.tokens_at_once = self.config.tokens_at_once or self.policy.tokens_at_once
            self.config = self.config.replace(given=False, tokens_at_once=self.policy.tokens_at_once)
        self.networks["model"] = self.policy.network
        self.env.share_observations(not getattr(self.policy, "keeps_observations", True))
        self._predictions = torch_generator(self.seed, Stream.PREDICTIONS, self.device)
        fingerprint = getattr(self.env.reference_model, "fingerprint", None) if self._needs_reference() else None
        self._reference: str | None = fingerprint() if fingerprint else None  # it is frozen: one hash is enough

    def _needs_reference(self) -> bool:
        """Whether a checkpoint is of use beside the very reference model only that it was trained with."""
        return bool(self.config.lora_rank)

    def state_dict(self) -> dict[str, Any]:
        """See `Agent.state_dict`."""
        return super().state_dict() | ({"reference_model": self._reference} if self._reference else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Agent.load_state_dict`."""
        if state.get("reference_model", self._reference) != self._reference:
            raise ValueError(
                f"the environment's reference model, {self.env.reference_model}, is not the one this agent started "
                "from: pass env=… with that model, or restore its files; to use the trained model as a new reference, "
                "make a new agent in an environment with model='<run>/model'"
            )
        super().load_state_dict(state)

    def make_policy(self) -> Policy:
        """The policy for this environment and config; override it to use your own."""
        config, spaces = self.config, (self.env.observation_space, self.env.action_space)
        reference = self.env.reference_model
        shape: dict[str, Any] = {
            "net_arch": config.net_arch,
            "activation": config.activation,
            "memory_size": config.memory_size,
            "log_std_init": config.log_std_init,
            "normalize": config.normalize_observation,
        }
        if callable(config.policy):
            self._refuse_for_others("lora_rank", "gradient_checkpointing")
            text = (
                {} if reference is None else {"reference_model": reference, "separate_critic": config.separate_critic}
            )
            made: Policy = config.policy(*spaces, **shape, **text)
            return made
        if config.policy == "lm" and reference is None:
            raise ValueError(
                "policy='lm' starts as a copy of the environment's reference_model, and "
                f"{self.env.vector_env} has none: accepted are 'auto', 'mlp' and 'gru'"
            )
        if config.policy == "lm" or (config.policy == "auto" and reference is not None):
            return self._language_model(reference)
        if config.bf16:
            raise ValueError("bf16=True is for language models: small networks compute in float32")
        self._refuse_for_others("lora_rank", "gradient_checkpointing", "tokens_at_once")
        return (GRUPolicy if config.policy == "gru" else MLPPolicy)(*spaces, **shape)

    def _language_model(self, reference: Any) -> LanguageModelPolicy:
        """The policy of text, if there is memory for its training."""
        c = self.config
        lora = Lora(c.lora_rank, c.lora_alpha, c.lora_target_modules) if c.lora_rank else None
        how: dict[str, Any] = {
            "separate_critic": c.separate_critic,
            "lora": lora,
            "gradient_checkpointing": c.gradient_checkpointing,
        }
        if isinstance(reference, CausalLM):
            size: dict[str, Any] = {
                "tokens": c.tokens_at_once or training_tokens(reference.model, recompute=c.gradient_checkpointing),
                "n_envs": self.env.n_envs,
                "context": int(np.prod(self.env.observation_space.shape or ())),
            }
            check_memory(training_memory(reference.model, **how, **size), self.device, str(reference))
        return LanguageModelPolicy(
            self.env.observation_space,
            self.env.action_space,
            reference,
            tokens_at_once=c.tokens_at_once,
            **how,
        )

    def _refuse_for_others(self, *names: str) -> None:
        """Raise ValueError for settings of language models that another policy would ignore."""
        for name in names:
            if value := getattr(self.config, name):
                raise ValueError(f"{name}={value!r} is for language models, policy='lm': leave it out")

    def precision(self) -> torch.autocast:
        """bfloat16 autocast if configured, for policy and reference model alike."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16)

    def predict(
        self,
        observation: Any,
        state: Memory = None,
        episode_start: Flags | None = None,
        deterministic: bool = False,
        action_masks: Any = None,
    ) -> tuple[Array, Memory]:
        """See `Agent.predict`."""
        leaves, single = self._batch(observation)
        n = len(leaves[0])
        if state is None:
            state = self.policy.initial_memory(n)
        starts = np.zeros(n, bool) if episode_start is None else np.asarray(episode_start, bool).reshape(n)
        masks = None
        if action_masks is not None and self.env.codec.choices:
            masks = checked(np.asarray(action_masks, bool), (n, sum(self.env.codec.choices)))
            require_an_action(masks)
        act = self.policy.act(
            leaves, state, starts, deterministic=deterministic, masks=masks, generator=self._predictions
        )
        action = self.env.codec.to_env(act.on_host()[0])
        return (action[0] if single else action), act.memory

    def value(self, observation: Any, state: Memory = None) -> Any:
        """The critic's value of an observation (a float) or of a batch (an array)."""
        leaves, single = self._batch(observation)
        state = self.policy.initial_memory(len(leaves[0])) if state is None else state
        values = self.policy.value(leaves, state).cpu().numpy()
        return float(values[0]) if single else values

    def player(self, n_envs: int, seed: int = 0, deterministic: bool = False) -> Act:
        """See `Agent.player`."""
        memory = self.policy.initial_memory(n_envs)
        generator = torch_generator(seed, Stream.PLAYERS, self.device)

        def act(observation: Leaves, starts: Flags, masks: Mask | None) -> tuple[Array, Array]:
            nonlocal memory
            chosen = self.policy.act(
                observation, memory, starts, deterministic=deterministic, masks=masks, generator=generator
            )
            memory = chosen.memory
            return chosen.on_host()

        return act

    def export(self, run: Path) -> None:
        """See `Agent.export`."""
        self.policy.export(run)
