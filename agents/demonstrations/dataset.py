"""Demonstrations as training data: a held-out part, and minibatches for a policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...language.logprobs import TOKENS_AT_ONCE, reading_tokens, rows_at_once
from ...records.checkpoint import CheckpointError
from ...records.jsonl import DataError
from ..environment.adapter import EnvAdapter
from ..environment.masks import unpack
from ..environment.spaces import Ints, Leaves
from ..experience.rollout import Minibatch, split_evenly
from ..policies import LanguageModelPolicy, Policy
from ..policies.text_memory import Texts, is_continuation
from ..settings.seeding import Stream, derive_seed
from .demonstrations import Demonstrations, Episode, Prefixes

EVALUATION_STEPS = 4096  # per batch, of a policy without memory, if nothing is trained
EVALUATION_TOKENS = 2048  # the same of texts
BATCHES, TEXTS = 16, 4  # where a batch size is chosen: batches in an epoch, but at least so many texts in each
SLOTS = 64  # episodes replayed in parallel


def hold_out(
    demonstrations: Demonstrations, share: float, rng: np.random.Generator
) -> tuple[list[Episode], list[Episode]]:
    """Split into training and held-out episodes: by `demonstrations.heldout` if given, else at random.

    Texts with the same prompt stay together.
    """
    episodes, heldout = demonstrations.episodes, demonstrations.heldout
    if heldout is None:
        groups: dict[Any, list[int]] = {}
        for i, episode in enumerate(episodes):
            text = episode.observations
            key = text.tokens[: text.lengths[0]].tobytes() if isinstance(text, Prefixes) else i
            groups.setdefault(key, []).append(i)
        prompts, heldout = list(groups.values()), np.zeros(len(episodes), bool)
        for group in rng.permutation(len(prompts))[: int(share * len(prompts) + 1e-9)]:
            heldout[prompts[group]] = True
    if heldout.all():
        raise DataError(f"{demonstrations.source} holds out every episode: at least one is needed for training")
    return (
        [episode for episode, out in zip(episodes, heldout, strict=True) if not out],
        [episode for episode, out in zip(episodes, heldout, strict=True) if out],
    )


class DemonstrationDataset(ABC):
    """Items to train a policy on: single steps, or whole episodes if the policy has a memory."""

    evaluation_steps = 0  # at least so many steps per batch if nothing is trained

    def __init__(self, policy: Policy, episodes: Sequence[Episode], adapter: EnvAdapter) -> None:
        self.policy, self._width = policy, sum(adapter.codec.choices or ())
        self.device = next(policy.network.parameters()).device
        actions = np.concatenate([adapter.codec.from_env(episode.actions) for episode in episodes])
        self.actions = torch.from_numpy(actions).to(self.device)  # (S, …), episodes concatenated
        masks = [episode.masks for episode in episodes if episode.masks is not None]
        self._masks = np.concatenate(masks) if masks else None  # (S, bytes)
        lengths = np.array([*map(len, episodes)])
        self.sizes: Ints = lengths if policy.by_segments else np.ones(len(actions), np.int64)  # (I,) of the items
        self.firsts = np.cumsum(self.sizes) - self.sizes  # (I,) first step of each item

    @property
    def n_steps(self) -> int:
        """Number of steps."""
        return len(self.actions)

    def fitting_batch_size(self, most: int) -> int:
        """A batch size for so many steps, where none is given."""
        return most

    def batches(self, batch_size: int, rng: np.random.Generator | None = None) -> list[Ints]:
        """All items in minibatches of about `batch_size` steps each, shuffled by `rng` if given."""
        items = np.arange(len(self.sizes)) if rng is None else rng.permutation(len(self.sizes))
        return split_evenly(items, self.sizes[items], -(-self.n_steps // batch_size))

    def steps(self, items: Ints) -> Ints:
        """The steps of these items, in order."""
        sizes = self.sizes[items]
        return np.repeat(self.firsts[items] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())

    def on_device(self, steps: Ints) -> Tensor:
        """Steps as an index on the policy's device."""
        return torch.from_numpy(steps).to(self.device)

    @abstractmethod
    def observations(self, items: Ints) -> tuple[Any, Ints | None]:
        """What `policy.evaluate` needs; for policies that read segments also these (see `Minibatch`), but of texts."""

    @abstractmethod
    def most_likely_actions(self, items: Ints) -> Tensor:
        """The policy's deterministic action in each step, given the demonstrated actions before it."""

    def take(self, items: Ints) -> Minibatch:
        """These items as a minibatch without values, returns and advantages."""
        steps, unknown = self.steps(items), torch.empty(0)
        actions, masks = self.actions[self.on_device(steps)], self.masks(steps)
        return Minibatch(*self.observations(items), actions, *(unknown,) * 4, masks)

    def masks(self, steps: Ints) -> Tensor | None:
        """Action masks of these steps."""
        return None if self._masks is None else unpack(self._masks[steps], self._width, self.device)

    def update_statistics(self) -> None:  # noqa: B027
        """Update the policy's observation statistics, if any."""


class StepDataset(DemonstrationDataset):
    """One observation per step, for any policy."""

    def __init__(self, policy: Policy, episodes: Sequence[Episode], adapter: EnvAdapter) -> None:
        super().__init__(policy, episodes, adapter)
        self.evaluation_steps = 0 if policy.by_segments else EVALUATION_STEPS
        rows = [_leaves(episode, adapter) for episode in episodes]
        self.leaves: Leaves = tuple(np.concatenate(leaf) for leaf in zip(*rows, strict=True))  # each (S, …)

    def update_statistics(self) -> None:
        """See `DemonstrationDataset.update_statistics`."""
        steps = np.arange(self.n_steps)
        shape = (-1, 1) if self.policy.by_segments else (1, -1)
        self.policy.update_statistics(self._log(steps), np.ones(self.n_steps, bool).reshape(shape))

    def observations(self, items: Ints) -> tuple[Any, Ints | None]:
        """See `DemonstrationDataset.observations`."""
        steps, segments = self.steps(items), None
        if self.policy.by_segments:  # all in one slot
            stops = np.cumsum(self.sizes[items])
            segments = np.stack([np.zeros_like(items), stops - self.sizes[items], stops], 1)
        return self._log(steps).take(self.on_device(np.arange(len(steps))), segments), segments

    def _log(self, steps: Ints) -> Any:
        """The policy's log of these steps: as one slot if it has a memory, else as one step of many slots."""
        n_slots = 1 if self.policy.by_segments else len(steps)
        log: Any = self.policy.new_log(self.policy.initial_memory(n_slots))
        starts = np.isin(steps, self.firsts)
        for at in range(0, len(steps), n_slots):
            now = slice(at, at + n_slots)
            log.add(tuple(leaf[steps[now]] for leaf in self.leaves), starts[now])
        return log

    def most_likely_actions(self, items: Ints) -> Tensor:
        """See `DemonstrationDataset.most_likely_actions`."""
        order = items[np.argsort(-self.sizes[items], kind="stable")]
        found = torch.empty_like(self.actions)
        slots = SLOTS if self.policy.by_segments else len(items)
        for at in range(0, len(order), slots):  # replay episodes of similar length in parallel
            group = order[at : at + slots]
            memory = self.policy.initial_memory(len(group))
            for t in range(int(self.sizes[group].max())):
                running = t < self.sizes[group]  # shorter episodes repeat their last step
                steps = self.firsts[group] + np.minimum(t, self.sizes[group] - 1)
                masks = self.masks(steps)
                act = self.policy.act(
                    tuple(leaf[steps] for leaf in self.leaves),
                    memory,
                    np.full(len(group), t == 0),
                    deterministic=True,
                    masks=masks if masks is None else masks.cpu().numpy(),
                )
                memory = act.memory
                found[torch.from_numpy(steps[running])] = act.action[torch.from_numpy(running)]
        return found[self.on_device(self.steps(items))]


class TextDataset(DemonstrationDataset):
    """Texts for a language model, stored once each: O(T) tokens, whatever the width of the observations."""

    evaluation_steps = EVALUATION_TOKENS

    def __init__(self, policy: LanguageModelPolicy, episodes: Sequence[Episode], adapter: EnvAdapter) -> None:
        super().__init__(policy, episodes, adapter)
        self.lm = policy.lm
        self.texts = [_texts(episode) for episode in episodes]

    def fitting_batch_size(self, most: int) -> int:
        """See `DemonstrationDataset.fitting_batch_size`: else an epoch of few texts would be a single minibatch."""
        least = TEXTS * -(-self.n_steps // len(self.texts))
        return min(max(self.n_steps // BATCHES, least), most)

    def observations(self, items: Ints) -> tuple[Texts, None]:
        """See `DemonstrationDataset.observations`."""
        texts = [text for item in items for text in self.texts[item]]
        tokens = [text.tokens[: text.lengths[-1]] for text in texts]
        return Texts.at(tokens, [text.lengths - 1 for text in texts]), None

    @torch.no_grad()
    def most_likely_actions(self, items: Ints) -> Tensor:
        """See `DemonstrationDataset.most_likely_actions`."""
        lm, masks = self.lm, self.masks(self.steps(items))
        texts, _ = self.observations(items)
        found = torch.empty(len(texts.rows), dtype=torch.int64, device=self.device)
        size = rows_at_once(lm)
        for part, places in texts.parts(reading_tokens(lm.model, TOKENS_AT_ONCE)):
            steps, states = self.on_device(places), part.states(lm)
            for some, hidden in zip(steps.split(size), states.split(size), strict=True):
                logits = lm.head(hidden)
                found[some] = (logits if masks is None else logits.masked_fill(~masks[some], -torch.inf)).argmax(-1)
        return found


class TrainingData:
    """Demonstrations split into a data set to train on, in minibatches, epoch after epoch, and a held-out one.

    The order of an epoch depends on the seed and its number only. `position`, from another `TrainingData`, says where
    to continue. With `fit` a batch size below the one given is chosen for few data.
    """

    def __init__(
        self,
        demonstrations: Demonstrations,
        policy: Policy,
        adapter: EnvAdapter,
        position: Mapping[str, Any] | None = None,
        *,
        heldout: float,
        batch_size: int,
        fit: bool,
        seed: int,
    ) -> None:
        self.demonstrations, self.seed = demonstrations, seed
        self.fingerprint = demonstrations.fingerprint()
        position = position or {"demonstrations": self.fingerprint, "epoch": 0, "minibatch": 0}
        if position["demonstrations"] != self.fingerprint:
            raise CheckpointError(
                f"{demonstrations.source} has changed since this agent was saved: restore it to resume, or set "
                "agent.demonstrations to train on other data"
            )
        training, held = hold_out(demonstrations, heldout, np.random.default_rng(derive_seed(seed, Stream.HELD_OUT)))
        kind: Any = TextDataset if isinstance(policy, LanguageModelPolicy) else StepDataset
        self.dataset: DemonstrationDataset = kind(policy, training, adapter)
        self.batch_size = self.dataset.fitting_batch_size(batch_size) if fit else batch_size
        self.heldout: DemonstrationDataset | None = kind(policy, held, adapter) if held else None
        self.epoch, self.minibatch = int(position["epoch"]), int(position["minibatch"])  # of the next minibatch
        self._batches = self._shuffled()

    @property
    def position(self) -> dict[str, Any]:
        """Where training is in the demonstrations, as plain JSON."""
        return {"demonstrations": self.fingerprint, "epoch": self.epoch, "minibatch": self.minibatch}

    @property
    def n_epochs(self) -> float:
        """Epochs completed so far."""
        return self.epoch + self.minibatch / len(self._batches)

    def next(self) -> Minibatch:
        """The next minibatch."""
        batch = self.dataset.take(self._batches[self.minibatch])
        self.minibatch += 1
        if self.minibatch == len(self._batches):
            self.epoch, self.minibatch = self.epoch + 1, 0
            self._batches = self._shuffled()
        return batch

    def _shuffled(self) -> list[Ints]:
        rng = np.random.default_rng(derive_seed(self.seed, Stream.DEMONSTRATIONS, self.epoch))
        return self.dataset.batches(self.batch_size, rng)


def _leaves(episode: Episode, adapter: EnvAdapter) -> Leaves:
    """An episode's observations as the environment's arrays; a text as each step observed it."""
    if isinstance(episode.observations, Prefixes):
        shape = adapter.leaf_spaces[0].shape
        assert shape
        return (episode.observations.rows(shape[0]),)
    return tuple(
        leaf.astype(space.dtype) for leaf, space in zip(episode.observations, adapter.leaf_spaces, strict=True)
    )


def _texts(episode: Episode) -> list[Prefixes]:
    """The text of an episode; several if its observations show only the latest tokens."""
    if isinstance(episode.observations, Prefixes):
        return [episode.observations]
    rows = episode.observations[0]
    new = ~is_continuation(rows[:-1], rows[1:])
    return [Prefixes.of(part) for part in np.split(rows, np.flatnonzero(new) + 1)]
