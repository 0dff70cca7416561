"""A causal language model as a policy: its memory is its KV cache, and a critic reads its hidden states."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from ...language import CausalLM
from ...language.device_copies import PackedUpload
from ...language.logprobs import logprobs_and_entropy, read_layers
from ...language.lora import Adapters, Lora, has_adapters, save_adapter
from ...language.sampling import draw
from ...language.sizes import recompute_activations, training_tokens
from ..environment.masks import Mask
from ..environment.spaces import Flags, Ints, Leaves
from ..experience.rollout import NUMBERS, Minibatch
from .policy import Act, Evaluation
from .text_critic import TextCritic
from .text_memory import TextLog, TextMemory, Texts


class LanguageModelPolicy:
    """Starts as a float32 copy of `reference`; with `lora`, as its very weights and adapters, which alone are trained.

    `act` feeds each slot's new tokens: usually one, or a whole prompt. `evaluate` and the critic read each text in one
    forward. The critic uses the policy's hidden states without changing them, or with `separate_critic` those of its
    own trunk. Dropout is off everywhere.
    """

    by_segments: ClassVar[bool] = True
    keeps_observations: ClassVar[bool] = False  # it copies new tokens, so the environment may reuse its arrays

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        reference: CausalLM,
        *,
        separate_critic: bool = False,
        lora: Lora | None = None,
        gradient_checkpointing: bool = False,
        tokens_at_once: int | None = None,
    ) -> None:
        self.context = _checked_context(observation_space, action_space, reference)
        self.reference = reference
        self.lm = reference.with_adapters(lora) if lora else _copy(reference)
        self.critic_lm: CausalLM | None = None
        if separate_critic:
            self.critic_lm = reference.with_adapters(lora) if lora else _copy(reference, sharing_head=True)
        self.tokens_at_once = tokens_at_once or training_tokens(self.lm.model, recompute=gradient_checkpointing)
        with torch.no_grad():
            layers = read_layers(self.lm, torch.zeros(1, 1, dtype=torch.long, device=self.lm.device))
        self._critic = TextCritic([layer.shape[2] for layer in layers], self.context).to(self.lm.device)
        trained: dict[str, nn.Module] = {
            "model": Adapters(self.lm.model) if lora else self.lm.model,
            "critic": self._critic,
        }
        if self.critic_lm:
            trained["critic_trunk"] = Adapters(self.critic_lm.trunk) if lora else self.critic_lm.trunk
        self.network = nn.ModuleDict(trained).requires_grad_(True)
        if gradient_checkpointing:
            for lm in (self.lm, self.critic_lm):
                if lm:
                    recompute_activations(lm.model)

    def to_device(self, device: torch.device) -> None:
        """See `Policy.to_device`."""
        self.network.to(device)
        for lm in (self.lm, self.critic_lm):  # of which the network may hold only a part
            if lm:
                lm.model.to(device)

    def initial_memory(self, n: int) -> TextMemory:
        """An empty KV cache."""
        return TextMemory(self.lm, n, self.context)

    def after_update(self, memory: TextMemory) -> TextMemory:
        """Emptied: keys and values of the old weights are wrong. The next step reads the texts again in one forward."""
        memory.forget(np.arange(memory.n))
        return memory

    @torch.no_grad()
    def act(
        self,
        observation: Leaves,
        memory: TextMemory,
        starts: Flags,
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
        value = memory.reader.values() if memory.reader else None
        return Act(token, log_prob, memory, value, unchecked=True)

    def value(self, observation: Leaves, memory: TextMemory, rows: Ints | None = None) -> Tensor:
        """See `Policy.value`; the texts are read from their beginning."""
        return self._values(Texts.at_their_ends(observation[0]))

    def values(self, log: TextLog, acts: Sequence[Act]) -> Tensor:
        """See `Policy.values`: known from acting, or with a separate critic from one forward of each text."""
        if acts and acts[0].value is not None:
            tokens, opens = log.final
            known = [act.value for act in acts if act.value is not None]
            return torch.stack([*known, acts[-1].memory.values(tokens, np.flatnonzero(~opens))])
        texts, steps = log.whole()
        found = self._values(texts)
        values = found.new_zeros(log.shape)
        values.view(-1)[torch.from_numpy(steps).to(found.device)] = found
        return values

    def evaluate(self, batch: Minibatch) -> Evaluation:
        """See `Policy.evaluate`."""
        torch.clear_autocast_cache()  # else it would keep bfloat16 copies of the old weights
        texts: Texts = batch.observations
        layers, at = texts.layers(self.lm), texts.places(self.lm)
        masks = batch.masks
        allowed = None if masks is None else lambda rows: masks[rows]
        log_prob, entropy = logprobs_and_entropy(self.lm, layers[-1].flatten(0, 1)[at], batch.actions, allowed)
        if not len(batch.values):
            return Evaluation(log_prob, entropy, batch.values)  # demonstrations: no value is needed
        states = texts.layers(self.critic_lm) if self.critic_lm else [layer.detach() for layer in layers]
        return Evaluation(log_prob, entropy, self._critic(states, at))

    def microbatches(self, batch: Minibatch) -> Iterable[tuple[Minibatch, float]]:
        """Groups of texts of similar length, which limits padding and memory."""
        for texts, places in batch.observations.parts(self.tokens_at_once):
            steps = torch.from_numpy(places).to(batch.actions.device)
            numbers = {name: getattr(batch, name) for name in NUMBERS}
            some = {name: x[steps] if len(x) else x for name, x in numbers.items()}  # empty for demonstrations
            part = Minibatch(texts, None, masks=None if batch.masks is None else batch.masks[steps], **some)
            yield part, len(places) / len(batch.actions)

    def new_log(self, memory: TextMemory) -> TextLog:
        """See `Policy.new_log`; from here on the critic reads along."""
        if not self.critic_lm:
            memory.watch(self._critic)
        return TextLog()

    def update_statistics(self, log: TextLog, valid: Flags) -> None:
        """Nothing: tokens are not normalized."""

    def export(self, run: Path) -> None:
        """Write the policy to `model`, a Hugging Face folder, and its adapters, if any, also to `adapter`."""
        self.lm.save(run / "model")
        if has_adapters(self.lm.model):
            base, tokenizer = self.reference, self.lm.tokenizer
            place, fingerprint = run / "adapter", base.fingerprint()
            save_adapter(self.lm.model, place, tokenizer=tokenizer, base=base.name, fingerprint=fingerprint)

    @torch.no_grad()
    def _values(self, texts: Texts) -> Tensor:  # -> (M,)
        lm = self.critic_lm or self.lm
        values = torch.empty(len(texts.rows), device=lm.device)
        for part, places in texts.parts(self.tokens_at_once):
            values[torch.from_numpy(places).to(lm.device)] = self._critic(part.layers(lm), part.places(lm))
        return values


def _copy(lm: CausalLM, *, sharing_head: bool = False) -> CausalLM:
    """A float32 copy of a model; `sharing_head`: without a copy of its head, which is not used."""
    head = lm.model.get_output_embeddings().parameters() if sharing_head else ()
    trunk = {id(parameter) for parameter in lm.trunk.parameters()}  # a tied head's among them
    shared: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=False)
        for parameter in head
        if id(parameter) not in trunk
    }
    return CausalLM(copy.deepcopy(lm.model, shared).float(), lm.tokenizer)


def _checked_context(observation_space: spaces.Space[Any], action_space: spaces.Space[Any], lm: CausalLM) -> int:
    """The number of tokens a text may have; ValueError if model and spaces do not fit together."""
    if not isinstance(lm, CausalLM):
        raise ValueError(
            f"the environment's reference_model is a {type(lm).__name__}: policy='lm' accepts a "
            "textrlhf.language.CausalLM, such as CausalLM(model, tokenizer)"
        )
    if (
        not isinstance(observation_space, spaces.Box)
        or len(observation_space.shape) != 1
        or not np.issubdtype(observation_space.dtype, np.integer)
    ):
        raise ValueError(
            f"policy='lm' reads token ids: accepted are observations Box(-1, V-1, (context,)), not {observation_space}"
        )
    if not isinstance(action_space, spaces.Discrete) or int(action_space.n) != lm.vocab_size or action_space.start:
        raise ValueError(
            f"the environment's action space is {action_space}: policy='lm' with {lm} accepts "
            f"Discrete({lm.vocab_size}); do model and tokenizer belong together?"
        )
    context = observation_space.shape[0]
    if lm.context is not None and context > lm.context:
        raise ValueError(
            f"the environment's texts have up to {context} tokens, but {lm} has {lm.context} positions: lower the "
            "environment's context, or use a model with a longer one"
        )
    return context
