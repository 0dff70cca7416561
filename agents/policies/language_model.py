"""A causal language model as a policy: its memory is its KV cache, and a critic looks at its states."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from ...language import CausalLM
from ...language.device_copies import PackedUpload
from ...language.logprobs import at_once, logprobs_and_entropy, read_layers
from ...language.sampling import draw
from ..environment.masks import Mask
from ..environment.spaces import Leaves
from ..experience.rollout import Minibatch
from .policy import Act, Evaluation
from .text_critic import TextCritic
from .text_memory import TextLog, TextMemory, Texts

TOKENS_AT_ONCE = {"cpu": 1 << 11, "cuda": 1 << 16}


class LanguageModelPolicy:
    """Begins as a copy of `reference`, which stays as it is, with weights in float32.

    `act` reads each slot's new tokens, one as a rule and a whole prompt where a text begins. `evaluate` reads every
    text once, whole, and looks at the states from which a token was chosen. Dropout is off in both. The critic reads
    whole texts too, after they were written: it looks at the states of the same trunk, which it leaves as they are, or
    with `separate_critic` at those of a trunk that it learns for itself.
    """

    by_segments: ClassVar[bool] = True
    keeps_observations: ClassVar[bool] = False  # but copies what is new in them: they may be the environment's own

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
        self.critics_lm = _copy(reference) if separate_critic else None
        with torch.no_grad():
            layers = read_layers(self.lm, torch.zeros(1, 1, dtype=torch.long, device=self.lm.device))
        self._critic = TextCritic([layer.shape[2] for layer in layers], self.context).to(self.lm.device)
        parts: dict[str, nn.Module] = {"model": self.lm.model, "critic": self._critic}
        if self.critics_lm:
            parts["critics_trunk"] = self.critics_lm.trunk
        self._network = nn.ModuleDict(parts).requires_grad_(True)

    @property
    def network(self) -> nn.Module:
        """Model and critic."""
        return self._network

    def to_device(self, device: torch.device) -> None:
        """Move the network."""
        self._network.to(device)
        if self.critics_lm:
            self.critics_lm.model.to(device)  # its head is no part of the network, but a model is in one place

    def initial_memory(self, n: int) -> TextMemory:
        """Nothing read in any slot."""
        return TextMemory(self.lm, n, self.context)

    def after_update(self, memory: TextMemory) -> TextMemory:
        """Nothing read: keys and values of older weights are wrong. The next step reads all texts in one forward."""
        memory.forget(np.arange(memory.n))
        return memory

    @torch.no_grad()
    def act(
        self,
        observation: Leaves,
        memory: TextMemory,
        starts: NDArray[np.bool_],
        *,
        deterministic: bool = False,
        masks: Mask | None = None,
        generator: torch.Generator | None = None,
    ) -> Act:
        """See `Policy.act`."""
        upload = PackedUpload(self.lm.device)
        held = None if masks is None else upload.add(masks)
        states = memory.read(observation[0], starts, upload)
        allowed = None if held is None else upload[held]
        token, log_prob = draw(
            self.lm.head(states), temperature=0.0 if deterministic else 1.0, allowed=allowed, generator=generator
        )
        return Act(token, log_prob, memory, unchecked=True)

    def value(self, observation: Leaves, memory: TextMemory, rows: NDArray[np.int64] | None = None) -> Tensor:
        """See `Policy.value`; whatever was read of a text, it is read whole."""
        return self._values(Texts.at_their_ends(observation[0]))

    def values(self, log: TextLog, acts: Sequence[Act]) -> Tensor:
        """See `Policy.values`: each text is read once, whole."""
        texts, steps = log.whole()
        found = self._values(texts)
        values = found.new_zeros(log.shape)
        values.view(-1)[torch.from_numpy(steps).to(found.device)] = found
        return values

    def evaluate(self, batch: Minibatch) -> Evaluation:
        """See `Policy.evaluate`."""
        torch.clear_autocast_cache()  # else it would hold, while one autocast lasts, halves of older weights
        texts: Texts = batch.observations
        layers, at = texts.layers(self.lm), texts.places(self.lm)
        masks = batch.masks
        allowed = None if masks is None else lambda rows: masks[rows]
        log_prob, entropy = logprobs_and_entropy(self.lm, layers[-1].flatten(0, 1)[at], batch.actions, allowed)
        if not len(batch.values):
            return Evaluation(log_prob, entropy, batch.values)  # demonstrations: nobody asks what they are worth
        theirs = texts.layers(self.critics_lm) if self.critics_lm else [layer.detach() for layer in layers]
        return Evaluation(log_prob, entropy, self._critic(theirs, at))

    def microbatches(self, batch: Minibatch) -> Iterable[tuple[Minibatch, float]]:
        """Texts of like length together, as many as are read at once: so little is padded, and little memory needed."""
        for texts, places in batch.observations.parts(tokens_at_once(self.lm)):
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

    def new_log(self, memory: TextMemory) -> TextLog:
        """See `Policy.new_log`."""
        return TextLog()

    def update_statistics(self, log: TextLog, valid: NDArray[np.bool_]) -> None:
        """Nothing: tokens have no statistics."""

    def export(self, run: Path) -> None:
        """Write `model`, a plain Hugging Face folder: what the policy has become."""
        self.lm.save(run / "model")

    @torch.no_grad()
    def _values(self, texts: Texts) -> Tensor:  # -> (M,)
        lm = self.critics_lm or self.lm
        values = torch.empty(len(texts.rows), device=lm.device)
        for part, places in texts.parts(tokens_at_once(lm)):
            values[torch.from_numpy(places).to(lm.device)] = self._critic(part.layers(lm), part.places(lm))
        return values


def tokens_at_once(lm: CausalLM) -> int:
    """How many padded tokens are read in one forward that learns."""
    return at_once(TOKENS_AT_ONCE, lm.device)


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
