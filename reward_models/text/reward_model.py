"""A learned reward model: a transformer trunk with a scalar head, its tokenizer, and the scale of its scores.

reward_model = RewardModel.new("reviews")            on a language model, untrained
reward_model = RewardModel.load("runs/my-reward-model")     or any sequence classifier, by folder or hub id
reward model.score(prompts, responses)               one number each; 0 and 1 are the reference's mean and deviation
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...language.causal_lm import pick_device
from ..reward_function import RewardFunctionError, Scores
from .network import RewardNetwork
from .packing import Text
from .reader import READS, TextReader

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ...language import CausalLM

log = logging.getLogger("textrlhf")
HEADS = ("last", "tokens")
AT_ONCE = 4096  # texts that are read before the next are tokenised


@dataclass(frozen=True)
class RewardModelConfig:
    """What a reward model's folder says beside its weights: how it reads, and what its scores mean."""

    head: str = "last"  # "last": read at the last token, as Hugging Face's classifiers; "tokens": summed over them
    reads: str = "text"  # what of prompt and response, see Reader
    end: bool = False  # whether the end-of-text token is put behind the response
    label: int | None = None  # of a classifier with several: whose log-odds are the score
    shift: float = 0.0  # score = (raw − shift) / scale
    scale: float = 1.0
    lapse: float = 0.0  # P(first is preferred) = lapse + (1 − 2 lapse) · sigmoid(raw − raw of the second)
    offset: float = 0.0  # P(good) = sigmoid(raw + offset)

    def __post_init__(self) -> None:
        for name, accepted in (("head", HEADS), ("reads", READS)):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} is {getattr(self, name)!r}: expected one of {', '.join(map(repr, accepted))}")
        if not isinstance(self.end, bool):
            raise ValueError(f"end is {self.end!r}: expected True or False")
        if self.label is not None and type(self.label) is not int:
            raise ValueError(f"label is {self.label!r}: expected the number of one, or None")
        for name in ("shift", "scale", "lapse", "offset"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r}: expected a finite number")
        if self.scale <= 0 or not 0 <= self.lapse < 0.5:
            raise ValueError(f"scale is {self.scale}, lapse {self.lapse}: expected above 0, and 0 to 0.5")


class RewardModel:
    """A reward model that was, or can be, trained; called like any other."""

    def __init__(
        self,
        network: RewardNetwork,
        tokenizer: PreTrainedTokenizerBase,
        config: RewardModelConfig,
        name: str | None = None,
    ) -> None:
        self.network, self.tokenizer, self.config, self.name = network, tokenizer, config, name
        self.reading: dict[str, Any] = {}  # what load() was told of how to read
        self.context = _context(network, tokenizer)
        self._told = False
        self.reader = TextReader(tokenizer, reads=config.reads, end=config.end, apart=config.head == "tokens")
        if config.end and tokenizer.eos_token_id is None:
            raise ValueError("end=True puts the end-of-text token behind a response, and this tokenizer has none")

    @classmethod
    def new(
        cls,
        model: str | os.PathLike[str] | CausalLM,
        head: str = "auto",
        *,
        reads: str | None = None,
        end: bool = False,
        seed: int = 0,
        device: str = "auto",
    ) -> RewardModel:
        """Put an untrained head on a language model (a shipped one, a path, a hub id, a handle) or an encoder."""
        from .construction import new_reward_model

        return new_reward_model(model, head, reads=reads, end=end, seed=seed, device=device)

    @classmethod
    def load(cls, name: str | os.PathLike[str], *, device: str = "auto", **reading: Any) -> RewardModel:
        """Read a reward model's folder, a run's, or any sequence classifier by path or hub id.

        `reads`, `end` and `label` say how a classifier from elsewhere is to be asked, where its default is not right.
        """
        from .folder import read_reward_model

        return read_reward_model(name, device, reading)

    def save(self, path: str | os.PathLike[str]) -> RewardModel:
        """Write a folder, whole or not at all, and return the reward model that is named by it."""
        from .folder import save_reward_model

        return save_reward_model(self, path)

    def score(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Scores on the scale on which the reference's own texts have mean 0 and deviation 1."""
        scores: Scores = (self.raw(prompts, responses) - self.config.shift) / self.config.scale
        return scores

    __call__ = score

    @torch.no_grad()
    def raw(self, prompts: Sequence[str], responses: Sequence[str]) -> Scores:
        """Scores as the network gives them; their differences are log-odds of being preferred."""
        if len(prompts) != len(responses):
            raise ValueError(f"{len(prompts)} prompts and {len(responses)} responses: expected as many of each")
        parts = [np.empty(0)]
        for at in range(0, len(prompts), AT_ONCE):
            texts = self.read(prompts[at : at + AT_ONCE], responses[at : at + AT_ONCE])
            groups = self.groups(prompts[at : at + AT_ONCE])
            parts.append(self.network(texts, groups).double().cpu().numpy())
        return np.concatenate(parts)

    def groups(self, prompts: Sequence[str]) -> list[list[int]]:
        """Which texts have their prompt in common."""
        found: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            found.setdefault(prompt, []).append(i)
        return list(found.values())

    def read(self, prompts: Sequence[str], responses: Sequence[str], where: Sequence[str] | None = None) -> list[Text]:
        """Tokens of each text; one that is empty or too long is an error that names `where` it comes from."""
        texts = self.reader.read(prompts, responses)
        for i, text in enumerate(texts):
            place = f"{where[i]}: " if where and where[i] else ""
            if not len(text.tokens):
                raise ValueError(f"{place}prompt and response have no tokens: expected at least one to reward model")
            if self.context is not None and len(text.tokens) > self.context:
                raise ValueError(
                    f"{place}the text has {len(text.tokens)} tokens, the reward model {self.context} positions, and "
                    "it never "
                    f"cuts a text: shorten it, or train with overflow='drop' to leave such judgements out: "
                    f"{_short(prompts[i] + responses[i])}"
                )
        self._tell_unknown(texts)
        return texts

    def _tell_unknown(self, texts: Sequence[Text]) -> None:
        """Once: a reward model is asked again and again."""
        if not self._told and (strange := self.reader.with_unknown_tokens(text.tokens for text in texts)):
            self._told = True
            first = texts[strange[0]].tokens
            log.warning(
                "%d of %d texts hold words that %s does not know, all of these one word to it; the first text: %s",
                len(strange),
                len(texts),
                self,
                _short(str(self.tokenizer.decode(first))),
            )

    def readable(self, prompts: Sequence[str], responses: Sequence[str]) -> NDArray[np.bool_]:
        """Which texts have a token, and no more of them than there are positions."""
        sizes = np.array([len(text.tokens) for text in self.reader.read(prompts, responses)], np.int64)
        found: NDArray[np.bool_] = (sizes > 0) & (sizes <= (self.context or sizes.max(initial=0)))
        return found

    def probability(self, margins: Scores) -> Scores:
        """P(first is preferred) from differences of raw scores."""
        sure = 1 / (1 + np.exp(-np.clip(margins, -700, 700)))
        likely: Scores = self.config.lapse + (1 - 2 * self.config.lapse) * sure
        return likely

    @torch.no_grad()
    def explain(self, prompt: str, response: str) -> list[tuple[str, float]]:
        """Each token of the response with what it adds to the raw score; empty where the head does not add them up."""
        if self.config.head != "tokens" or not response:
            return []
        (text,) = self.read([prompt], [response])
        added = self.network.contributions(text).tolist()
        shown, told = [], ""
        for i in range(text.start, text.end):
            whole = self.reader.continuation(text.tokens[: text.start], text.tokens[text.start : i + 1])
            if i + 1 < text.end and whole.endswith("\ufffd"):
                whole = told  # half a character: it is shown with the token that makes it whole
            shown.append(whole[len(told) :] if whole.startswith(told) else self.reader.decode(text.tokens[i : i + 1]))
            told = whole
        return list(zip(shown, added, strict=True))

    def normalise(self, prompts: Sequence[str], responses: Sequence[str]) -> RewardModel:
        """Shift and scale the scores so that these texts, the reference's own, have mean 0 and deviation 1."""
        raw = self.raw(prompts, responses)
        if len(raw) < 2 or not np.isfinite(raw).all() or raw.std() <= 1e-6 * max(abs(raw.mean()), 1e-3):
            raise RewardFunctionError(
                f"the reward model gives {len(raw)} texts of the reference the raw scores {raw[:3]}…, which differ "
                "too little "
                "to set a scale: train it longer, or give texts that differ"
            )
        self.config = replace(self.config, shift=float(raw.mean()), scale=float(raw.std()))
        self.name = None  # what lies there has another scale
        return self

    @property
    def lapse(self) -> float:
        """How often a person's choice is a slip."""
        return self.config.lapse

    @property
    def label_offset(self) -> float:
        """What makes a raw score the log-odds of being called good."""
        return self.config.offset

    def __repr__(self) -> str:
        return f"RewardModel({self.name or type(self.network.model).__name__!r})"

    def __copy__(self) -> RewardModel:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> RewardModel:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.name is None:
            raise RewardFunctionError(
                f"{self} was made in this process and has no name that another one could load it by: "
                'save it first, reward model = reward model.save("some/folder")'
            )
        return load_reward_model, (self.name, str(self.network.device), self.reading)


_loaded: dict[tuple[str, ...], Any] = {}


def load_reward_model(name: str | os.PathLike[str], device: str = "auto", reading: dict[str, Any] | None = None) -> Any:
    """The reward model of that name, loaded once a process: a shipped one, a folder or run, an ensemble's, or a hub id.

    `reading` is what `RewardModel.load` takes besides.
    """
    from .folder import find_reward_model

    place, reading = find_reward_model(name), reading or {}
    key = (place, str(pick_device(device)), repr(sorted(reading.items())))
    if key not in _loaded:
        from .folder import load_any

        _loaded[key] = load_any(place, key[1], reading)
    return _loaded[key]


def forget(place: str) -> None:
    """Let what was loaded from a place be loaded anew."""
    for key in [key for key in _loaded if key[0] == place]:
        del _loaded[key]


def _context(network: RewardNetwork, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The most tokens a text may have, where there is a limit."""
    config = network.model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and "roberta" in config.model_type:
        positions -= config.pad_token_id + 1  # its first position has that number
    limits = [limit for limit in (positions, tokenizer.model_max_length) if limit is not None and limit < 1 << 30]
    return min(limits, default=None)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")
