"""A causal language model as a policy: its memory is its KV cache, and a value head looks at the same states."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from ...language import CausalLM, sample
from ...language.logprobs import logprobs_and_entropy
from ..masks import Mask
from ..rollout import Minibatch
from ..spaces import Leaves
from .policy import Act, Evaluation
from .reading import Reading, TextLog, Texts

TOKENS_AT_ONCE = {"cpu": 1 << 11, "cuda": 1 << 16}  # padded tokens that are read together while learning


class LanguageModelPolicy:
    """Begins as a copy of `reference`, which stays as it is, with weights in float32.

    `act` reads each slot's new tokens, one as a rule and a whole prompt where a text begins. `evaluate` reads every
    text once, whole, and looks at the states from which a token was chosen. Dropout is off in both. The value is read
    off the same states, or with `separate_critic` off those of a trunk of its own; it begins as 0.
    """

    by_segments: ClassVar[bool] = True

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        reference: CausalLM,
        *,
        separate_critic: bool = False,
    ) -> None:
        self.context = _checked_context(observation_space, action_space, reference)
        self.lm = _copy(reference)
        self.critic = _copy(reference) if separate_critic else None
        value = nn.Linear(reference.head_width, 1)
        nn.init.zeros_(value.weight)
        nn.init.zeros_(value.bias)
        parts: dict[str, nn.Module] = {"model": self.lm.model, "value": value}
        if self.critic:
            parts["critic"] = self.critic.trunk
        self._network = nn.ModuleDict(parts).requires_grad_(True)
        self._value = value

    @property
    def network(self) -> nn.Module:
        """Model, value head and critic."""
        return self._network

    @property
    def lms(self) -> list[CausalLM]:
        """The trunks that read: the model's, and the critic's where it has one."""
        return [self.lm, self.critic] if self.critic else [self.lm]

    def to_device(self, device: torch.device) -> None:
        """Move the network."""
        self._network.to(device)
        for lm in self.lms:
            lm.model.to(device)  # a critic's head is no part of the network, but has to be where its trunk is

    def initial_memory(self, n: int) -> Reading:
        """Nothing read in any slot."""
        return Reading(self.lms, n, self.context)

    def refreshed(self, memory: Reading) -> Reading:
        """Nothing read: keys and values of older weights are wrong. The next step reads all texts in one forward."""
        memory.forget(np.arange(memory.n))
        return memory

    @torch.no_grad()
    def act(
        self,
        observation: Leaves,
        memory: Reading,
        starts: NDArray[np.bool_],
        *,
        deterministic: bool = False,
        masks: Mask | None = None,
        generator: torch.Generator | None = None,
    ) -> Act:
        """See `Policy.act`."""
        states = memory.read(observation[0], starts)
        allowed = None if masks is None else torch.from_numpy(masks).to(states[0].device)
        token, log_prob = sample(
            self.lm.head(states[0]), temperature=0.0 if deterministic else 1.0, allowed=allowed, generator=generator
        )
        return Act(token, log_prob, self._values(states[-1]), memory)

    @torch.no_grad()
    def value(self, observation: Leaves, memory: Reading, rows: NDArray[np.int64] | None = None) -> Tensor:
        """See `Policy.value`."""
        return self._values(memory.peek(observation[0], np.arange(memory.n) if rows is None else rows))

    def evaluate(self, batch: Minibatch) -> Evaluation:
        """See `Policy.evaluate`."""
        torch.clear_autocast_cache()  # else it would hold, while one autocast lasts, halves of older weights
        texts: Texts = batch.observations
        states = [texts.states(lm) for lm in self.lms]
        masks = batch.masks
        allowed = None if masks is None else lambda rows: masks[rows]
        log_prob, entropy = logprobs_and_entropy(self.lm, states[0], batch.actions, allowed)
        return Evaluation(log_prob, entropy, self._values(states[-1]))

    def parts(self, batch: Minibatch) -> Iterable[tuple[Minibatch, float]]:
        """Texts of like length together, as many as are read at once: so little is padded, and little memory needed."""
        at_once = TOKENS_AT_ONCE.get(self.lm.device.type, TOKENS_AT_ONCE["cpu"])
        for texts, places in batch.observations.parts(at_once):
            steps = torch.from_numpy(places).to(batch.actions.device)
            part = Minibatch(
                texts,
                segments=None,  # texts tell all that is read
                actions=batch.actions[steps],
                log_probs=_some(batch.log_probs, steps),
                values=_some(batch.values, steps),
                advantages=_some(batch.advantages, steps),
                returns=_some(batch.returns, steps),
                masks=None if batch.masks is None else batch.masks[steps],
            )
            yield part, len(places) / len(batch.actions)

    def new_log(self, memory: Reading) -> TextLog:
        """See `Policy.new_log`."""
        return TextLog()

    def absorb(self, log: TextLog, valid: NDArray[np.bool_]) -> None:
        """Nothing: tokens have no statistics."""

    def export(self, run: Path) -> None:
        """Write `model`, a plain Hugging Face folder: what the policy has become."""
        self.lm.save(run / "model")

    def _values(self, states: Tensor) -> Tensor:  # (M, d) -> (M,)
        with torch.autocast(states.device.type, enabled=False):  # halves have too few digits for what is a sum
            value: Tensor = self._value(states.float()).squeeze(-1)
        return value


def _some(numbers: Tensor, steps: Tensor) -> Tensor:
    return numbers[steps] if len(numbers) else numbers  # of demonstrations nobody knows them


def _copy(lm: CausalLM) -> CausalLM:
    return CausalLM(copy.deepcopy(lm.model).float(), lm.tokenizer)


def _checked_context(observation_space: spaces.Space[Any], action_space: spaces.Space[Any], lm: CausalLM) -> int:
    """How many tokens a text may have."""
    if not isinstance(lm, CausalLM):
        raise ValueError(
            f"policy='lm' begins as the environment's reference_model, which is a {type(lm).__name__}: accepted is a "
            "textrlhf.language.CausalLM, such as CausalLM(model, tokenizer)"
        )
    if (
        not isinstance(observation_space, spaces.Box)
        or len(observation_space.shape) != 1
        or not np.issubdtype(observation_space.dtype, np.integer)
    ):
        raise ValueError(
            f"policy='lm' reads texts: accepted are observations Box(-1, V-1, (context,)), not {observation_space}"
        )
    if not isinstance(action_space, spaces.Discrete) or int(action_space.n) != lm.vocab_size or action_space.start:
        raise ValueError(
            f"policy='lm' writes one of the {lm.vocab_size} tokens of {lm}, the environment takes {action_space}: "
            "accepted is a Discrete action space of the model's width; is its tokenizer another's?"
        )
    context = observation_space.shape[0]
    if lm.context is not None and context > lm.context:
        raise ValueError(
            f"the environment's texts have up to {context} tokens, {lm} has {lm.context} positions: lower the "
            "environment's context, or take a model that has room for prompt and budget"
        )
    return context
