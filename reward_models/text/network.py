"""The network of a reward model: a trunk and a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...language.families import has_window
from ...language.logprobs import TOKENS_AT_ONCE, by_length, reading_tokens
from ...language.lora import has_adapters, merged
from ...language.memory import padded
from ...language.slot_cache import attention_mask
from .config import RewardModelConfig
from .heads import Dropout, TokenValues, label_score
from .packing import PADDING, Ints, Row, Text, pack

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}  # half precision: 5e-2


class RewardNetwork(nn.Module):
    """Texts to raw scores.

    With `values`, `model` is a trunk without a head and each token of a response adds to the score; otherwise `model`
    is one of Hugging Face's sequence classifiers.
    """

    def __init__(self, model: PreTrainedModel, values: TokenValues | None = None, label: int | None = None) -> None:
        super().__init__()
        self.model, self.values, self.label = model.eval(), values, label
        self.borrowed = False  # whether a language model has the same weights, which must not change then
        self.causal = _is_causal(self.trunk)
        self.shares = self.causal and not has_window(model.config) and self._branches()

    @property
    def trunk(self) -> PreTrainedModel:
        """The model below its head: tokens to hidden states."""
        trunk: PreTrainedModel = self.model.base_model
        return trunk

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.model.device
        return device

    @property
    def head_names(self) -> list[str]:
        """The names of the classifier's parts above its trunk that have weights."""
        parts = self.model.named_children()
        return [name for name, part in parts if name != self.model.base_model_prefix and list(part.parameters())]

    def merged(self) -> RewardNetwork:
        """The same network, with its adapters, if any, merged into the weights of their layers."""
        if not has_adapters(self.model):
            return self
        return RewardNetwork(merged(self.model), self.values, self.label)

    def forward(
        self, texts: Sequence[Text], groups: Sequence[Sequence[int]], dropout: Dropout | None = None
    ) -> Tensor:  # -> (len(texts),)
        """Raw scores; `groups` are texts with a prompt in common."""
        rows = pack(texts, groups, self.shares)
        budget = reading_tokens(self.trunk, TOKENS_AT_ONCE)
        parts, order = [], []
        for batch in by_length([len(row.tokens) for row in rows], budget):
            parts.append(self._read(texts, [rows[i] for i in batch], dropout))
            order += [text for i in batch for text in rows[i].texts]
        back = torch.from_numpy(np.argsort(np.array(order))).to(self.device)
        return torch.cat(parts)[back]

    @torch.no_grad()
    def rescale(self, factor: float) -> None:
        """Multiply every raw score by a factor."""
        if self.values is not None:
            self.values.values.mul_(factor)
        elif self.causal:
            self.model.score.weight.mul_(factor)
        else:
            raise TypeError("the scores of an encoder's classifier cannot be rescaled: its head is not linear")

    def contributions(self, text: Text) -> Tensor:  # -> (length of the response,)
        """What each token of a response adds to its raw score."""
        assert self.values is not None
        row = pack([text], [[0]], share=False)
        return self._token_scores([text], row)[0]

    def beginnings(self, texts: Sequence[Text], counts: Sequence[Ints]) -> list[Tensor]:
        """Raw scores of the first `counts[i]` tokens of each text, by one forward of each; 0 where these are none."""
        rows = pack(texts, [[i] for i in range(len(texts))], share=False)
        found = [torch.empty(0)] * len(texts)
        for batch in by_length([len(row.tokens) for row in rows], reading_tokens(self.trunk, TOKENS_AT_ONCE)):
            some, ends = [rows[i] for i in batch], [torch.from_numpy(counts[i]).to(self.device) for i in batch]
            if self.values is not None:
                own = [texts[i] for i in batch]
                added = self._token_scores(texts, some)[0].double().split([text.end - text.start for text in own])
                sums = [torch.cat([part.new_zeros(1), part.cumsum(0)]) for part in added]
                parts = [one[(at - text.start).clamp_min(0)] for one, at, text in zip(sums, ends, own, strict=True)]
            else:
                states = self._states(texts, some)  # (R, L, d)
                features = [states[r, (at - 1).clamp_min(0)] for r, at in enumerate(ends)]
                scores = self.read_features(torch.cat(features)).double() * (torch.cat(ends) > 0)
                parts = list(scores.split([len(at) for at in ends]))
            for i, part in zip(batch, parts, strict=True):
                found[i] = part
        return found

    def _read(
        self, texts: Sequence[Text], rows: Sequence[Row], dropout: Dropout | None
    ) -> Tensor:  # -> (texts in the rows,)
        if self.values is not None:
            scores, text = self._token_scores(texts, rows, dropout)
            return scores.new_zeros(sum(len(row.texts) for row in rows)).index_add(0, text, scores)
        if not self.causal:
            return label_score(self.model(**self._inputs(texts, rows)).logits.float(), self.label)
        return self.read_features(self.features(texts, rows), dropout)

    def features(self, texts: Sequence[Text], rows: Sequence[Row]) -> Tensor:  # -> (texts in the rows, d)
        """The states at the texts' last tokens, which the "last" head reads."""
        states = self._states(texts, rows)
        at = [(r, path[-1]) for r, row in enumerate(rows) for path in row.paths]
        r, position = torch.tensor(at, device=states.device).T
        return states[r, position]

    def read_features(self, features: Tensor, dropout: Dropout | None = None) -> Tensor:  # (n, d) -> (n,)
        """Raw scores from states at the last tokens."""
        if dropout is not None:
            features = dropout(features)
        return label_score(self.model.score(features).float(), self.label)

    def _token_scores(
        self, texts: Sequence[Text], rows: Sequence[Row], dropout: Dropout | None = None
    ) -> tuple[Tensor, Tensor]:
        """What each token of each response adds, and the index of its text: both (n,)."""
        assert self.values is not None
        states = self._states(texts, rows)  # (R, L, d)
        length = states.shape[1]
        before: list[Ints] = []  # index of the state before each token
        tokens: list[Ints] = []
        text: list[Ints] = []
        for r, row in enumerate(rows):
            for i, path in zip(row.texts, row.paths, strict=True):
                start, end = texts[i].start, texts[i].end
                positions = r * length + path[max(start - 1, 0) : end - 1]
                before.append(positions if start else np.concatenate([[-1], positions])[: end - start])
                tokens.append(texts[i].tokens[start:end])
                text.append(np.full(end - start, len(text)))
        flat = torch.cat([states.flatten(0, 1), states.new_zeros(1, states.shape[2])])  # the last: nothing before
        at, token, of = (torch.from_numpy(np.concatenate(part)).to(states.device) for part in (before, tokens, text))
        return self.values(flat[at].float(), token, dropout), of

    def _states(self, texts: Sequence[Text], rows: Sequence[Row]) -> Tensor:  # -> (R, L, d)
        states: Tensor = self.trunk(**self._inputs(texts, rows)).last_hidden_state
        return states

    @torch.no_grad()
    def _branches(self) -> bool:
        """Whether a branching row gives the same states as its texts one by one, tested on the model."""
        ids = _some_tokens(self.trunk).cpu().numpy()
        texts = [Text(ids[:4], 2, 4), Text(ids[[0, 1, 4, 5]], 2, 4)]
        states = self._states(texts, pack(texts, [[1]], share=False))[0].float()
        try:
            branched = self._states(texts, pack(texts, [[0, 1]], share=True))[0, [0, 1, 4, 5]].float()
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, NotImplementedError):
            return False  # a family with masks of another form, or with positions of its own
        error = (branched - states).abs().max() / states.abs().max()
        return bool(error <= _TOLERANCE.get(self.trunk.dtype, 5e-2))

    def _inputs(self, texts: Sequence[Text], rows: Sequence[Row]) -> dict[str, Any]:
        tokens = torch.from_numpy(padded([row.tokens for row in rows])).to(self.device)  # (R, L)
        if not self.causal:
            lengths = torch.tensor([len(row.tokens) for row in rows], device=self.device)
            real = torch.arange(tokens.shape[1], device=self.device) < lengths[:, None]
            inputs = {"input_ids": tokens, "attention_mask": real.long()}
            segments = [kinds for row in rows if (kinds := texts[row.texts[0]].segments) is not None]
            return inputs | ({"token_type_ids": torch.from_numpy(padded(segments)).to(self.device)} if segments else {})
        if all(len(row.texts) == 1 for row in rows):  # causal: no text attends to its padding, which follows it
            return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "use_cache": False}
        branches = torch.from_numpy(padded([row.branches for row in rows], PADDING)).to(self.device)
        seen = (branches[:, None, :] == 0) | (branches[:, None, :] == branches[:, :, None])  # (R, L, L)
        seen &= torch.ones_like(seen[0]).tril()
        return {
            "input_ids": tokens,
            "attention_mask": attention_mask(self.trunk, seen[:, None]),
            "position_ids": torch.from_numpy(padded([row.positions for row in rows])).to(self.device),
            "use_cache": False,
        }


class Parts(NamedTuple):
    """What a reward model is made of."""

    network: RewardNetwork
    tokenizer: PreTrainedTokenizerBase
    config: RewardModelConfig


def state_width(trunk: PreTrainedModel) -> int:
    """The size of a trunk's states."""
    config = trunk.config.get_text_config()
    return int(getattr(config, "word_embed_proj_dim", config.hidden_size))  # small OPTs project their last states down


@torch.no_grad()
def _is_causal(trunk: PreTrainedModel) -> bool:
    """Whether no token attends to later ones, tested on the model."""
    ids = _some_tokens(trunk)[None].repeat(2, 1)
    ids[1, -1] = ids[0, 0]
    states = trunk(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[:, :-1].float()
    return bool((states[0] - states[1]).abs().max() <= 1e-6 * states.abs().max())


def _some_tokens(trunk: PreTrainedModel) -> Tensor:  # -> (6,)
    """Six different tokens, none of them padding."""
    config = trunk.config.get_text_config()
    known = [i for i in range(min(config.vocab_size, 16)) if i != config.pad_token_id]
    return torch.tensor((known * 6)[-6:], device=trunk.device)
