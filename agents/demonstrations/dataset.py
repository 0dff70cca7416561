"""Demonstrations as a policy learns from them: some held out, all cut into minibatches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...language.logprobs import rows_at_once
from ...records.jsonl import DataError
from ..environment.adapter import EnvAdapter
from ..environment.masks import unpack
from ..environment.spaces import Leaves
from ..experience.rollout import Minibatch, split_evenly
from ..policies import LanguageModelPolicy, Policy
from ..policies.language_model import tokens_at_once
from ..policies.text_memory import Texts, is_continuation
from ..settings.seeding import Stream, derive_seed
from .demonstrations import Demonstrations, Episode, Prefixes

Ints = NDArray[np.int64]
STEPS_AT_ONCE = 4096  # of a policy without memory, where nothing is learned
SLOTS = 64  # episodes that are played again side by side


def hold_out(
    demonstrations: Demonstrations, share: float, rng: np.random.Generator
) -> tuple[list[Episode], list[Episode]]:
    """What is learned, and what is held out: as the demonstrations say, else a share of the episodes.

    Texts that go on from the same prompt stay together.
    """
    episodes = demonstrations.episodes
    heldout = demonstrations.heldout
    if heldout is None:
        groups: dict[Any, list[int]] = {}
        for i, episode in enumerate(episodes):
            text = episode.seen
            key = text.tokens[: text.lengths[0]].tobytes() if isinstance(text, Prefixes) else i
            groups.setdefault(key, []).append(i)
        every, heldout = list(groups.values()), np.zeros(len(episodes), bool)
        for group in rng.permutation(len(every))[: int(share * len(every) + 1e-9)]:
            heldout[every[group]] = True
    if heldout.all():
        raise DataError(f"{demonstrations.source} holds out every episode: there must be some to learn from")
    return (
        [episode for episode, out in zip(episodes, heldout, strict=True) if not out],
        [episode for episode, out in zip(episodes, heldout, strict=True) if out],
    )


class DemonstrationDataset(ABC):
    """Units to be learned from, loose steps or whole episodes, as the policy's memory wants them."""

    sizes: Ints  # (U,) steps of each unit

    def __init__(self, episodes: Sequence[Episode], adapter: EnvAdapter, device: torch.device) -> None:
        self.device, self._width = device, sum(adapter.codec.choices or ())
        actions = np.concatenate([adapter.codec.from_env(episode.actions) for episode in episodes])
        self.actions = torch.from_numpy(actions).to(device)  # (S, …), episodes end to end
        masks = [episode.masks for episode in episodes if episode.masks is not None]
        self._masks = np.concatenate(masks) if masks else None  # (S, bytes)
        self.bounds: Ints = np.cumsum([0, *map(len, episodes)])  # (E + 1,) where each episode begins

    @property
    def n_steps(self) -> int:
        """All steps."""
        return len(self.actions)

    def batches(self, batch_size: int, rng: np.random.Generator | None = None) -> list[Ints]:
        """All units in minibatches of about `batch_size` steps each, shuffled by `rng`, or in order."""
        n_batches = -(-self.n_steps // batch_size)
        units = np.arange(len(self.sizes)) if rng is None else rng.permutation(len(self.sizes))
        return split_evenly(units, self.sizes[units], n_batches)

    @abstractmethod
    def steps(self, units: Ints) -> Ints:
        """The steps of these units, in order."""

    @abstractmethod
    def observations(self, units: Ints) -> Any:
        """What the policy evaluates."""

    @abstractmethod
    def likeliest(self, units: Ints) -> Tensor:
        """What the policy would do in those steps, deterministically; each as demonstrated before."""

    def take(self, units: Ints) -> Minibatch:
        """These units as a minibatch, of which nobody knows values, returns and advantages."""
        steps, nothing = self.steps(units), torch.empty(0)
        return Minibatch(
            self.observations(units),
            self.segments(units),
            self.actions[torch.from_numpy(steps).to(self.device)],
            log_probs=nothing,
            values=nothing,
            advantages=nothing,
            returns=nothing,
            masks=self.masks(steps),
        )

    def segments(self, units: Ints) -> Ints | None:
        """(U, 3) slot, first step, one past the last; where units are episodes."""
        return np.stack([np.zeros_like(units), self.bounds[units], self.bounds[units + 1]], 1)

    def masks(self, steps: Ints) -> Tensor | None:
        """Action masks of these steps."""
        return None if self._masks is None else unpack(self._masks[steps], self._width, self.device)

    def at_once(self, batch_size: int) -> int:
        """How many steps to reward model at once where nothing is learned."""
        return batch_size

    @abstractmethod
    def update_statistics(self) -> None:
        """Take the observations into the policy's statistics, where it keeps any."""


class StepDataset(DemonstrationDataset):
    """Observations one by one, through the policy's own log: for any policy."""

    def __init__(self, policy: Policy, episodes: Sequence[Episode], adapter: EnvAdapter, device: torch.device) -> None:
        super().__init__(episodes, adapter, device)
        self.policy = policy
        seen = [_leaves(episode, adapter) for episode in episodes]
        self.leaves: Leaves = tuple(np.concatenate(leaf) for leaf in zip(*seen, strict=True))  # each (S, …)
        self.log: Any = policy.new_log(policy.initial_memory(1))
        begins = np.isin(np.arange(self.n_steps), self.bounds)
        for t in range(self.n_steps):
            self.log.add(tuple(leaf[t : t + 1] for leaf in self.leaves), begins[t : t + 1])
        self.sizes = np.diff(self.bounds) if policy.by_segments else np.ones(self.n_steps, np.int64)

    def at_once(self, batch_size: int) -> int:
        """See `DemonstrationDataset.at_once`."""
        return batch_size if self.policy.by_segments else max(batch_size, STEPS_AT_ONCE)

    def update_statistics(self) -> None:
        """See `DemonstrationDataset.update_statistics`."""
        self.policy.update_statistics(self.log, np.ones((self.n_steps, 1), bool))

    def steps(self, units: Ints) -> Ints:
        """See `DemonstrationDataset.steps`."""
        return _ranges(self.bounds, units) if self.policy.by_segments else units

    def segments(self, units: Ints) -> Ints | None:
        """See `DemonstrationDataset.segments`."""
        return super().segments(units) if self.policy.by_segments else None

    def observations(self, units: Ints) -> Any:
        """See `DemonstrationDataset.observations`."""
        return self.log.take(torch.from_numpy(self.steps(units)).to(self.device), self.segments(units))

    def likeliest(self, units: Ints) -> Tensor:
        """See `DemonstrationDataset.likeliest`."""
        if not self.policy.by_segments:
            return self._act(units, self.policy.initial_memory(len(units)), np.ones(len(units), bool))[0]
        order = units[np.argsort(-self.sizes[units], kind="stable")]
        found = torch.empty_like(self.actions)
        for at in range(0, len(order), SLOTS):  # episodes of like length side by side, step by step
            group = order[at : at + SLOTS]
            memory = self.policy.initial_memory(len(group))
            for t in range(int(self.sizes[group].max())):
                going = t < self.sizes[group]  # the others wait where they ended
                steps = self.bounds[group] + np.minimum(t, self.sizes[group] - 1)
                actions, memory = self._act(steps, memory, np.full(len(group), t == 0))
                found[torch.from_numpy(steps[going])] = actions[torch.from_numpy(going)]
        return found[torch.from_numpy(self.steps(units)).to(self.device)]

    def _act(self, steps: Ints, memory: Any, starts: NDArray[np.bool_]) -> tuple[Tensor, Any]:
        masks = self.masks(steps)
        seen = tuple(leaf[steps] for leaf in self.leaves)
        allowed = None if masks is None else masks.cpu().numpy()
        act = self.policy.act(seen, memory, starts, deterministic=True, masks=allowed)
        return act.action, act.memory


class TextDataset(DemonstrationDataset):
    """Texts that a language model reads once, whole: O(T) tokens, however wide the environment's observations are."""

    def __init__(
        self, policy: LanguageModelPolicy, episodes: Sequence[Episode], adapter: EnvAdapter, device: torch.device
    ) -> None:
        super().__init__(episodes, adapter, device)
        self.policy = policy
        self.texts = [_texts(episode) for episode in episodes]
        self.sizes = np.diff(self.bounds)

    def update_statistics(self) -> None:
        """Nothing: tokens have no statistics."""

    def steps(self, units: Ints) -> Ints:
        """See `DemonstrationDataset.steps`."""
        return _ranges(self.bounds, units)

    def observations(self, units: Ints) -> Texts:
        """See `DemonstrationDataset.observations`."""
        texts = [text for unit in units for text in self.texts[unit]]
        return Texts(
            [text.tokens[: text.lengths[-1]] for text in texts],
            np.repeat(np.arange(len(texts)), [len(text.lengths) for text in texts]),
            np.concatenate([text.lengths for text in texts]) - 1,
        )

    def segments(self, units: Ints) -> None:
        """None: texts tell all that is read."""

    @torch.no_grad()
    def likeliest(self, units: Ints) -> Tensor:
        """See `DemonstrationDataset.likeliest`."""
        lm, masks = self.policy.lm, self.masks(self.steps(units))
        texts = self.observations(units)
        found = torch.empty(len(texts.rows), dtype=torch.int64, device=self.device)
        size = rows_at_once(lm)
        for part, places in texts.parts(tokens_at_once(lm)):
            steps, states = torch.from_numpy(places).to(self.device), part.states(lm)
            for some, hidden in zip(steps.split(size), states.split(size), strict=True):
                logits = lm.head(hidden)
                found[some] = (logits if masks is None else logits.masked_fill(~masks[some], -torch.inf)).argmax(-1)
        return found


class EpochSampler:
    """Minibatches of some material, pass after pass, each in an order of its own that depends on nothing before."""

    def __init__(
        self, material: DemonstrationDataset, batch_size: int, seed: int, epoch: int = 0, place: int = 0
    ) -> None:
        self.material, self.batch_size, self.seed = material, batch_size, seed
        self.epoch, self.place = epoch, place  # the pass, and the minibatch of it that comes next
        self._batches = self._shuffled()

    @property
    def done(self) -> float:
        """How many passes lie behind."""
        return self.epoch + self.place / len(self._batches)

    def next(self) -> Minibatch:
        """The next minibatch."""
        batch = self.material.take(self._batches[self.place])
        self.place += 1
        if self.place == len(self._batches):
            self.epoch, self.place = self.epoch + 1, 0
            self._batches = self._shuffled()
        return batch

    def _shuffled(self) -> list[Ints]:
        return self.material.batches(
            self.batch_size, np.random.default_rng(derive_seed(self.seed, Stream.DEMONSTRATIONS, self.epoch))
        )


def make_dataset(
    policy: Policy, episodes: Sequence[Episode], adapter: EnvAdapter, device: torch.device
) -> DemonstrationDataset:
    """Lay episodes out for a policy."""
    if isinstance(policy, LanguageModelPolicy):
        return TextDataset(policy, episodes, adapter, device)
    return StepDataset(policy, episodes, adapter, device)


def _ranges(bounds: Ints, units: Ints) -> Ints:
    return np.concatenate([np.arange(bounds[unit], bounds[unit + 1]) for unit in units])


def _leaves(episode: Episode, adapter: EnvAdapter) -> Leaves:
    """What was observed as the environment's arrays; a text as each step saw it."""
    if isinstance(episode.seen, Prefixes):
        shape = adapter.leaf_spaces[0].shape
        assert shape
        return (episode.seen.rows(shape[0]),)
    return tuple(leaf.astype(space.dtype) for leaf, space in zip(episode.seen, adapter.leaf_spaces, strict=True))


def _texts(episode: Episode) -> list[Prefixes]:
    """The text of an episode; several where it shows only its latest tokens."""
    if isinstance(episode.seen, Prefixes):
        return [episode.seen]
    rows = episode.seen[0]
    anew = ~is_continuation(rows[:-1], rows[1:])
    return [Prefixes.of(part) for part in np.split(rows, np.flatnonzero(anew) + 1)]
