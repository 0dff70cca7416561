"""Log-probabilities of given tokens, in chunks: (tokens × V) of a large vocabulary would not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .causal_lm import CausalLM
from .layer_states import layer_states
from .memory import Ints, padded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS_AT_ONCE = {"cpu": 1 << 23, "cuda": 1 << 28}  # 32 MiB of float32, and 1 GiB
LOGITS_KEPT = {"cpu": 1 << 26, "cuda": 1 << 29}  # with gradients; beyond it, logits are recomputed
LOWEST = -1e30  # for log 0: 0 · −inf would be NaN
TOKENS_AT_ONCE = {"cpu": 1 << 10, "cuda": 1 << 16}  # padded tokens per forward; few fit a CPU's cache
READING = {"cpu": 1 << 28, "cuda": 1 << 32}  # bytes of activations in one forward without gradients
IN_A_LAYER = 20  # activations held within one, over the width of the hidden states

Allowed = Callable[[Tensor], Tensor]  # indices (m,) of choices to masks, bool (m, V)


@dataclass(frozen=True)
class Choices:
    """Tokens chosen along one text: `tokens[i]` after the first `positions[i]` tokens of `text`."""

    text: Ints
    positions: Ints
    tokens: Ints

    @classmethod
    def after(cls, text: Ints, start: int) -> Choices:
        """Every token of the text from `start` on."""
        return cls(text, np.arange(start, len(text)), text[start:])


def token_logprobs(lm: CausalLM, hidden: Tensor, tokens: Tensor, allowed: Allowed | None = None) -> Tensor:
    """log p(token | hidden state), (M, d) and (M,) to (M,); gradients flow, chunk by chunk.

    Where `allowed` is given, probabilities are normalised over what it allows.
    """
    return logprobs_and_entropy(lm, hidden, tokens, allowed, entropy=False)[0]


def logprobs_and_entropy(
    lm: CausalLM, hidden: Tensor, tokens: Tensor, allowed: Allowed | None = None, *, entropy: bool = True
) -> tuple[Tensor, Tensor]:
    """log p(token | hidden state) and the entropy of p, both (M,); gradients flow through each.

    Without `entropy` the second is empty.
    """
    size = rows_at_once(lm)
    every = torch.arange(len(hidden), device=hidden.device)
    if len(hidden) <= size:
        return _chunk(lm, hidden, tokens, every, allowed, entropy)
    again = torch.is_grad_enabled() and len(hidden) * lm.vocab_size > at_once(LOGITS_KEPT, lm.device)
    parts = []
    for rows in torch.split(every, size):
        inputs = (lm, hidden[rows], tokens[rows], rows, allowed, entropy)
        if again:  # recompute the chunk's logits for its gradient
            parts.append(checkpoint(_chunk, *inputs, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(_chunk(*inputs))
    logprobs, entropies = zip(*parts, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


def _chunk(
    lm: CausalLM, hidden: Tensor, tokens: Tensor, rows: Tensor, allowed: Allowed | None, entropy: bool
) -> tuple[Tensor, Tensor]:
    logits = lm.head(hidden).float()  # (m, V)
    if allowed is not None:
        logits = logits.masked_fill(~allowed(rows), -torch.inf)
    both: tuple[Tensor, Tensor] = _Softmax.apply(logits, tokens, entropy)  # type: ignore[no-untyped-call]
    return both


class _Softmax(torch.autograd.Function):
    """Chosen log-probabilities and, on request, the entropy of logits (m, V); saves one (m, V) tensor for backward.

    The gradient in logits z is p̂(token) − p for the log-probability, and −p · (log p + H) for the entropy H.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, tokens: Tensor, wants_entropy: bool) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        normaliser = logits.logsumexp(1, keepdim=True)
        chosen = (logits.gather(1, tokens[:, None]) - normaliser)[:, 0]
        entropy = logits.new_zeros(0)
        if wants_entropy or ctx.needs_input_grad[0]:
            log_probs = logits - normaliser
            probs = log_probs.exp()
            if wants_entropy:
                with torch.autocast(logits.device.type, enabled=False):  # it would use half precision here
                    entropy = -(probs[:, None] @ log_probs.clamp_min_(LOWEST)[:, :, None])[:, 0, 0]
            ctx.save_for_backward(probs, tokens, entropy)
        return chosen, entropy

    @staticmethod
    def backward(ctx: Any, d_chosen: Tensor | None, d_entropy: Tensor | None) -> tuple[Tensor | None, None, None]:
        probs, tokens, entropy = ctx.saved_tensors
        gradient: Tensor | None = None
        if d_chosen is not None:
            gradient = probs * -d_chosen[:, None]
            gradient.scatter_add_(1, tokens[:, None], d_chosen[:, None])
        if d_entropy is not None:
            of_entropy = -d_entropy[:, None] * (torch.xlogy(probs, probs) + probs * entropy[:, None])
            gradient = of_entropy if gradient is None else gradient.add_(of_entropy)
        return gradient, None, None


def read_whole(lm: CausalLM, tokens: Tensor) -> Tensor:  # (G, longest) -> (G, longest, d)
    """Read right-padded texts in one forward; no text attends to its padding, which comes after it."""
    states: Tensor = lm.trunk(
        input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False
    ).last_hidden_state
    return states


def read_layers(lm: CausalLM, tokens: Tensor) -> list[Tensor]:  # (G, longest) -> (G, longest, d) each
    """Read right-padded texts in one forward; return hidden states before, halfway through and after the trunk."""
    return layer_states(lm, input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False)


@torch.no_grad()
def choice_logprobs(lm: CausalLM, texts: Sequence[Choices], allowed: Allowed | None = None) -> list[np.ndarray]:
    """Log-probabilities of the choices in each text, by teacher-forced forwards of many texts.

    `allowed` takes the numbers of choices, counted through all texts.
    """
    for i, text in enumerate(texts):
        for position in text.positions[(text.positions < 1) | (text.positions > len(text.text))]:
            raise ValueError(
                f"text {i} has a choice at position {position}: expected 1 to {len(text.text)}, its number of tokens"
            )
    counts = np.array([len(text.tokens) for text in texts], np.int64)
    first = np.cumsum(counts) - counts
    results = [np.empty(0, np.float32)] * len(texts)
    for group in by_length([len(text.text) for text in texts], reading_tokens(lm.model, TOKENS_AT_ONCE)):
        grid = torch.from_numpy(padded([texts[i].text for i in group])).to(lm.device)  # (G, longest)
        states = read_whole(lm, grid)
        row = np.repeat(np.arange(len(group)), counts[group])
        column = np.concatenate([texts[i].positions for i in group]) - 1
        chosen = torch.from_numpy(np.concatenate([texts[i].tokens for i in group])).to(lm.device)
        number = torch.from_numpy(np.concatenate([first[i] + np.arange(counts[i]) for i in group])).to(lm.device)
        at = states[torch.from_numpy(row).to(lm.device), torch.from_numpy(column).to(lm.device)]  # (choices, d)
        asked = None if allowed is None else lambda rows, number=number: allowed(number[rows])
        together = token_logprobs(lm, at, chosen, asked).cpu().numpy()
        for i, part in zip(group, np.split(together, np.cumsum(counts[group])[:-1]), strict=True):
            results[i] = part
    return results


def by_length(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Group indices by similar length, longest first, each group at most `budget` tokens when padded.

    A group of a quarter of the budget or more takes no text that would be padded by a third of its length or more.
    """
    group: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if group:
            longest = lengths[group[0]]
            full = (len(group) + 1) * longest > budget
            if full or (4 * lengths[i] <= 3 * longest and 4 * len(group) * longest >= budget):
                yield group
                group = []
        group.append(i)
    if group:
        yield group


def reading_tokens(model: PreTrainedModel, most: dict[str, int]) -> int:
    """The number of padded tokens in one forward without gradients, at most those of the device in `most`.

    It depends on the model only: scores must not change in their last bits with the memory that happens to be free.
    """
    config = model.config.get_text_config()
    a_token: int = 4 * config.hidden_size * (config.num_hidden_layers + IN_A_LAYER)
    return max(min(at_once(most, model.device), at_once(READING, model.device) // a_token), 1)


def rows_at_once(lm: CausalLM) -> int:
    """The number of hidden states that the head takes at once."""
    return max(at_once(LOGITS_AT_ONCE, lm.device) // lm.vocab_size, 1)


def at_once(sizes: dict[str, int], device: torch.device) -> int:
    """Return the entry of a device."""
    return sizes.get(device.type, sizes["cpu"])
