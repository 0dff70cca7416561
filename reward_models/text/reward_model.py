"""A learned reward model: a trunk with a scalar head, its tokenizer, and the scale of its scores.

reward_model = RewardModel.new("reviews")                   untrained, on a language model
reward_model = RewardModel.load("runs/my-reward-model")     a saved one, or any sequence classifier by folder or hub id
reward_model.score(prompts, responses)                      one number per response
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...language.causal_lm import CausalLM, pick_device
from ...language.lora import save_adapter
from ...records.jsonl import shortened
from ..reward_function import RewardFunctionError, Scores
from .beginnings import beginnings
from .cache import cached, forget
from .config import RewardModelConfig
from .construction import new_parts
from .folder import find_reward_model, read_folder, save_folder
from .messages import Given, as_texts
from .network import Parts, RewardNetwork
from .packing import Text
from .reader import TextReader
from .unlike_training import UnlikeTraining

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AT_ONCE = 4096  # texts that are tokenised and scored at a time


class RewardModel:
    """A learned reward function. Also a callable (prompts, responses) -> scores, as any reward function is."""

    def __init__(
        self,
        network: RewardNetwork,
        tokenizer: PreTrainedTokenizerBase,
        config: RewardModelConfig,
        name: str | None = None,
    ) -> None:
        self.network, self.tokenizer, self.config = network, tokenizer, config
        self.name = name  # the place another process can load the same reward model from
        self.reading: dict[str, Any] = {}  # settings that load() was given
        self.context = _context(network, tokenizer)
        self.reader = TextReader(tokenizer, reads=config.reads, end=config.end, apart=config.head == "tokens")
        self._unlike_training = UnlikeTraining(self.reader)
        if config.end and tokenizer.eos_token_id is None:
            raise ValueError("end=True appends the end-of-text token to a response, and this tokenizer has none")

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
        share_weights: bool = False,
    ) -> RewardModel:
        """Put an untrained head on a copy of a language model (shipped, a path, a hub id, a CausalLM) or an encoder.

        With `share_weights` there is no copy of a language model's weights, for training adapters (LoRA) beside them.
        """
        how: dict[str, Any] = {"reads": reads, "end": end, "seed": seed, "device": device}
        return cls(*new_parts(model, head, share_weights=share_weights, **how))

    @classmethod
    def load(
        cls,
        name: str | os.PathLike[str],
        *,
        device: str = "auto",
        reads: str | None = None,
        end: bool | None = None,
        label: int | None = None,
    ) -> RewardModel:
        """Load a reward model by its folder, its run's or its shipped name, or a sequence classifier by path or hub id.

        `reads`, `end` and `label` override how it reads texts, see `RewardModelConfig`: for classifiers from elsewhere
        whose defaults are not what they were trained with.
        """
        given = {"reads": reads, "end": end, "label": label}
        return _load(
            find_reward_model(name), device, {name: value for name, value in given.items() if value is not None}
        )

    def save(self, path: str | os.PathLike[str]) -> RewardModel:
        """Write a folder, as a whole or not at all, and return the reward model named by it; adapters are merged."""
        parts, name = Parts(self.network.merged(), self.tokenizer, self.config), os.path.abspath(path)
        save_folder(path, parts)
        forget(name)
        return RewardModel(*parts, name)

    def save_adapter(self, path: str | os.PathLike[str], base: str) -> None:
        """Write the adapters (LoRA) in peft's format, and the tokenizer; `base` names the model without them."""
        network = self.network
        heads = [] if network.values is not None else network.head_names
        task = "FEATURE_EXTRACTION" if network.values is not None else "SEQ_CLS"
        save_adapter(network.model, path, tokenizer=self.tokenizer, base=base, task=task, heads=heads)

    @property
    def normalised(self) -> bool:
        """Whether `score` has a measured scale: that of `normalise`, which training resets."""
        return self.config.normalised

    def score(self, prompts: Sequence[Given], responses: Sequence[Given]) -> Scores:
        """Scores, (raw − shift) / scale: those of the texts given to `normalise` have mean 0 and standard deviation 1.

        A prompt may be chat messages, and a response too: [{"role": "user", "content": …}], or a `Conversation`.
        A reward model that was not normalised has shift 0 and scale 1: its scores are the raw ones.
        """
        scores: Scores = (self.raw(prompts, responses) - self.config.shift) / self.config.scale
        return scores

    __call__ = score

    @torch.no_grad()
    def raw(self, prompts: Sequence[Given], responses: Sequence[Given]) -> Scores:
        """Scores as the network gives them; their differences are log-odds of being preferred."""
        asked, answers = self._asked(prompts, responses)
        parts = [np.empty(0)]
        for at in range(0, len(asked), AT_ONCE):
            texts = self.read(asked[at : at + AT_ONCE], answers[at : at + AT_ONCE])
            groups: dict[str, list[int]] = {}  # texts with a prompt in common
            for i, prompt in enumerate(asked[at : at + AT_ONCE]):
                groups.setdefault(prompt, []).append(i)
            parts.append(self.network(texts, list(groups.values())).double().cpu().numpy())
        return np.concatenate(parts)

    @property
    def partial(self) -> bool:
        """Whether `partial_scores` works: no token of the trunk attends to later ones."""
        return self.network.causal

    @torch.no_grad()
    def partial_scores(
        self, prompts: Sequence[Given], responses: Sequence[Given], ends: Sequence[Sequence[int]]
    ) -> tuple[list[Scores], Scores]:
        """The scores of `responses[i][:end]` for each of `ends[i]`, and of the whole responses, by one forward a text.

        An end within one of the reward model's tokens costs a forward of its own. With `end` in the config the
        beginnings are read without the end-of-text token.
        """
        if not self.partial:
            raise ValueError(f"{self} is an encoder, whose states know what follows: it has no scores of beginnings")
        asked, answers = self._asked(prompts, responses)
        scores: list[Scores] = []
        wholes: list[Scores] = [np.empty(0)]
        for at in range(0, len(asked), AT_ONCE):
            some = slice(at, at + AT_ONCE)
            found, whole = self._partial_raw(asked[some], answers[some], ends[some])
            scores += found
            wholes.append(whole)
        shift, scale = self.config.shift, self.config.scale
        return [(raw - shift) / scale for raw in scores], (np.concatenate(wholes) - shift) / scale

    def _partial_raw(
        self, prompts: Sequence[str], responses: Sequence[str], ends: Sequence[Sequence[int]]
    ) -> tuple[list[Scores], Scores]:
        texts = self.read(prompts, responses)
        counts = beginnings(self.reader, prompts, responses, texts, ends)
        apart = [(i, k) for i, some in enumerate(counts) for k in np.flatnonzero(some < 0).tolist()]
        before, begun = [prompts[i] for i, _ in apart], [responses[i][: ends[i][k]] for i, k in apart]
        cut = self.read(before, begun)
        lasts = beginnings(self.reader, before, begun, cut, [[len(one)] for one in begun])
        asked = [np.append(some, len(text.tokens)) for some, text in zip(counts, texts, strict=True)]
        for text, (last,) in zip(cut, lasts, strict=True):  # as the others, without what a template or `end` adds
            asked.append(np.array([last if last >= 0 else len(text.tokens) - int(self.config.end)]))
        raw = [one.cpu().numpy() for one in self.network.beginnings([*texts, *cut], asked)]
        scores = [one[:-1].copy() for one in raw[: len(texts)]]
        for (i, k), one in zip(apart, raw[len(texts) :], strict=True):
            scores[i][k] = one[0]
        return scores, np.array([one[-1] for one in raw[: len(texts)]])

    def read(self, prompts: Sequence[str], responses: Sequence[str], places: Sequence[str] | None = None) -> list[Text]:
        """Tokenise texts; an empty or too long one is an error that begins with its entry in `places`."""
        texts = self.reader.read(prompts, responses)
        for i, text in enumerate(texts):
            place = f"{places[i]}: " if places and places[i] else ""
            if not len(text.tokens):
                raise ValueError(f"{place}prompt and response have no tokens: expected at least one to score")
            if self.context is not None and len(text.tokens) > self.context:
                remedy = "shorten it, or take a reward model with more positions"
                if places is not None:
                    remedy = "shorten it, or leave such judgements out with overflow='drop'"
                raise ValueError(
                    f"{place}the text has {len(text.tokens)} tokens, the reward model {self.context} positions, and "
                    f"texts are never truncated: {remedy}: {shortened(prompts[i] + responses[i])}"
                )
        self._unlike_training.check_words(self, texts)
        return texts

    def check_template(self, prompts: Sequence[str]) -> None:
        """Warn, once, if its training prompts had a chat template's tokens and these do not, or the reverse."""
        self._unlike_training.check_template(self, self.config, prompts)

    def _asked(self, prompts: Sequence[Given], responses: Sequence[Given]) -> tuple[Sequence[str], Sequence[str]]:
        """What it is asked about as texts, with warnings where it was trained on other ones."""
        texts = as_texts(prompts, responses)
        self.check_template(texts[0])
        self._unlike_training.check_joins(self, self.config, *texts)
        return texts

    def readable(self, prompts: Sequence[str], responses: Sequence[str]) -> NDArray[np.bool_]:
        """Which texts are neither empty nor longer than the reward model's positions."""
        sizes = np.array([len(text.tokens) for text in self.reader.read(prompts, responses)], np.int64)
        found: NDArray[np.bool_] = (sizes > 0) & (sizes <= (self.context or sizes.max(initial=0)))
        return found

    def probability(self, margins: Scores) -> Scores:
        """P(an annotator prefers the first) from differences of raw scores, label noise included."""
        true = 1 / (1 + np.exp(-np.clip(margins, -700, 700)))
        probabilities: Scores = self.config.lapse + (1 - 2 * self.config.lapse) * true
        return probabilities

    @torch.no_grad()
    def explain(self, prompt: Given, response: Given) -> list[tuple[str, float]]:
        """Each token of the response with what it adds to the raw score; empty unless the head is "tokens"."""
        if self.config.head != "tokens" or not response:
            return []
        (text,) = self.read(*as_texts([prompt], [response]))
        added = self.network.contributions(text).tolist()
        shown, before = [], ""
        for i in range(text.start, text.end):
            whole = self.reader.continuation(text.tokens[: text.start], text.tokens[text.start : i + 1])
            if i + 1 < text.end and whole.endswith("\ufffd"):
                whole = before  # part of a character: shown with the token that completes it
            continues = whole.startswith(before)
            shown.append(whole[len(before) :] if continues else self.reader.decode(text.tokens[i : i + 1]))
            before = whole
        return list(zip(shown, added, strict=True))

    def normalise(self, prompts: Sequence[Given], responses: Sequence[Given]) -> RewardModel:
        """Set shift and scale so that the scores of these texts have mean 0 and standard deviation 1.

        Pass texts sampled from the reference model: β (`kl_coef`) then means the same for every reward model.
        """
        raw = self.raw(prompts, responses)
        if len(raw) < 2 or not np.isfinite(raw).all() or raw.std() <= 1e-6 * max(abs(raw.mean()), 1e-3):
            raise RewardFunctionError(
                f"the raw scores of {len(raw)} texts, {raw[:3]}…, differ too little to set a scale: train the reward "
                "model longer, or give other texts"
            )
        self.config = replace(self.config, normalised=True, shift=float(raw.mean()), scale=float(raw.std()))
        self.name = None  # the saved reward model has another scale
        return self

    @property
    def lapse(self) -> float:
        """How often annotators choose the wrong one of two responses by accident (label noise)."""
        return self.config.lapse

    @property
    def label_offset(self) -> float:
        """Raw score + label_offset are the log-odds of the label "good"."""
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
                f"{self} was made in this process and has no name that another process could load it by: save it "
                'first, reward_model = reward_model.save("some/folder")'
            )
        return load_cached, (self.name, str(self.network.device), self.reading)


def load_cached(place: str, device: str, reading: dict[str, Any]) -> RewardModel:
    """Load a reward model from what `find_reward_model` returned, once per process."""
    settings = (str(pick_device(device)), repr(sorted(reading.items())))
    return cached(place, settings, lambda: _load(place, settings[0], reading))


def _load(place: str, device: str, reading: dict[str, Any]) -> RewardModel:
    reward_model = RewardModel(*read_folder(place, device, reading), place)
    reward_model.reading = reading
    return reward_model


def _context(network: RewardNetwork, tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The most tokens a text may have; None for no limit."""
    config = network.model.config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and "roberta" in config.model_type:
        positions -= config.pad_token_id + 1  # RoBERTa's positions start behind the padding's index
    limits = [limit for limit in (positions, tokenizer.model_max_length) if limit is not None and limit < 1 << 30]
    return min(limits, default=None)
